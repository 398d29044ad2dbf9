import pytest
import torch
from tiny_models import write_nnunet_model

from SegExplainLib.contract import UnusableModel
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.model.totalsegmentator import totalsegmentator_model

CPU = torch.device("cpu")
TRAINER = "nnUNetTrainer_4000epochs_NoMirroring"
VARIABLES = ("TOTALSEG_WEIGHTS_PATH", "TOTALSEG_HOME_DIR", "nnUNet_results")


@pytest.fixture
def home(tmp_path, monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    return tmp_path / "home"


def write_task(root, number):
    dataset = f"Dataset{number}_TotalSegmentator_total_3mm_1559subj"
    return write_nnunet_model(root / dataset / f"{TRAINER}__nnUNetPlans__3d_fullres", trainer=TRAINER, n_folds=2)


@pytest.mark.parametrize("place", ["standard", *VARIABLES])
def test_installed_weights_are_found_in_every_standard_place(home, tmp_path, monkeypatch, place):
    root = home / ".totalsegmentator" / "nnunet" / "results" if place == "standard" else tmp_path / "elsewhere"
    if place != "standard":
        monkeypatch.setenv(place, str(root))
    folder = write_task(root / "nnunet" / "results" if place == "TOTALSEG_HOME_DIR" else root, 297)
    assert totalsegmentator_model("totalsegmentator:297").folder == folder


def test_weights_that_are_not_there_are_named_with_the_places_searched(home, monkeypatch):
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(home / "weights"))
    write_task(home / "weights", 298)
    with pytest.raises(UnusableModel, match=r"task 297.*searched .*weights.*\.totalsegmentator.*download"):
        totalsegmentator_model("totalsegmentator:297")


@pytest.mark.parametrize("name", ["totalsegmentator:", "totalsegmentator:total", "totalsegmentator:-1"])
def test_a_name_without_a_number_is_refused(name):
    with pytest.raises(UnusableModel, match="expected a number"):
        totalsegmentator_model(name)


@pytest.mark.parametrize(("number", "n_tiles_along_an_axis"), [(297, 4), (291, 3)])
def test_a_network_runs_as_totalsegmentator_runs_it(home, number, n_tiles_along_an_axis):
    folder = write_task(home / ".totalsegmentator" / "nnunet" / "results", number)
    segmenter = load_segmenter(f"totalsegmentator:{number}", device=CPU, trust=False)
    first_fold = load_segmenter(folder, device=CPU, trust=False, folds=("0",))
    tiles = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(segmenter.tile_logits(tiles), first_fold.tile_logits(tiles))
    assert segmenter.tile_grid((16, 16, 40)).n_tiles == n_tiles_along_an_axis
