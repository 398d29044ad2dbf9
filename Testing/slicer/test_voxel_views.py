"""A map of voxels, and the preview, as they are seen. SEGEXPLAIN_PICTURES names a folder that keeps the pictures."""

import os
from pathlib import Path

import numpy as np
import pytest
import run_files
import scenes
from run_files import SHAPE_KJI, VALUES
from SegExplainGui.scene.colour_scale import ColourScale
from SegExplainGui.scene.importance_map import legend_of
from SegExplainGui.scene.preview_map import create_preview
from SegExplainGui.scene.result import create_result
from SegExplainGui.scene.shown_in_views import bring_to_views, show_preview
from views import SliceView

GREY_HU = 40
SIZE = (360, 300)
POSITION = scenes.ijk_to_ras("straight", spacing=(5, 5, 5))
PLACES = {-1.0: (4, 4, 4), -0.2: (6, 4, 4), 0.0: (8, 4, 4), 0.2: (4, 7, 4), 1.0: (7, 7, 4)}
"""Value -> index (i, j, k) of the middle of a block of it, 2 x 3 x 8 voxels."""


def ras_of(ijk):
    return (POSITION @ [*ijk, 1])[:3]


def blocks(*, is_signed):
    values = np.zeros(SHAPE_KJI, dtype=np.float32)
    for value, (i, j, _k) in PLACES.items():
        values[:, j - 1 : j + 2, i - 1 : i + 1] = value if is_signed else abs(value)
    return values


@pytest.fixture
def a_stage(an_application):
    """A grey CT and a view of it."""
    ct = scenes.add_ct(an_application.scene, np.full(SHAPE_KJI, GREY_HU, dtype=np.int16), POSITION)
    ct.CreateDefaultDisplayNodes()
    ct.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    ct.GetDisplayNode().SetAutoWindowLevel(False)
    ct.GetDisplayNode().SetWindowLevelMinMax(-160, 240)
    view = SliceView(an_application, "Red", "Axial", size=SIZE)
    view.composite.SetBackgroundVolumeID(ct.GetID())
    return an_application, ct, view


def a_result(application, ct, folder, method):
    logics = application.logics
    is_signed = method == "input-x-gradient"
    result = create_result(
        *(application.scene, ct),
        name="by gradients",
        segmentations_logic=logics["segmentations"],
        colors_logic=logics["colors"],
    )
    result.set_units(run_files.write_labels(folder, POSITION))
    result.set_voxel_map(run_files.write_map(folder, POSITION, blocks(is_signed=is_signed)), method=method)
    values = VALUES if is_signed else tuple(abs(value) for value in VALUES)
    result.set_answers(run_files.write_gradient_answers(folder, values))
    result.show("liver", "soft-dice", top_k=3, sign="both", opacity=1.0)
    return result


def colour_at(view, ijk):
    view.look_at(ras_of(ijk))
    row, column = view.pixel_of(ras_of(ijk))
    return view.pixels()[row, column].astype(int)


def keep(view, name):
    folder = os.environ.get("SEGEXPLAIN_PICTURES")
    return view.save(Path(folder) / name) if folder else view.pixels()


@pytest.mark.parametrize("method", ["input-x-gradient", "seg-grad-cam"])
def test_each_voxel_has_its_own_colour_over_the_ct(a_stage, tmp_path, method):
    application, ct, view = a_stage
    grey = colour_at(view, PLACES[0.0])
    result = a_result(application, ct, tmp_path, method)
    bring_to_views(result, application.scene, opacity=1.0)
    view.look_at(ras_of(PLACES[0.0]))
    keep(view, f"{method}.png")
    result.segmentation.GetDisplayNode().SetVisibility(False)
    is_signed = method == "input-x-gradient"
    seen = {value: colour_at(view, place) for value, place in PLACES.items()}
    changes = {value: int(np.abs(colour - grey).max()) for value, colour in seen.items()}
    assert changes[0.0] == 0
    assert min(changes[-1.0], changes[1.0]) > max(changes[-0.2], changes[0.2]) > 20, "in the order of strength"
    for value, colour in seen.items():
        *rgb, opacity = ColourScale(1.0, is_signed).rgba(value if is_signed else abs(value))
        assert np.abs(colour - grey).max() <= 255 * opacity, "no more than the opacity allows"
        hue = np.array(rgb) - np.mean(rgb)
        assert value == 0 or np.corrcoef(colour - colour.mean(), hue)[0, 1] > 0.95, "and of the scale's hue"
    np.testing.assert_array_equal(colour_at(view, (11, 9, 4)), grey, err_msg="outside of the map")
    result.show("liver", "soft-dice", top_k=3, sign="both", opacity=0.0)
    np.testing.assert_array_equal(colour_at(view, PLACES[1.0]), grey)


def test_a_preview_is_seen_with_its_name_and_goes(a_stage, tmp_path):
    application, ct, view = a_stage
    view.look_at(ras_of(PLACES[1.0]))
    plain = view.pixels()
    path = run_files.write_map(tmp_path, POSITION, blocks(is_signed=False))
    preview = create_preview(application.scene, ct, path, target="liver", colors_logic=application.logics["colors"])
    show_preview(preview, application.scene, opacity=1.0)
    whole = keep(view, "preview.png").astype(int)
    assert np.ptp(whole[..., :], axis=-1).max() > 60
    legend_of(preview.volume).SetVisibility(False)
    legend = (view.pixels() != whole).any(axis=-1)
    assert legend.sum() > 300, "the legend, which says what it is, is drawn"
    preview.remove()
    np.testing.assert_array_equal(view.pixels(), plain)
