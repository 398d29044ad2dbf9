import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import write_nnunet_model

from SegExplainLib.contract import UnusableModel
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.model.totalsegmentator import installed_models, totalsegmentator_model

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


def write_folders(root, *datasets, results=f"{TRAINER}__nnUNetPlans__3d_fullres"):
    """Folders as TotalSegmentator unpacks them, without weights."""
    for dataset in datasets:
        (root / dataset / results).mkdir(parents=True)
    return root


def standard_place(home):
    return home / ".totalsegmentator" / "nnunet" / "results"


def test_a_machine_without_weights_has_no_models(home):
    assert installed_models() == []


def test_installed_models_are_listed_by_number_with_readable_labels(home):
    write_folders(
        standard_place(home),
        "Dataset850_TotalSegMRI_part1_organs_1088subj",
        "Dataset297_TotalSegmentator_total_3mm_1559subj",
        "Dataset008_HepaticVessel",
        "Dataset291_TotalSegmentator_part1_organs_1559subj",
        "Dataset1001_something_new",
    )
    assert [(model.task, model.name, model.label) for model in installed_models()] == [
        (8, "totalsegmentator:8", "TotalSegmentator: HepaticVessel"),
        (291, "totalsegmentator:291", "TotalSegmentator: part1 organs"),
        (297, "totalsegmentator:297", "TotalSegmentator: total 3 mm"),
        (850, "totalsegmentator:850", "TotalSegmentator: TotalSegMRI part1 organs"),
        (1001, "totalsegmentator:1001", "TotalSegmentator: something new"),
    ]
    for model in installed_models():
        assert totalsegmentator_model(model.name).folder == model.folder


def test_a_task_in_several_places_is_listed_once_as_it_would_be_run(home, tmp_path, monkeypatch):
    dataset = "Dataset297_TotalSegmentator_total_3mm_1559subj"
    write_folders(standard_place(home), dataset)
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(write_folders(tmp_path / "first", dataset)))
    monkeypatch.setenv("nnUNet_results", str(write_folders(tmp_path / "last", dataset)))
    (model,) = installed_models()
    assert model.folder.is_relative_to(tmp_path / "first")
    assert totalsegmentator_model(model.name).folder == model.folder


def test_of_several_networks_of_a_task_the_one_of_full_resolution_is_taken(home):
    for results in ("3d_lowres", "3d_fullres", "2d"):
        write_folders(standard_place(home), "Dataset300_body_1559subj", results=f"{TRAINER}__nnUNetPlans__{results}")
    (model,) = installed_models()
    assert model.folder.name.endswith("__3d_fullres")


def test_what_is_no_network_is_not_listed(home):
    root = write_folders(standard_place(home), "Dataset297_flat", results=f"{TRAINER}__nnUNetPlans__2d")
    write_folders(root, "Task297_old", "Dataset12_short", "Dataset_none", "DatasetABC_x", ".Dataset298_hidden")
    (root / "Dataset299_a_file").write_text("")
    (root / "Dataset301_empty").mkdir()
    assert installed_models() == []


def test_places_that_cannot_be_read_are_passed_over(home, tmp_path, monkeypatch):
    root = write_folders(standard_place(home), "Dataset297_TotalSegmentator_total_3mm_1559subj")
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "a file"))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / ("long" * 100)))
    if sys.platform != "win32":
        (tmp_path / "nnunet").mkdir()
        (tmp_path / "nnunet" / "results").symlink_to(tmp_path / "nnunet" / "results")
        (root / "Dataset298_loop").symlink_to(root / "Dataset298_loop")
        monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path))
    assert [model.task for model in installed_models()] == [297]
    assert totalsegmentator_model("totalsegmentator:297").folder.is_relative_to(root)


def test_networks_of_ones_own_in_nnunets_folder_are_not_taken_for_totalsegmentators(home, tmp_path, monkeypatch):
    root = write_folders(tmp_path / "own", "Dataset500_my_study", "Dataset297_TotalSegmentator_total_3mm_1559subj")
    monkeypatch.setenv("nnUNet_results", str(root))
    assert [model.task for model in installed_models()] == [297]


def test_a_client_without_any_package_can_list_the_models():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import SegExplainLib.model.totalsegmentator as t;"
    code += "t.installed_models(); print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'numpy'}))"
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, root], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
