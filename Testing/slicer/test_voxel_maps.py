"""Results of gradient methods: a number for each voxel, with the units beside it, and what comes back from a file."""

from dataclasses import dataclass

import numpy as np
import pytest
import run_files
import scenes
from run_files import VALUES, unit_labels, voxel_map
from SegExplainGui.scene import quantity_words
from SegExplainGui.scene.colour_scale import ColourScale
from SegExplainGui.scene.ct_grid import ct_grid
from SegExplainGui.scene.importance_map import legend_of
from SegExplainGui.scene.result import create_result, results_in
from SegExplainGui.scene.unit_labels import read_unit_labels
from SegExplainGui.scene.voxel_map import N_SHADES, read_voxel_map
from test_scene_import import (
    axes_of,
    column,
    hierarchy_items,
    names_of,
    node_ids,
    on_whole_ct,
    saved_and_loaded,
    segments_of,
    show,
    tag_of,
    voxels_of,
)
from vtk.util.numpy_support import vtk_to_numpy

from SegExplainLib.contract import GRADIENT_METHODS, METHODS, GeometryMismatch, InvalidRequest
from SegExplainLib.report.colours import diverging_rgb, sequential_rgb
from SegExplainLib.report.methods import method_words

SIGNED, UNSIGNED = "input-x-gradient", "seg-grad-cam"
POSITIVE = tuple(abs(value) for value in VALUES)


@dataclass
class Bed:
    """A scene with a CT, and where files are written."""

    application: object
    folder: object
    matrix: np.ndarray
    ct: object

    @property
    def scene(self):
        return self.application.scene

    def result(self, method, *, values=None, unit=None):
        logics = self.application.logics
        result = create_result(
            *(self.scene, self.ct),
            name="liver by a method",
            segmentations_logic=logics["segmentations"],
            colors_logic=logics["colors"],
        )
        is_signed = method == SIGNED
        result.set_units(run_files.write_labels(self.folder, self.matrix))
        result.set_voxel_map(self.map(voxel_map(is_signed=is_signed)), method=method)
        values = values or (VALUES if is_signed else POSITIVE)
        unit = unit or ("share" if is_signed else "relative")
        result.set_answers(run_files.write_gradient_answers(self.folder, values, unit))
        show(result)
        return result

    def map(self, values, name="map.nrrd"):
        return run_files.write_map(self.folder, self.matrix, values, name)


def a_bed(application, folder, position="straight", under=None):
    matrix = scenes.ijk_to_ras(position)
    # Each voxel's own number: where a file may turn voxels around, the CT's values say which is which.
    voxels = np.arange(np.prod(run_files.SHAPE_KJI), dtype=np.int16).reshape(run_files.SHAPE_KJI)
    return Bed(application, folder, matrix, scenes.add_ct(application.scene, voxels, matrix, under=under))


@pytest.fixture
def bed(an_application, tmp_path):
    return a_bed(an_application, tmp_path)


def colours_of(node):
    return vtk_to_numpy(node.GetDisplayNode().GetColorNode().GetLookupTable().GetTable())


@pytest.mark.parametrize("position", scenes.POSITIONS)
@pytest.mark.parametrize("kind", ["none", "sheared"])
def test_the_map_holds_each_voxels_number_at_the_cts_voxel(an_application, tmp_path, position, kind):
    bed = a_bed(an_application, tmp_path, position, under=scenes.parent(an_application.scene, kind))
    result = bed.result(SIGNED)
    found = np.nan_to_num(on_whole_ct(result.overlay, result.ct))
    np.testing.assert_allclose(found, voxel_map(is_signed=True), rtol=1e-7)
    assert voxels_of(result.overlay).shape == (3, 5, 6), "cut to where it is not zero"
    for node in (result.overlay, result.seen):
        assert node.GetParentTransformNode() is result.ct.GetParentTransformNode()
        np.testing.assert_allclose(axes_of(node), axes_of(result.overlay))


def test_what_is_seen_is_the_map_in_shades_with_zero_clear(bed):
    for method in (SIGNED, UNSIGNED):
        result = bed.result(method)
        numbers, shades = voxels_of(result.overlay), voxels_of(result.seen)
        table = colours_of(result.seen)
        assert len(table) == 1 + N_SHADES
        assert (table[0] == 0).all(), "where the map has no voxel, a view reads shade 0"
        assert ((shades == 0) == (numbers == 0)).all()
        opacities = table[shades][..., 3].astype(int)
        order = np.argsort(np.abs(numbers), axis=None)
        assert (np.diff(opacities.ravel()[order]) >= -2).all(), "the stronger, the more opaque"
        colours = table[shades][..., :3]
        scale = ColourScale(result.overlay.GetDisplayNode().GetWindowLevelMax(), method == SIGNED)
        strong = np.abs(numbers) > 0.2 * scale.limit
        np.testing.assert_allclose(colours[strong] / 255, scale.rgba(numbers[strong])[:, :3], atol=0.012)
        result.remove()


def test_a_signed_map_is_red_and_blue_and_one_without_sign_runs_from_zero(bed):
    signed, unsigned = bed.result(SIGNED), bed.result(UNSIGNED)
    window = [
        (display.GetWindowLevelMin(), display.GetWindowLevelMax())
        for display in (signed.overlay.GetDisplayNode(), unsigned.overlay.GetDisplayNode())
    ]
    limit = np.sort(np.abs(voxel_map(is_signed=True)), axis=None)[-2]  # 99.9 % of 89 voxels are all but one
    assert window[0] == pytest.approx((-limit, limit), rel=1e-5)
    assert window[1] == pytest.approx((0, 100), rel=1e-5), "only ratios mean something: percent"
    assert segments_of(signed.all_units)[2].GetColor() == pytest.approx(diverging_rgb(-0.25, limit=0.5), abs=1e-6)
    assert segments_of(unsigned.all_units)[2].GetColor() == pytest.approx(sequential_rgb(0.25, limit=0.5), abs=1e-6)
    np.testing.assert_allclose(colours_of(unsigned.overlay)[-1, :3] / 255, sequential_rgb(1, limit=1), atol=0.003)
    np.testing.assert_allclose(colours_of(signed.overlay)[0, :3] / 255, diverging_rgb(-1, limit=1), atol=0.003)
    assert legend_of(unsigned.overlay).GetLabelFormat() == "%.0f"
    assert (
        legend_of(unsigned.overlay).GetTitleText()
        == "Heat (%)\nof each voxel for\nliver\nsoft Dice\n100 % = 99.9th\npercentile"
    )
    assert legend_of(signed.overlay).GetLabelFormat() == "%+.2f"


def test_a_few_outliers_do_not_hide_all_others(bed):
    values = np.full(run_files.SHAPE_KJI, 0.01, dtype=np.float32)
    values[4, 4, 4] = 1000.0
    found = read_voxel_map(bed.map(values), ct_grid(bed.ct), method=SIGNED)
    assert found.scale.limit == pytest.approx(0.01)
    assert found.shades()[4, 4, 4] == found.shades()[0, 0, 0] == N_SHADES


def test_percent_keep_every_ratio(bed):
    written = voxel_map(is_signed=False)
    found = read_voxel_map(bed.map(written), ct_grid(bed.ct), method=UNSIGNED)
    ratio = found.values / written[2:5, 2:7, 4:10].clip(1e-9)
    assert np.ptp(ratio[found.values != 0]) < 1e-4 * ratio.max()
    assert found.scale.limit == pytest.approx(100, rel=1e-5)


def test_a_map_of_zeros_is_shown_as_nothing(bed):
    result = bed.result(UNSIGNED)
    result.set_voxel_map(bed.map(np.zeros(run_files.SHAPE_KJI)), method=UNSIGNED)
    show(result)
    assert not voxels_of(result.seen).any()
    assert not voxels_of(result.overlay).any()


def test_the_table_tells_no_error_where_there_is_none(bed):
    table = bed.result(UNSIGNED).table
    names = [table.GetTable().GetColumnName(at) for at in range(table.GetTable().GetNumberOfColumns())]
    assert names == ["rank", "unit", "importance", "volume_ml", "id"]
    assert column(table, "unit")[:2] == ["liver", "spine"]
    assert table.GetColumnUnitLabel("importance") == "relative"


@pytest.mark.parametrize(("method", "what"), [("saliency", "sensitivity"), (UNSIGNED, "heat"), (SIGNED, "importance")])
def test_no_node_calls_a_heat_or_a_sensitivity_an_importance(bed, method, what):
    result = bed.result(method, values=POSITIVE)
    assert result.overlay.GetName() == f"liver by a method: {what} map"
    assert result.table.GetColumnTitle("importance") == what.capitalize()
    assert result.table.GetDescription().startswith(f"{what.capitalize()} of each unit")
    assert result.chart.GetTitle() == f"{what.capitalize()} for liver, soft Dice"
    assert result.chart.GetYAxisTitle().startswith(what.capitalize())


def test_units_without_an_error_are_strong_all_the_same(bed):
    """Of interim Shapley values an error that is not known hides a unit; a gradient has none."""
    result = bed.result(UNSIGNED)
    answers = run_files.write_gradient_answers(bed.folder, POSITIVE)
    result.set_answers(answers, is_interim=True)
    show(result, top_k=2)
    assert names_of(result.segmentation) == ["liver", "spine"]
    assert tag_of(segments_of(result.segmentation)[0], "Unit") == "relative"


def test_a_direction_has_no_meaning_where_numbers_have_no_sign(bed):
    result = bed.result(UNSIGNED)
    show(result, sign="against", top_k=3)
    assert names_of(result.segmentation) == ["liver", "spine", 'left "lung"']
    raises = result.head.GetNodeReference("SegExplain.raises")
    assert raises.GetColor() == pytest.approx(sequential_rgb(0.5, limit=1.0), abs=1e-6)
    signed = bed.result(SIGNED)
    show(signed, sign="against", top_k=3)
    assert names_of(signed.segmentation) == ["spine", 'left "lung"']


def test_the_next_interim_map_takes_the_place_of_the_last_and_makes_no_node(bed):
    result = bed.result(UNSIGNED)
    before = bed.scene.GetNumberOfNodes(), hierarchy_items(bed.scene)
    wider = np.zeros(run_files.SHAPE_KJI, dtype=np.float32)
    wider[1:7, 1:9, 2:11] = 0.3
    wider[4, 5, 6] = 0.6
    result.overlay.GetDisplayNode().SetWindowLevelMinMax(10, 60)
    result.set_voxel_map(bed.map(wider), method=UNSIGNED)
    show(result)
    assert (bed.scene.GetNumberOfNodes(), hierarchy_items(bed.scene)) == before
    found = np.nan_to_num(on_whole_ct(result.overlay, result.ct))
    np.testing.assert_allclose(found / found.max(), wider / wider.max(), rtol=1e-5)
    assert voxels_of(result.seen).shape == (6, 8, 9)
    assert result.overlay.GetDisplayNode().GetWindowLevelMax() == pytest.approx(60), "the user's window stays"


def everything_of(result):
    return {
        "map": np.nan_to_num(on_whole_ct(result.overlay, result.ct)).round(4).tolist(),
        "shades": np.nan_to_num(on_whole_ct(result.seen, result.ct)).tolist(),
        "colours": [colours_of(result.overlay).tolist(), colours_of(result.seen).tolist()],
        "window": round(result.overlay.GetDisplayNode().GetWindowLevelMax(), 4),
        "legend": legend_of(result.overlay).GetTitleText(),
        "rows": [(row.name, round(row.importance, 6)) for row in result.rows("liver", "soft-dice")],
        "method": (result.method, result.has_voxel_map, result.noun),
        "answers": result.answers(),
        "segments": [(one.GetName(), tuple(np.round(one.GetColor(), 2))) for one in segments_of(result.segmentation)],
        "seen": result.seen.GetName(),
    }


@pytest.mark.parametrize("form", ["mrb", "mrml"])
@pytest.mark.parametrize("method", [SIGNED, UNSIGNED])
def test_a_saved_scene_brings_the_map_back_and_goes_on(an_application, tmp_path, form, method):
    bed = a_bed(an_application, tmp_path, "oblique", under=scenes.parent(an_application.scene, "rigid"))
    before = everything_of(bed.result(method))
    saved_and_loaded(bed.scene, tmp_path / "saved", form)
    (loaded,) = results_in(bed.scene)
    after = everything_of(loaded)
    assert {key: after[key] for key in before} == before
    assert loaded.seen.GetParentTransformNode().GetName() == "rigid"
    show(loaded, top_k=1, opacity=0.4)
    assert names_of(loaded.segmentation) == ["liver"]
    assert everything_of(loaded)["shades"] == before["shades"]


def test_removing_it_leaves_the_scene_as_it_was(bed):
    before = node_ids(bed.scene)
    result = bed.result(UNSIGNED)
    items = hierarchy_items(bed.scene)
    result.remove()
    assert node_ids(bed.scene) == before
    assert hierarchy_items(bed.scene) < items


@pytest.mark.parametrize("role", ["shades", "shade_colours", "colours", "map", "labels"])
def test_a_deleted_node_costs_its_own_part_only(bed, role):
    result = bed.result(UNSIGNED)
    bed.scene.RemoveNode(result.head.GetNodeReference(f"SegExplain.{role}"))
    show(result, top_k=2)
    assert result.rows("liver", "soft-dice")
    again = bed.map(voxel_map(is_signed=False))
    if role == "map":
        with pytest.raises(InvalidRequest, match="deleted"):
            result.set_voxel_map(again, method=UNSIGNED)
    else:
        result.set_voxel_map(again, method=UNSIGNED)
    result.remove()
    assert results_in(bed.scene) == []


def test_a_map_that_is_not_there_or_not_whole_or_of_another_grid_is_refused_and_the_last_stays(bed):
    result = bed.result(UNSIGNED)
    before = voxels_of(result.overlay).copy()
    with pytest.raises(InvalidRequest, match="cannot be read"):
        result.set_voxel_map(bed.folder / "none.nrrd", method=UNSIGNED)
    whole = bed.map(voxel_map(is_signed=False), "cut.nrrd")
    whole.write_bytes(whole.read_bytes()[:200])
    with pytest.raises(InvalidRequest, match="cannot be read"):
        result.set_voxel_map(whole, method=UNSIGNED)
    other = bed.matrix.copy()
    other[0, 3] += 0.1
    with pytest.raises(GeometryMismatch, match="not lie on the voxels"):
        result.set_voxel_map(run_files.write_map(bed.folder, other, voxel_map(is_signed=False)), method=UNSIGNED)
    broken = voxel_map(is_signed=False)
    broken[3, 3, 5] = np.nan
    with pytest.raises(InvalidRequest, match="not finite"):
        result.set_voxel_map(bed.map(broken), method=UNSIGNED)
    show(result)
    np.testing.assert_array_equal(voxels_of(result.overlay), before)


@pytest.mark.parametrize("position", scenes.POSITIONS)
def test_a_map_on_a_part_of_the_cts_voxels_is_the_same_map(an_application, tmp_path, position):
    """As the worker writes interim ones: a whole CT of 80 million voxels would stop Slicer for a second each time."""
    bed = a_bed(an_application, tmp_path, position)
    written, part = voxel_map(is_signed=True), (slice(1, 6), slice(2, 9), slice(3, 11))
    file = run_files.write_map(bed.folder, corner_at(bed.matrix, (3, 2, 1)), written[part])
    found = read_voxel_map(file, ct_grid(bed.ct), method=SIGNED)
    whole = read_voxel_map(bed.map(written, "whole.nrrd"), ct_grid(bed.ct), method=SIGNED)
    np.testing.assert_array_equal(found.values, whole.values)
    np.testing.assert_allclose(found.ijk_to_ras, whole.ijk_to_ras, atol=1e-9)


@pytest.mark.parametrize("first", [(-1, 0, 0), (0, 1, 0), (0, 0, 0.5), (100, 0, 0)])
def test_a_part_beside_the_cts_voxels_is_refused(bed, first):
    file = run_files.write_map(bed.folder, corner_at(bed.matrix, first), voxel_map(is_signed=False))
    with pytest.raises(GeometryMismatch, match="not lie on the voxels"):
        read_voxel_map(file, ct_grid(bed.ct), method=UNSIGNED)


def test_units_on_a_part_of_the_cts_voxels_are_refused(bed):
    with pytest.raises(GeometryMismatch, match="not lie on the voxels"):
        read_unit_labels(run_files.write_labels(bed.folder, bed.matrix, unit_labels()[:5]), ct_grid(bed.ct))


def corner_at(matrix, first_ijk):
    """The axes of a part whose first voxel is at an index of the whole."""
    moved = matrix.copy()
    moved[:3, 3] += matrix[:3, :3] @ first_ijk
    return moved


def test_the_words_for_methods_are_those_of_the_report():
    for method in METHODS:
        words = method_words(method)
        assert quantity_words.noun_of(method) == words.noun, method
        assert quantity_words.is_signed(method) == words.is_signed, method
    for method in GRADIENT_METHODS:
        assert quantity_words.method_name(method) == method_words(method).name
