import json

import numpy as np
import pytest
import torch
from builders import noise_ct, oblique_grid
from framework_oracles import BundleOracle, as_stored
from oracles import sliding_window
from tiny_models import bundle_config, scale_intensity_range, write_bundle

from SegExplainLib.contract import InvalidRequest, UnusableModel
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.volume import Volume

CPU = torch.device("cpu")


def a_ct(shape=(16, 18, 20)) -> Volume:
    return as_stored(noise_ct(grid=oblique_grid(shape, spacing_ijk_mm=(3.0, 3.0, 3.0))))


def opened(tmp_path, config, *, trust=False, **settings):
    return load_segmenter(write_bundle(tmp_path / "bundle", config, **settings), device=CPU, trust=trust)


def labels_of(segmenter, ct) -> Volume:
    prepared = segmenter.prepared(ct)
    return segmenter.native_labels(sliding_window(segmenter, prepared.array).float(), prepared)


def test_its_name_and_classes_are_those_of_its_description(tmp_path):
    segmenter = opened(tmp_path, bundle_config(n_channels=4))
    assert segmenter.name == "Tiny bundle"
    assert [(c.name, c.channel, c.label) for c in segmenter.classes] == [
        ("liver", 1, 1),
        ("spleen", 2, 2),
        ("aorta", 3, 3),
    ]
    assert segmenter.is_exclusive


def test_channels_of_sigmoids_are_all_classes(tmp_path):
    names = {"0": "tumour", "1": "oedema"}
    segmenter = opened(tmp_path, bundle_config(n_channels=2, activation="sigmoid"), names=names)
    assert not segmenter.is_exclusive
    assert [(c.name, c.channel, c.label) for c in segmenter.classes] == [("tumour", 0, 1), ("oedema", 1, 2)]


def test_one_channel_is_a_class_by_itself(tmp_path):
    segmenter = opened(tmp_path, bundle_config(n_channels=1, activation="sigmoid"), names={"0": "liver"})
    labels = labels_of(segmenter, a_ct())
    assert not segmenter.is_exclusive
    assert set(np.unique(labels.array)) == {0, 1}


def test_channels_without_a_name_are_numbered(tmp_path):
    segmenter = opened(tmp_path, bundle_config(), names={"0": "background", "2": "spleen"})
    assert [c.name for c in segmenter.classes] == ["channel 1", "spleen"]


@pytest.mark.parametrize("nested", [None, "model", "state_dict"])
def test_weights_are_found_wherever_monai_puts_them(tmp_path, nested):
    segmenter = opened(tmp_path, bundle_config(), nested=nested)
    plain = opened(tmp_path / "plain", bundle_config())
    tiles = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(segmenter.tile_logits(tiles), plain.tile_logits(tiles))


def test_a_yaml_configuration_is_the_same_bundle(tmp_path):
    ct = a_ct()
    as_json = labels_of(opened(tmp_path / "json", bundle_config()), ct)
    as_yaml = labels_of(opened(tmp_path / "yaml", bundle_config(), as_yaml=True), ct)
    np.testing.assert_array_equal(as_json.array, as_yaml.array)


def test_the_weights_that_the_checkpoint_loader_names_are_taken(tmp_path):
    config = bundle_config()
    config["highres"] = False
    config["modelname"] = "$'model.pt' if @highres else 'model_lowres.pt'"
    config["checkpointloader"]["load_path"] = "$@bundle_root + '/models/' + @modelname"
    folder = write_bundle(tmp_path / "bundle", config)
    other = write_bundle(tmp_path / "other", config, seed=5)
    (other / "models" / "model.pt").rename(folder / "models" / "model_lowres.pt")
    tiles = torch.randn(1, 1, 16, 16, 16)
    low = load_segmenter(folder, device=CPU, trust=False).tile_logits(tiles)
    (folder / "models" / "model_lowres.pt").rename(folder / "models" / "model.pt")
    torch.testing.assert_close(load_segmenter(folder, device=CPU, trust=False).tile_logits(tiles), low)


def test_without_postprocessing_the_largest_logit_is_led_back_to_the_ct(tmp_path):
    config = bundle_config()
    ct = a_ct()
    with_it = labels_of(opened(tmp_path / "with", config), ct).array
    del config["postprocessing"]
    without = labels_of(opened(tmp_path / "without", config), ct)
    assert without.grid.is_same_as(ct.grid)
    assert np.mean(without.array == with_it) > 0.95
    config = bundle_config(activation="sigmoid", n_channels=2)
    with_it = labels_of(opened(tmp_path / "with sigmoid", config), ct).array
    config["postprocessing"]["transforms"] = config["postprocessing"]["transforms"][:1]
    without = labels_of(opened(tmp_path / "sigmoid alone", config), ct).array
    assert np.mean(without == with_it) > 0.95


def test_a_label_map_turned_back_before_the_decision_and_after_is_monais(tmp_path):
    config = bundle_config(nearest_inverse=True, pixdim=(4.0, 4.0, 4.0), roi_size=(8, 8, 8))
    config["postprocessing"]["transforms"][1:3] = config["postprocessing"]["transforms"][2:0:-1]
    folder = write_bundle(tmp_path / "bundle", config)
    ct = a_ct()
    theirs = BundleOracle(folder, scratch=tmp_path).predicted(ct)[1]
    np.testing.assert_array_equal(labels_of(load_segmenter(folder, device=CPU, trust=False), ct).array, theirs[0].T)


def test_a_window_of_hu_gives_exact_values(tmp_path):
    segmenter = opened(tmp_path, bundle_config(intensity=[scale_intensity_range(a_min=-57, a_max=164)]))
    prepared = segmenter.prepared(a_ct())
    for hu, value in {-1024: 0.0, -57: 0.0, 53.5: 0.5, 164: 1.0, 3000: 1.0}.items():
        np.testing.assert_allclose(segmenter.input_value(hu, prepared), value, atol=1e-6)
    np.testing.assert_allclose(segmenter.mean_value(prepared), prepared.array.mean(), rtol=1e-5)


def test_a_z_score_without_constants_is_recovered_from_the_case(tmp_path):
    normalise = [{"_target_": "NormalizeIntensityd", "keys": "image"}]
    segmenter = opened(tmp_path, bundle_config(intensity=normalise, axcodes=None, pixdim=None))
    ct = a_ct()
    prepared = segmenter.prepared(ct)
    value = segmenter.input_value(-1024, prepared)
    np.testing.assert_allclose(value, (-1024 - ct.array.mean()) / ct.array.std(), rtol=1e-5)
    assert segmenter.mean_value(prepared) == 0


def test_a_mean_that_is_shifted_afterwards_is_not_taken_for_0(tmp_path):
    steps = [
        {"_target_": "NormalizeIntensityd", "keys": "image"},
        {"_target_": "ScaleIntensityd", "keys": "image", "minv": 2.0, "maxv": 3.0},
    ]
    segmenter = opened(tmp_path, bundle_config(intensity=steps))
    prepared = segmenter.prepared(a_ct())
    np.testing.assert_allclose(segmenter.mean_value(prepared), prepared.array.mean(), rtol=1e-5)


def test_an_intensity_step_that_is_not_pointwise_is_named_when_a_value_is_asked(tmp_path):
    steps = [scale_intensity_range(), {"_target_": "GaussianSmoothd", "keys": "image", "sigma": 1.0}]
    segmenter = opened(tmp_path, bundle_config(intensity=steps))
    prepared = segmenter.prepared(a_ct())
    with pytest.raises(UnusableModel, match="GaussianSmoothd"):
        segmenter.input_value(-1024, prepared)


def test_padding_is_marked(tmp_path):
    segmenter = opened(tmp_path, bundle_config(axcodes=None, pixdim=None, inferer={"cval": 7.0}))
    ct = a_ct((9, 20, 13))
    prepared = segmenter.prepared(ct)
    assert prepared.array.shape == (1, 16, 20, 16)
    assert (prepared.array[0][prepared.is_padding] == 7).all()
    kji = np.argwhere(~prepared.is_padding)
    assert len(kji) == 9 * 20 * 13
    native = np.round(ct.grid.kji_of(prepared.grid.ras_of(kji))).astype(int)
    np.testing.assert_allclose(
        prepared.array[0][~prepared.is_padding], np.clip(ct.array[tuple(native.T)] / 1800 + 0.5, 0, 1), atol=1e-5
    )


def test_folds_are_refused(tmp_path):
    folder = write_bundle(tmp_path / "bundle", bundle_config())
    with pytest.raises(InvalidRequest, match="no folds"):
        load_segmenter(folder, device=CPU, trust=False, folds=("0",))


def change(config, **parts):
    for path, value in parts.items():
        *keys, last = path.split("__")
        node = config
        for key in keys:
            node = node[int(key)] if isinstance(node, list) else node[key]
        node[last] = value
    return config


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"inferer": {"_target_": "SimpleInferer"}}, "SimpleInferer"),
        ({"inferer": {"_target_": "SliceInferer", "roi_size": [8, 8]}}, "SliceInferer"),
        ({"inferer__with_coord": True}, "plain SlidingWindowInferer"),
        ({"inferer__roi_size": [8, 8]}, "not 3D"),
        ({"preprocessing": {"_target_": "Compose", "transforms": [{"_target_": "EnsureType"}]}}, "dictionary"),
        ({"preprocessing__transforms__2__keys": ["ct", "pet"]}, "ct, image, pet"),
        ({"preprocessing": {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}}, "not a Compose"),
        ({"preprocessing": {"_target_": "Compose", "transforms": []}}, "dictionary"),
        ({"postprocessing__transforms": [{"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.3}]}, "without a"),
    ],
)
def test_what_cannot_be_explained_is_said(tmp_path, parts, message):
    with pytest.raises(UnusableModel, match=message):
        opened(tmp_path, change(bundle_config(), **parts))


def test_a_threshold_other_than_a_half_is_refused(tmp_path):
    config = bundle_config(activation="sigmoid", n_channels=2)
    config["postprocessing"]["transforms"][2]["threshold"] = 0.3
    with pytest.raises(UnusableModel, match=r"cuts at \[0\.3\]"):
        opened(tmp_path, config)


def test_a_network_of_several_inputs_is_refused(tmp_path):
    with pytest.raises(UnusableModel, match="4"):
        opened(tmp_path, bundle_config(), n_inputs=4)


@pytest.mark.parametrize("part", ["configs/metadata.json", "configs/inference.json", "models/model.pt"])
def test_a_missing_part_is_named(tmp_path, part):
    folder = write_bundle(tmp_path / "bundle", bundle_config())
    (folder / part).unlink()
    with pytest.raises(UnusableModel, match=part):
        load_segmenter(folder, device=CPU, trust=False)


@pytest.mark.parametrize("part", ["network_def", "inferer", "preprocessing"])
def test_a_missing_part_of_the_configuration_is_named(tmp_path, part):
    folder = write_bundle(tmp_path / "bundle", bundle_config())
    config = bundle_config()
    del config[part]
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    with pytest.raises(UnusableModel, match=f"lacks the part '{part}'"):
        load_segmenter(folder, device=CPU, trust=False)


def test_a_postprocessing_that_loses_the_cts_grid_is_refused(tmp_path):
    config = bundle_config()
    crop = {"_target_": "CenterSpatialCropd", "keys": "pred", "roi_size": [4, 4, 4]}
    config["postprocessing"]["transforms"].append(crop)
    with pytest.raises(UnusableModel, match=r"gives \(4, 4, 4\) voxels"):
        labels_of(opened(tmp_path, config), a_ct())


def test_a_network_with_other_channels_than_said_is_refused(tmp_path):
    config = bundle_config()
    folder = write_bundle(tmp_path / "bundle", config)
    config["network_def"] = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 3}
    torch.save(torch.nn.Conv3d(1, 3, 3).state_dict(), folder / "models" / "model.pt")
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    segmenter = load_segmenter(folder, device=CPU, trust=False)
    with pytest.raises(UnusableModel, match=r"gives \(1, 3, 14, 14, 14\); expected logits of shape"):
        segmenter.tile_logits(torch.zeros(1, 1, 16, 16, 16))


def test_a_script_of_torch_is_run_with_trust_alone(tmp_path):
    folder = write_bundle(tmp_path / "bundle", bundle_config())
    tiles = torch.randn(1, 1, 16, 16, 16)
    plain = load_segmenter(folder, device=CPU, trust=False)
    torch.jit.save(torch.jit.trace(plain.network, tiles), str(folder / "models" / "model.ts"))
    (folder / "models" / "model.pt").unlink()
    with pytest.raises(UnusableModel, match="--trust-model"):
        load_segmenter(folder, device=CPU, trust=False)
    scripted = load_segmenter(folder, device=CPU, trust=True)
    torch.testing.assert_close(scripted.tile_logits(tiles), plain.tile_logits(tiles))
