from pathlib import Path

import pytest
import torch
from tiny_models import bundle_config, write_bundle, write_nnunet_model

from SegExplainLib.contract import UnusableModel
from SegExplainLib.model.loading import load_segmenter, model_kind

CPU = torch.device("cpu")


def test_a_model_is_recognised_by_its_folder(tmp_path):
    results = write_nnunet_model(tmp_path / "Dataset901_Tiny" / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    bundle = write_bundle(tmp_path / "bundle", bundle_config())
    assert [model_kind(path) for path in (results, results.parent, bundle)] == ["nnunet", "nnunet", "monai"]
    assert type(load_segmenter(str(results), device=CPU, trust=False)).__name__ == "NnUNetSegmenter"
    assert type(load_segmenter(str(bundle), device=CPU, trust=False)).__name__ == "BundleSegmenter"


@pytest.mark.parametrize("part", ["fold_0", "plans.json", "dataset.json"])
def test_an_incomplete_results_folder_is_still_one(tmp_path, part):
    path = tmp_path / part
    path.mkdir() if part == "fold_0" else path.write_text("{}")
    assert model_kind(tmp_path) == "nnunet"


def test_a_misspelt_folder_is_answered_with_the_nearest(tmp_path):
    (tmp_path / "abdomen_3mm").mkdir()
    (tmp_path / "thorax").mkdir()
    with pytest.raises(UnusableModel, match=r"no model folder .*abdomen3mm.*Did you mean: abdomen_3mm"):
        load_segmenter(tmp_path / "abdomen3mm", device=CPU, trust=False)
    with pytest.raises(UnusableModel, match="Check the path"):
        load_segmenter(tmp_path / "nowhere" / "at all", device=CPU, trust=False)


def test_a_file_and_a_folder_of_something_else_are_refused(tmp_path):
    (tmp_path / "checkpoint.pth").write_bytes(b"")
    with pytest.raises(UnusableModel, match="is a file"):
        load_segmenter(tmp_path / "checkpoint.pth", device=CPU, trust=False)
    with pytest.raises(UnusableModel, match="neither an nnU-Net"):
        load_segmenter(tmp_path, device=CPU, trust=False)


def test_a_home_directory_may_be_written_with_a_tilde(tmp_path, monkeypatch):
    write_nnunet_model(tmp_path / "model")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert Path("~/model").expanduser() == tmp_path / "model"
    assert load_segmenter("~/model", device=CPU, trust=False).name == "Dataset901_Tiny"
