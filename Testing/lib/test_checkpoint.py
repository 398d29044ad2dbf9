import pickle

import numpy as np
import pytest
import torch

from SegExplainLib.contract import UnusableModel
from SegExplainLib.model.checkpoint import opened_checkpoint, state_dict_in, with_weights


class LeavesATrace:
    """Unpickling an object of this kind creates a file: a stand-in for any code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def weights():
    return {"weight": torch.arange(4000.0), "bias": torch.ones(2)}


def test_tensors_and_numpys_scalars_are_read_without_trust(tmp_path, weights):
    log = {"losses": [np.float32(0.5), np.float64(0.25)], "epoch": np.int64(7), "is_best": np.bool_(True)}
    torch.save({"weights": weights, "log": log}, tmp_path / "it.pth")
    found = opened_checkpoint(tmp_path / "it.pth", trust=False)
    assert torch.equal(found["weights"]["weight"], weights["weight"])
    assert found["log"] == log


def test_the_allowance_for_numpys_scalars_ends_with_the_reading(tmp_path, weights):
    before = set(torch.serialization.get_safe_globals())
    torch.save(weights, tmp_path / "it.pth")
    opened_checkpoint(tmp_path / "it.pth", trust=False)
    assert set(torch.serialization.get_safe_globals()) == before


def test_code_in_a_checkpoint_runs_with_trust_alone(tmp_path, weights):
    trace = tmp_path / "trace"
    torch.save({"weights": weights, "extra": LeavesATrace(trace)}, tmp_path / "it.pth")
    with pytest.raises(UnusableModel, match=r"more than numbers.*open.*--trust-model"):
        opened_checkpoint(tmp_path / "it.pth", trust=False)
    assert not trace.exists()
    found = opened_checkpoint(tmp_path / "it.pth", trust=True)
    assert torch.equal(found["weights"]["weight"], weights["weight"])
    assert trace.exists()


def test_the_format_of_old_torch_is_read_too(tmp_path, weights):
    torch.save(weights, tmp_path / "it.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(opened_checkpoint(tmp_path / "it.pth", trust=False)["weight"], weights["weight"])


@pytest.mark.parametrize("trust", [True, False])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_file_cut_short_is_called_so_and_not_untrusted(tmp_path, weights, share, trust):
    torch.save(weights, tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "it.pth").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnusableModel, match=r"it\.pth is cut short.*again") as caught:
        opened_checkpoint(tmp_path / "it.pth", trust=trust)
    assert "trust" not in str(caught.value)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_an_old_file_cut_short_is_called_damaged(tmp_path, weights, share):
    torch.save(weights, tmp_path / "whole.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "it.pth").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnusableModel, match="damaged"):
        opened_checkpoint(tmp_path / "it.pth", trust=False)


def test_a_pointer_in_place_of_the_file_is_no_checkpoint(tmp_path):
    (tmp_path / "it.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(UnusableModel, match="not a PyTorch checkpoint"):
        opened_checkpoint(tmp_path / "it.pth", trust=True)


def test_a_plain_pickle_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "it.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UnusableModel, match="damaged"):
        opened_checkpoint(tmp_path / "it.pth", trust=True)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UnusableModel, match=r"no file .*it\.pth"):
        opened_checkpoint(tmp_path / "it.pth", trust=False)


def test_weights_are_found_alone_and_under_a_key_and_without_the_prefix_of_parallel_training(tmp_path, weights):
    parallel = {f"module.{name}": tensor for name, tensor in weights.items()}
    for checkpoint in (weights, {"epoch": 3, "state_dict": weights}, {"model": parallel}):
        found = state_dict_in(checkpoint, keys=("model", "state_dict"), path=tmp_path)
        assert list(found) == ["weight", "bias"]


@pytest.mark.parametrize("checkpoint", [{}, {"epoch": 3}, [1, 2], {"model": {"epoch": 3}}])
def test_a_checkpoint_without_weights_is_refused(tmp_path, checkpoint):
    with pytest.raises(UnusableModel, match="no network weights"):
        state_dict_in(checkpoint, keys=("model", "state_dict"), path=tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path):
    with pytest.raises(UnusableModel, match=r"do not fit the architecture.*Missing key"):
        with_weights(torch.nn.Linear(2, 2), {"other": torch.ones(1)}, device=torch.device("cpu"), path=tmp_path)
