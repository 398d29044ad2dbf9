import json
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from builders import noise_ct, oblique_grid
from framework_oracles import NnUNetOracle, as_stored
from oracles import sliding_window
from tiny_models import write_nnunet_model

from SegExplainLib.contract import InvalidRequest, MissingPackages, UnusableModel
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.model.nnunet import MeanOfFolds
from SegExplainLib.model.stitching import fused_logits
from SegExplainLib.progress import Progress
from SegExplainLib.volume import Volume, VoxelGrid

CPU = torch.device("cpu")
SHARED = Path(__file__).parents[3] / "shared"
RESULTS = "nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture
def model(tmp_path):
    return write_nnunet_model(tmp_path / "Dataset901_Tiny" / RESULTS)


def a_ct() -> Volume:
    return noise_ct(grid=oblique_grid((18, 20, 22), spacing_ijk_mm=(2.0, 3.0, 4.0)))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared models and CTs are not here")
def test_a_real_model_labels_a_real_ct_as_nnunets_own_predictor_does():
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    folder = SHARED / "models" / "abdomen_3mm"
    image = nibabel.load(next((SHARED / "data" / "abdomen_pelvis").glob("ct*.nii.gz")))
    array = np.ascontiguousarray(image.get_fdata(dtype=np.float32).T[14:86, 10:, 10:106])
    ct = Volume(array, VoxelGrid(array.shape, image.affine))
    segmenter = load_segmenter(folder, device=CPU, trust=False)
    prepared = segmenter.prepared(ct)
    labels = segmenter.native_labels(fused_logits(segmenter, prepared, Progress()), prepared).array

    predictor = nnUNetPredictor(device=CPU, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder / RESULTS), (0,))
    spacing = [float(mm) for mm in image.header.get_zooms()[::-1]]
    theirs, p = predictor.predict_single_npy_array(array[None], {"spacing": spacing}, None, None, True)
    best = np.sort(np.log(np.clip(p.astype(np.float64), 1e-12, None)), axis=0)[-2:]
    is_clear = best[1] - best[0] > 1e-2
    assert is_clear.mean() > 0.99
    assert len(np.unique(theirs)) > 15
    np.testing.assert_array_equal(labels[is_clear], theirs[is_clear])


def test_flips_can_be_turned_off(tmp_path):
    model = write_nnunet_model(tmp_path / RESULTS, mirror_axes=(0, 1, 2), spacing=(4.0, 3.0, 2.0))
    ct = a_ct()
    logits = {}
    for mirroring in ("model", "off"):
        segmenter = load_segmenter(model, device=CPU, trust=False, mirroring=mirroring)
        logits[mirroring] = sliding_window(segmenter, segmenter.prepared(ct).array).numpy()
    theirs = NnUNetOracle(model, mirroring=False).logits(ct)
    inside = (slice(None), *[slice(4, -4)] * 3)
    np.testing.assert_allclose(logits["off"][inside], theirs[inside], atol=0.02)
    assert np.abs(logits["off"] - logits["model"]).max() > 0.5


def test_the_folds_asked_for_are_averaged(tmp_path):
    model = write_nnunet_model(tmp_path / RESULTS, n_folds=3)
    tiles = torch.randn(2, 1, 16, 16, 16)
    one_by_one = [load_segmenter(model, device=CPU, trust=False, folds=(fold,)).tile_logits(tiles) for fold in "012"]
    for folds, used in {(): one_by_one, ("0", "2"): one_by_one[::2], ("fold_1",): one_by_one[1:2]}.items():
        segmenter = load_segmenter(model, device=CPU, trust=False, folds=folds)
        torch.testing.assert_close(segmenter.tile_logits(tiles), torch.stack(used).mean(0))
        torch.testing.assert_close(segmenter.network(tiles), torch.stack(used).mean(0))
    assert isinstance(load_segmenter(model, device=CPU, trust=False).network, MeanOfFolds)


def test_a_fold_of_all_cases_is_taken_only_when_it_is_alone_or_asked_for(tmp_path):
    model = write_nnunet_model(tmp_path / RESULTS, n_folds=2)
    (model / "fold_1").rename(model / "fold_all")
    tiles = torch.randn(1, 1, 16, 16, 16)
    zero, every, default = (
        load_segmenter(model, device=CPU, trust=False, folds=folds).tile_logits(tiles)
        for folds in (("0",), ("all",), ())
    )
    assert torch.equal(default, zero)
    shutil.rmtree(model / "fold_0")
    assert torch.equal(load_segmenter(model, device=CPU, trust=False).tile_logits(tiles), every)


def test_a_reader_that_turns_to_ras_is_followed(tmp_path):
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient

    affine = np.array([[0.1, -2.9, 0.2, 50], [0.2, 0.1, 4.0, -20], [-2.0, -0.2, 0.1, 11], [0, 0, 0, 1.0]])
    ct = as_stored(noise_ct(grid=VoxelGrid((18, 20, 22), affine)))
    # Axis i runs down, j to the left, k to the front: turned to RAS, array axes are i, k, j.
    k_mm, j_mm, i_mm = (float(mm) for mm in ct.grid.spacing_kji_mm)
    model = write_nnunet_model(tmp_path / RESULTS, reader="NibabelIOWithReorient", spacing=(i_mm, k_mm, j_mm))
    segmenter = load_segmenter(model, device=CPU, trust=False)
    prepared = segmenter.prepared(ct)
    labels = segmenter.native_labels(sliding_window(segmenter, prepared.array).float(), prepared)

    nibabel.save(nibabel.Nifti1Image(ct.array.T, ct.grid.ijk_to_ras), tmp_path / "ct.nii.gz")
    io, oracle = NibabelIOWithReorient(), NnUNetOracle(model)
    array, properties = io.read_images([str(tmp_path / "ct.nii.gz")])
    io.write_seg(oracle.predictor.predict_single_npy_array(array, properties), str(tmp_path / "seg.nii.gz"), properties)
    theirs = np.asarray(nibabel.load(tmp_path / "seg.nii.gz").dataobj).T
    inside = tuple(slice(3, -3) for _ in range(3))
    assert labels.grid.is_same_as(ct.grid)
    assert np.mean(labels.array[inside] == theirs[inside]) > 0.999
    assert np.mean(theirs[inside][::-1] == theirs[inside]) < 0.9

    assert prepared.array.shape == (1, 22, 18, 20)
    kji = np.random.default_rng(0).integers(ct.grid.shape_kji, size=(50, 3))
    there = prepared.grid.kji_of(ct.grid.ras_of(kji))
    np.testing.assert_allclose(there, np.round(there), atol=1e-6)
    seen = prepared.array[0][tuple(np.round(there).astype(int).T)]
    np.testing.assert_allclose(seen, (np.clip(ct.array[tuple(kji.T)], -900, 800) - 20) / 180, atol=1e-5)


def test_the_grid_of_what_is_not_resampled_is_the_cts_own(tmp_path):
    model = write_nnunet_model(tmp_path / RESULTS, spacing=(4.0, 3.0, 2.0))
    ct = a_ct()
    prepared = load_segmenter(model, device=CPU, trust=False).prepared(ct)
    assert prepared.grid.is_same_as(ct.grid)
    np.testing.assert_allclose(prepared.array[0], (np.clip(ct.array, -900, 800) - 20) / 180, atol=1e-6)


def test_fusion_weights_are_rounded_as_nnunet_rounds_them(model):
    weights = load_segmenter(model, device=CPU, trust=False).tile_grid((20, 20, 20)).weights
    assert weights.dtype == torch.float32
    assert torch.equal(weights, weights.half().float())
    assert weights.max() == 10
    assert weights.min() == torch.finfo(torch.float16).smallest_normal / 2**10


def test_padding_is_marked_and_is_nnunets_constant(tmp_path):
    model = write_nnunet_model(tmp_path / RESULTS, spacing=(4.0, 3.0, 2.0))
    ct = noise_ct(grid=oblique_grid((9, 20, 13)))
    prepared = load_segmenter(model, device=CPU, trust=False).prepared(ct)
    assert prepared.array.shape == (1, 16, 20, 16)
    assert prepared.is_padding.sum() == 16 * 20 * 16 - 9 * 20 * 13
    assert not prepared.is_padding[3:12, :, 1:14].any()
    assert (prepared.array[0][prepared.is_padding] == 0).all()


@pytest.mark.parametrize("use_mask", [True, False])
def test_the_z_score_of_a_case_is_recovered_to_the_last_bit(tmp_path, use_mask):
    settings = {"normalisation": "ZScoreNormalization", "use_mask": use_mask, "spacing": (2.0, 4.0, 3.0)}
    model = write_nnunet_model(tmp_path / RESULTS, transpose=(2, 0, 1), **settings)
    ct = a_ct()
    array = ct.array.copy()
    array[:2], array[8:11, 8:11, 8:11], array[9, 9, 9] = 0, 0, 77.5
    segmenter = load_segmenter(model, device=CPU, trust=False)
    prepared = segmenter.prepared(Volume(array, ct.grid))
    for kji in ((9, 9, 9), (4, 4, 4), (16, 18, 3)):
        there = np.round(prepared.grid.kji_of(ct.grid.ras_of(np.array(kji)))).astype(int)
        assert segmenter.input_value(float(array[kji]), prepared)[0] == prepared.array[(0, *there)]
    assert segmenter.mean_value(prepared) == 0


def test_ct_normalisation_clips(model):
    segmenter = load_segmenter(model, device=CPU, trust=False)
    prepared = segmenter.prepared(a_ct())
    np.testing.assert_allclose(segmenter.input_value(-1024, prepared), (-900 - 20) / 180, rtol=1e-6)
    np.testing.assert_allclose(segmenter.input_value(3000, prepared), (800 - 20) / 180, rtol=1e-6)
    np.testing.assert_allclose(segmenter.input_value(20, prepared), 0, atol=1e-7)


def test_without_a_mean_in_the_normalisation_the_mean_is_the_cases(tmp_path):
    model = write_nnunet_model(tmp_path / RESULTS, normalisation="NoNormalization", spacing=(4.0, 3.0, 2.0))
    segmenter = load_segmenter(model, device=CPU, trust=False)
    ct = noise_ct(grid=oblique_grid((9, 20, 13)))
    np.testing.assert_allclose(segmenter.mean_value(segmenter.prepared(ct)), ct.array.mean(), rtol=1e-4)


def test_nnunets_checkpoint_needs_no_trust_and_its_folder_may_be_that_of_the_dataset(model):
    segmenter = load_segmenter(model.parent, device=CPU, trust=False)
    assert segmenter.name == "Dataset901_Tiny 3d_fullres"
    assert [entry.name for entry in segmenter.classes] == ["liver", "spleen"]


def test_nothing_is_printed_even_for_plans_of_an_older_version(model, capsys):
    plans = json.loads((model / "plans.json").read_text())
    del plans["label_manager"]
    (model / "plans.json").write_text(json.dumps(plans))
    segmenter = load_segmenter(model, device=CPU, trust=False)
    prepared = segmenter.prepared(a_ct())
    segmenter.native_labels(torch.zeros(3, *prepared.array.shape[1:]), prepared)
    assert capsys.readouterr().out == ""


def test_region_classes_have_their_own_channels_and_labels(tmp_path):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ignore": 4, "rim": 3}
    model = write_nnunet_model(tmp_path / RESULTS, labels=labels, regions_class_order=[1, 2, 3])
    segmenter = load_segmenter(model, device=CPU, trust=False)
    assert not segmenter.is_exclusive
    found = [(entry.name, entry.channel, entry.label) for entry in segmenter.classes]
    assert found == [("whole", 0, 1), ("core", 1, 2), ("rim", 2, 3)]


def test_a_ct_of_zeros_is_refused(model):
    ct = a_ct()
    with pytest.raises(InvalidRequest, match="0 everywhere"):
        load_segmenter(model, device=CPU, trust=False).prepared(Volume(np.zeros_like(ct.array), ct.grid))


def test_a_ct_thinner_than_a_voxel_of_the_model_is_refused(tmp_path):
    model = write_nnunet_model(tmp_path / RESULTS, spacing=(10.0, 3.0, 3.0))
    with pytest.raises(InvalidRequest, match="thinner"):
        load_segmenter(model, device=CPU, trust=False).prepared(noise_ct(grid=oblique_grid((1, 20, 20))))


def test_several_configurations_in_one_folder_are_named(tmp_path):
    for name in (RESULTS, "nnUNetTrainer__nnUNetPlans__3d_lowres"):
        write_nnunet_model(tmp_path / name, configuration=name.split("__")[-1])
    with pytest.raises(UnusableModel, match=r"2 models.*3d_fullres.*3d_lowres"):
        load_segmenter(tmp_path, device=CPU, trust=False)
    write_nnunet_model(tmp_path / "nnUNetTrainer__nnUNetPlans__2d", configuration="2d", patch=(16, 16, 16))
    shutil.rmtree(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_lowres")
    assert load_segmenter(tmp_path, device=CPU, trust=False).name == "Dataset901_Tiny 3d_fullres"
    shutil.rmtree(tmp_path / RESULTS)
    with pytest.raises(UnusableModel, match=r"no 3D nnU-Net configuration.*__2d"):
        load_segmenter(tmp_path, device=CPU, trust=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"extra_configuration": {"previous_stage": "3d_lowres"}}, "cascade"),
        ({"extra_configuration": {"patch_size": [16, 16]}}, "is 2D"),
        ({"extra_configuration": {"preprocessor_name": "SomePreprocessor"}}, "SomePreprocessor"),
        ({"channel_names": {"0": "CT", "1": "PET"}}, "2 input channels"),
        ({"normalisation": "RGBTo01Normalization"}, "RGBTo01Normalization"),
    ],
)
def test_what_cannot_be_explained_is_said(tmp_path, settings, message):
    model = write_nnunet_model(tmp_path / RESULTS, **settings)
    with pytest.raises(UnusableModel, match=message):
        load_segmenter(model, device=CPU, trust=False)


@pytest.mark.parametrize("part", ["dataset.json", "plans.json", "fold_0", "fold_0/checkpoint_final.pth"])
def test_a_missing_part_is_named(model, part):
    gone = model / part
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(UnusableModel, match=part.split("/")[-1].replace("fold_0", "fold_")):
        load_segmenter(model, device=CPU, trust=False)


def test_an_unfinished_training_is_recognised(model):
    (model / "fold_0" / "checkpoint_final.pth").rename(model / "fold_0" / "checkpoint_best.pth")
    with pytest.raises(UnusableModel, match=r"lacks checkpoint_final.pth; found checkpoint_best.pth"):
        load_segmenter(model, device=CPU, trust=False)


def test_a_fold_that_is_not_there_is_answered_with_those_that_are(model):
    with pytest.raises(UnusableModel, match=r"no fold_3.*there are: fold_0"):
        load_segmenter(model, device=CPU, trust=False, folds=("3",))


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("plans.json", "{", "no readable JSON"),
        ("plans.json", "[]", "expected an object"),
        ("plans.json", "{}", "cannot be used"),
        ("dataset.json", '{"channel_names": {"0": "CT"}}', "labels"),
        ("dataset.json", '{"channel_names": {"0": "CT"}, "labels": {"liver": 1}}', "Background"),
        ("dataset.json", '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}}', "do not fit"),
    ],
)
def test_a_broken_part_is_named(model, part, content, message):
    (model / part).write_text(content)
    with pytest.raises(UnusableModel, match=message):
        load_segmenter(model, device=CPU, trust=False)


def test_a_checkpoint_of_something_else_is_recognised(model):
    torch.save({"state_dict": {"weight": torch.ones(3)}}, model / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(UnusableModel, match="not a checkpoint of nnU-Net v2: it lacks network_weights"):
        load_segmenter(model, device=CPU, trust=False)


def test_a_foreign_class_in_the_plans_is_built_with_trust_alone(model):
    plans = json.loads((model / "plans.json").read_text())
    arguments = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    for foreign in ("os.system", "torch.nn.functional.torch.load", "tiny_models.ForeignNorm"):
        arguments["norm_op"] = foreign
        (model / "plans.json").write_text(json.dumps(plans))
        with pytest.raises(UnusableModel, match=f"{foreign}.*--trust-model"):
            load_segmenter(model, device=CPU, trust=False)
    segmenter = load_segmenter(model, device=CPU, trust=True)
    assert any(type(module).__name__ == "ForeignNorm" for module in segmenter.network.modules())


def test_an_unknown_trainer_is_named(tmp_path):
    model = write_nnunet_model(tmp_path / RESULTS, trainer="nnUNetTrainerOfNobody")
    with pytest.raises(UnusableModel, match=r"nnUNetTrainerOfNobody.*nnUNet_extTrainer"):
        load_segmenter(model, device=CPU, trust=False)


def test_trainers_that_leave_the_network_alone_need_no_search(tmp_path):
    for number, trainer in enumerate(["nnUNetTrainer_4000epochs_NoMirroring", "nnUNetTrainer_DASegOrd0_NoMirroring"]):
        model = write_nnunet_model(tmp_path / str(number) / RESULTS, trainer=trainer)
        assert load_segmenter(model, device=CPU, trust=False).n_channels == 3


def test_without_nnunetv2_the_user_is_told_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    with pytest.raises(MissingPackages, match=r'pip install "segexplain\[nnunet\]"'):
        load_segmenter(model, device=CPU, trust=False)
