"""A result as it is seen: pixels of slice views and a 3D view. SEGEXPLAIN_PICTURES names a folder that keeps them."""

import os
from pathlib import Path

import numpy as np
import pytest
import run_files
import scenes
import slicer
import slicer_application
from run_files import HOLE, QUESTIONS, VALUES
from SegExplainGui.scene.importance_map import legend_of
from SegExplainGui.scene.result import create_result
from SegExplainGui.scene.shown_in_views import show_in_slices
from views import SliceView, View3D

from SegExplainLib.report.colours import diverging_rgba

GREY_HU = 40
SIZE = (360, 300)
CENTRE_OF = {1: (4, 4, 3), 2: (7, 5, 3), 3: (4, 4, 5), 5: (7, 7, 1)}
"""Unit -> index (i, j, k) of a voxel well inside it."""
OUTSIDE = (10, 8, 4)
POSITION = scenes.ijk_to_ras("straight", spacing=(5, 5, 5))


def ras_of(ijk):
    return (POSITION @ [*ijk, 1])[:3]


@pytest.fixture(scope="module")
def a_stage(tmp_path_factory):
    """A grey CT, a result on it, and views that were there before it, as in Slicer."""
    application, folder = slicer_application.start(), tmp_path_factory.mktemp("run")
    voxels = np.full(run_files.SHAPE_KJI, GREY_HU, dtype=np.int16)
    ct = scenes.add_ct(application.scene, voxels, POSITION)
    ct.CreateDefaultDisplayNodes()
    ct.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    ct.GetDisplayNode().SetAutoWindowLevel(False)
    ct.GetDisplayNode().SetWindowLevelMinMax(-160, 240)
    slices = [SliceView(application, *names, size=SIZE) for names in (("Red", "Axial"), ("Green", "Coronal"))]
    view_3d = View3D(application, size=SIZE)
    logics = application.logics
    result = create_result(
        application.scene,
        ct,
        name="Why liver?",
        segmentations_logic=logics["segmentations"],
        colors_logic=logics["colors"],
    )
    result.set_units(run_files.write_labels(folder, POSITION))
    result.set_answers(run_files.write_answers(folder))
    result.show(*QUESTIONS[0][:2], top_k=3, sign="both", opacity=1.0)
    show_in_slices(result, [view.composite for view in slices], 1.0)
    return result, slices, view_3d


def keep(view, name):
    folder = os.environ.get("SEGEXPLAIN_PICTURES")
    return view.save(Path(folder) / name) if folder else view.pixels()


def colour_at(view, ijk):
    view.look_at(ras_of(ijk))
    row, column = view.pixel_of(ras_of(ijk))
    return view.pixels()[row, column].astype(int)


@pytest.fixture
def without_outlines(a_stage):
    """The views with nothing over the CT but the units' colours."""
    result, slices, _view_3d = a_stage
    shown = result.segmentation.GetDisplayNode(), legend_of(result.overlay)
    for display in shown:
        display.SetVisibility(False)
    yield slices
    for display in shown:
        display.SetVisibility(True)


@pytest.mark.parametrize("unit", [1, 2, 3, 5])
def test_a_units_colour_says_for_or_against_and_its_opacity_how_much(without_outlines, unit):
    for view in without_outlines:
        grey = colour_at(view, OUTSIDE)
        assert len(set(grey.tolist())) == 1, "where no unit is, the CT is as it was"
        seen = colour_at(view, CENTRE_OF[unit])
        opacity = diverging_rgba(VALUES[unit - 1], limit=0.5)[3]
        red_over_blue = seen[0] - seen[2]
        assert np.sign(red_over_blue) == np.sign(VALUES[unit - 1])
        assert abs(red_over_blue) > 40 * opacity
        assert np.abs(seen - grey).max() < 255 * opacity, "no more than the opacity allows"


def test_units_of_little_importance_hardly_cover_the_ct_and_strong_ones_stay_translucent(a_stage, without_outlines):
    view, ct_display = without_outlines[0], a_stage[0].ct.GetDisplayNode()
    grey = colour_at(view, OUTSIDE)
    changes = {unit: np.abs(colour_at(view, CENTRE_OF[unit]) - grey).max() for unit in (1, 5, 2, 3)}
    assert changes[1] > changes[5] >= changes[2] > changes[3], "in the order of importance"
    assert changes[3] < 40
    before = colour_at(view, CENTRE_OF[1])
    ct_display.SetWindowLevelMinMax(-60, 340)
    darker = colour_at(view, CENTRE_OF[1])
    ct_display.SetWindowLevelMinMax(-160, 240)
    assert (before - darker).min() > 10, "what the CT shows is seen through the strongest unit"


def test_the_opacity_of_the_whole_is_that_of_the_slices(a_stage, without_outlines):
    result, view = a_stage[0], without_outlines[0]
    grey, full = colour_at(view, OUTSIDE), colour_at(view, CENTRE_OF[1])
    result.show(*QUESTIONS[0][:2], top_k=3, sign="both", opacity=0.5)
    half = colour_at(view, CENTRE_OF[1])
    result.show(*QUESTIONS[0][:2], top_k=3, sign="both", opacity=1.0)
    np.testing.assert_allclose(half, (grey + full) / 2, atol=4)


def test_the_map_in_the_foreground_is_clear_at_zero(a_stage, without_outlines):
    result, view = a_stage[0], without_outlines[0]
    composite = view.composite
    composite.SetLabelOpacity(0.0)
    composite.SetForegroundOpacity(1.0)
    grey = colour_at(view, OUTSIDE)
    np.testing.assert_array_equal(colour_at(view, HOLE), grey)
    assert colour_at(view, CENTRE_OF[1])[0] > grey[0]
    show_in_slices(result, [composite], 1.0)


def test_outlines_and_a_legend_are_drawn(a_stage):
    result, slices, _view_3d = a_stage
    view, legend, display = slices[0], legend_of(result.overlay), result.segmentation.GetDisplayNode()
    view.look_at(ras_of(CENTRE_OF[1]))
    whole = keep(view, "axial.png")
    for hidden in (legend, display):
        hidden.SetVisibility(False)
        assert (view.pixels() != whole).any(axis=-1).sum() > 50
        hidden.SetVisibility(True)
    keep(slices[1], "coronal.png")
    assert legend.GetTitleText() == "Importance for\nliver\nsoft Dice"


def test_surfaces_of_the_strongest_are_red_for_and_blue_against(a_stage):
    result, _slices, view = a_stage
    result.segmentation.CreateClosedSurfaceRepresentation()
    view.look_from(slicer.vtkMRMLCameraNode.Posterior)
    pixels = keep(view, "3d.png").astype(int)
    excess = pixels[..., 0] - pixels[..., 2]
    assert (excess > 60).sum() > 200
    result.highlight(5)
    view.look_from(slicer.vtkMRMLCameraNode.Posterior)
    assert (view.pixels() != pixels).any()
    result.highlight(None)
