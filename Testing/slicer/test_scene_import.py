"""A run's nodes: where they lie, what they say, that they come back after saving, and that nothing else is touched."""

import csv

import numpy as np
import pytest
import run_files
import scenes
import slicer
from run_files import QUESTIONS, VALUES, unit_labels, values_of
from SegExplainGui.scene.quantity_words import short_name
from SegExplainGui.scene.result import create_result, results_in
from SegExplainGui.scene.result_nodes import CLASSES
from SegExplainGui.scene.roi_appearance import make_faint
from vtk import reference, vtkMatrix4x4
from vtk.util.numpy_support import vtk_to_numpy

from SegExplainLib.contract import VALUES as QUANTITIES
from SegExplainLib.contract import GeometryMismatch, InvalidRequest
from SegExplainLib.report import wording
from SegExplainLib.report.colours import diverging_rgb, diverging_rgba

LIVER = QUESTIONS[0][:2]


@pytest.fixture
def a_scene(an_application):
    return an_application.scene


@pytest.fixture
def a_result(an_application, tmp_path):
    """A finished run on a straight CT, the first answer shown."""
    return finished(an_application, tmp_path)


def finished(application, folder, *, position="straight", under=None, name="Why liver?"):
    matrix = scenes.ijk_to_ras(position)
    voxels = np.arange(np.prod(run_files.SHAPE_KJI), dtype=np.int16).reshape(run_files.SHAPE_KJI)
    ct = scenes.add_ct(application.scene, voxels, matrix, under=under)
    result = create_result(
        application.scene,
        ct,
        name=name,
        segmentations_logic=application.logics["segmentations"],
        colors_logic=application.logics["colors"],
    )
    result.set_units(run_files.write_labels(folder, matrix))
    result.set_answers(run_files.write_answers(folder))
    show(result)
    return result


def show(result, question=LIVER, *, top_k=3, sign="both", opacity=0.5):
    result.show(*question, top_k=top_k, sign=sign, opacity=opacity)


def voxels_of(volume):
    image = volume.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def axes_of(volume):
    matrix = vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def segments_of(segmentation):
    segments = segmentation.GetSegmentation()
    return [segments.GetNthSegment(place) for place in range(segments.GetNumberOfSegments())]


def names_of(segmentation):
    return [segment.GetName() for segment in segments_of(segmentation)]


def tag_of(segment, name):
    text = reference("")
    return str(text) if segment.GetTag(f"SegExplain.{name}", text) else None


def column(table, name):
    found = table.GetTable().GetColumnByName(name)
    return [found.GetVariantValue(row).ToString() for row in range(found.GetNumberOfValues())]


def on_whole_ct(volume, ct):
    """The volume's values at the CT's voxels, by way of RAS; nan outside the volume."""
    shape = voxels_of(ct).shape
    index = (
        np.stack([*np.indices(shape)[::-1], np.ones(shape)], axis=-1) @ (np.linalg.inv(axes_of(volume)) @ axes_of(ct)).T
    )
    place = np.rint(index[..., :3]).astype(int)[..., ::-1]
    assert np.abs(index[..., 2::-1] - place).max() < 1e-6, "the volume's voxels are not the CT's"
    values = voxels_of(volume)
    inside = ((place >= 0) & (place < values.shape)).all(axis=-1)
    found = np.full(shape, np.nan)
    found[inside] = values[tuple(place[inside].T)]
    return found


@pytest.mark.parametrize("position", scenes.POSITIONS)
@pytest.mark.parametrize("kind", ["none", "sheared"])
def test_the_map_holds_each_units_importance_at_the_cts_voxels(an_application, tmp_path, position, kind):
    parent = scenes.parent(an_application.scene, kind)
    result = finished(an_application, tmp_path, position=position, under=parent)
    expected = np.array([0.0, *VALUES])[unit_labels()]
    found = on_whole_ct(result.overlay, result.ct)
    assert np.isnan(found).sum() == expected.size - 5 * 6 * 8, "the map is the box of all units"
    np.testing.assert_allclose(np.nan_to_num(found), expected, rtol=1e-6)
    for node in (result.overlay, result.segmentation, result.all_units):
        assert node.GetParentTransformNode() is parent


def test_every_unit_with_a_voxel_is_a_segment_of_one_layer_under_its_own_label(a_result):
    segments = a_result.all_units.GetSegmentation()
    assert segments.GetNumberOfLayers() == 1
    assert names_of(a_result.all_units) == ["liver", "spine", 'left "lung"', "Milz"], "by rank; the speck has no voxel"
    for segment, label in zip(segments_of(a_result.all_units), (1, 5, 2, 3)):
        image = segment.GetRepresentation("Binary labelmap")
        labels = vtk_to_numpy(image.GetPointData().GetScalars())
        assert (labels == segment.GetLabelValue()).sum() == (unit_labels() == label).sum()


def test_segments_say_in_tags_and_colours_what_the_table_says(a_result):
    for segmentation in (a_result.all_units, a_result.segmentation):
        lung = segments_of(segmentation)[2]
        assert lung.GetColor() == pytest.approx(diverging_rgb(-0.25, limit=0.5), abs=1e-6)
        expected = {
            "Importance": "-0.25",
            "StandardError": "0.0",
            "Rank": "3",
            "VolumeMl": "20.0",
            "Quantity": "soft-dice",
            "Target": "liver",
        }
        assert {name: tag_of(lung, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("top_k", "sign", "expected"),
    [
        (2, "both", ["liver", "spine"]),
        (9, "for", ["liver", "Milz"]),
        (1, "against", ["spine"]),
        (0, "both", []),
    ],
)
def test_the_strongest_of_a_sign_are_shown_as_segments_and_bars(a_result, top_k, sign, expected):
    show(a_result, top_k=top_k, sign=sign)
    assert names_of(a_result.segmentation) == expected
    bars = a_result.head.GetNodeReference("SegExplain.bars")
    assert [name for name in column(bars, "unit") if name != "a speck"] == expected
    heights = np.array(column(bars, "raises"), float) + np.array(column(bars, "lowers"), float)
    assert (np.diff(np.abs(heights)) <= 0).all()


def test_only_the_strongest_are_drawn_so_that_a_hundred_units_do_not_hide_the_ct(a_result):
    show(a_result, top_k=2)
    show(a_result, top_k=2, sign="against")  # the spine stays, the liver goes, the lung comes
    image = segments_of(a_result.segmentation)[0].GetRepresentation("Binary labelmap")
    assert a_result.segmentation.GetSegmentation().GetNumberOfLayers() == 1
    assert set(np.unique(vtk_to_numpy(image.GetPointData().GetScalars()))) == {0, 2, 5}
    assert not a_result.all_units.GetDisplayNode().GetVisibility()


def test_no_surface_is_made_unasked(a_result):
    for segmentation in (a_result.segmentation, a_result.all_units):
        assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")


def test_the_table_is_sorted_by_rank_and_rounds_to_what_the_error_supports(a_result):
    table = a_result.table
    assert column(table, "unit") == ["liver", "spine", "left 'lung'", "Milz", "a speck"]
    assert column(table, "rank") == ["1", "2", "3", "4", "5"]
    assert column(table, "id") == ["1", "5", "2", "3", "4"]
    assert column(table, "importance") == ["0.5", "-0.4", "-0.25", "0.03", "0.001"]
    assert column(table, "low_95") == ["-inf", "-0.5", "-0.25", "0.0225", "0.00075"]
    assert column(table, "standard_error") == ["nan", "0.04", "0", "0.003", "0.0001"]
    assert table.GetTable().GetColumnByName("importance").GetDataTypeAsString() == "double"


def test_each_class_and_quantity_is_shown_at_once_from_what_is_stored(a_result):
    assert a_result.questions() == list(QUESTIONS)
    assert a_result.answers() == {"liver": ["soft-dice", "tp"], 'Niere; "links"': ["mean-logit"]}
    for number, (target, quantity, unit) in enumerate(QUESTIONS):
        show(a_result, (target, quantity))
        expected = np.array([0.0, *values_of(number)])[unit_labels()]
        np.testing.assert_allclose(np.nan_to_num(on_whole_ct(a_result.overlay, a_result.ct)), expected, rtol=1e-6)
        assert a_result.unit_of_value(target, quantity) == unit
        assert [row.importance for row in a_result.rows(target, quantity)] == pytest.approx(list(values_of(number)))
        assert tag_of(segments_of(a_result.segmentation)[0], "Target") == target
        assert target in a_result.overlay.GetNthDisplayNode(1).GetTitleText()
    answer = a_result.answer(*LIVER)
    assert (answer.empty_value, answer.full_value, answer.interval_factor) == (0.1, 0.9, pytest.approx(2.5))


def test_interim_numbers_make_no_node_and_keep_what_the_user_has_changed(an_application, tmp_path):
    result, scene = finished(an_application, tmp_path), an_application.scene
    selection = scene.AddNewNodeByClass("vtkMRMLSelectionNode", "Selection")
    selected = selection.GetActiveVolumeID(), selection.GetActiveTableID()
    result.overlay.GetDisplayNode().SetWindowLevel(0.3, 0.1)
    result.segmentation.GetDisplayNode().SetSegmentVisibility("SegExplain_5", False)
    segments_of(result.segmentation)[0].SetName("my name")
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    nodes = scene.GetNumberOfNodes()
    voxels = voxels_of(result.overlay)
    for step in range(3):
        interim = [value * (1 + step / 10) for value in VALUES]
        result.set_answers(run_files.write_players(tmp_path, interim), target="liver", quantity="soft-dice")
        show(result)
        assert voxels.max() == pytest.approx(max(interim)), "in place"
    assert scene.GetNumberOfNodes() == nodes
    assert result.overlay.GetDisplayNode().GetWindow() == pytest.approx(0.3)
    assert not result.segmentation.GetDisplayNode().GetSegmentVisibility("SegExplain_5")
    assert names_of(result.segmentation)[0] == "my name"
    assert composite.GetForegroundVolumeID() is None
    assert (selection.GetActiveVolumeID(), selection.GetActiveTableID()) == selected


def test_an_interim_picture_shows_no_unit_whose_sign_is_open(an_application, tmp_path):
    """Of units 1 and 2 the standard error is not known or 0, of the others a tenth of the value: those are clear."""
    result = finished(an_application, tmp_path)
    result.set_answers(run_files.write_answers(tmp_path), is_interim=True)
    show(result, top_k=5)
    labels, voxels = unit_labels()[1:6, 2:8, 3:11], voxels_of(result.overlay)
    assert not voxels[labels == 1].any()
    np.testing.assert_allclose(voxels[labels == 2], VALUES[1])
    assert VALUES[0] == max(VALUES)
    assert "liver" not in names_of(result.segmentation)
    assert result.rows(*LIVER)[0].importance == pytest.approx(VALUES[0])
    result.set_answers(run_files.write_answers(tmp_path))
    show(result, top_k=5)
    np.testing.assert_allclose(voxels[labels == 1], VALUES[0])


def test_the_window_follows_the_numbers_until_the_user_sets_it_and_again_with_another_question(a_result):
    display = a_result.overlay.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == pytest.approx((1.0, 0.0))
    display.SetWindowLevel(0.3, 0.1)
    show(a_result)
    assert display.GetWindow() == pytest.approx(0.3)
    show(a_result, ("liver", "tp"))
    assert (display.GetWindow(), display.GetLevel()) == pytest.approx((2 * 500.0, 0.0))


def test_the_scale_is_symmetric_and_clear_at_zero_alone(a_result):
    colours = a_result.overlay.GetDisplayNode().GetColorNode()
    table = vtk_to_numpy(colours.GetLookupTable().GetTable()).astype(int)
    assert len(table) == 256
    assert (table[:, 3] == table[::-1, 3]).all()
    assert np.flatnonzero(table[:, 3] == 0).tolist() == [127, 128]
    assert (np.diff(table[128:, 3]) >= 0).all()
    np.testing.assert_allclose(table[-1] / 255, diverging_rgba(1.0, limit=1.0), atol=0.003)
    np.testing.assert_allclose(table[0] / 255, diverging_rgba(-1.0, limit=1.0), atol=0.003)


@pytest.mark.parametrize("kind", scenes.PARENTS)
def test_the_centre_of_a_unit_is_a_voxel_of_it_where_it_lies_in_the_world(an_application, tmp_path, kind):
    parent = scenes.parent(an_application.scene, kind)
    result = finished(an_application, tmp_path, position="oblique left-handed", under=parent)
    to_ijk = np.linalg.inv(scenes.world_of(result.ct) @ axes_of(result.ct))
    for unit in (1, 2, 3, 5):
        i, j, k = (to_ijk @ [*result.unit_centre(unit), 1])[:3]
        assert np.allclose([i, j, k], np.rint([i, j, k]), atol=1e-6)
        assert unit_labels()[round(k), round(j), round(i)] == unit
    with pytest.raises(InvalidRequest, match="so small"):
        result.unit_centre(4)
    with pytest.raises(InvalidRequest, match="no unit 77"):
        result.unit_centre(77)


def test_a_highlighted_unit_stands_out_and_goes_back(a_result):
    show(a_result, top_k=2)
    display = a_result.segmentation.GetDisplayNode()
    a_result.highlight(3)
    assert names_of(a_result.segmentation) == ["liver", "spine", "Milz"], "it joins the strongest"
    assert display.GetSegmentOpacity2DOutline("SegExplain_3") > display.GetSegmentOpacity2DOutline("SegExplain_1")
    show(a_result, top_k=1)
    assert names_of(a_result.segmentation) == ["liver", "Milz"], "and stays among them while it is highlighted"
    a_result.highlight(None)
    assert names_of(a_result.segmentation) == ["liver"]
    assert display.GetSegmentOpacity2DOutline("SegExplain_1") == 1.0
    a_result.highlight(4)  # has no voxel
    assert names_of(a_result.segmentation) == ["liver"]
    with pytest.raises(InvalidRequest, match="no unit 77"):
        a_result.highlight(77)


def saved_and_loaded(scene, folder, form):
    folder.mkdir()
    if form == "mrb":
        assert scene.WriteToMRB(str(folder / "scene.mrb"))
        scene.Clear(0)
        assert scene.ReadFromMRB(str(folder / "scene.mrb"))
        return
    scene.SetRootDirectory(str(folder))
    scene.SetURL(str(folder / "scene.mrml"))
    for place in range(scene.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
        node = scene.GetNthNodeByClass(place, "vtkMRMLStorableNode")
        if node.GetHideFromEditors() or not node.GetSaveWithScene():  # as Slicer's Save dialog
            continue
        node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        if storage is not None:
            storage.SetFileName(str(folder / f"{place}.{storage.GetDefaultWriteFileExtension()}"))
            assert storage.WriteData(node)
    assert scene.Commit()
    scene.Clear(0)
    scene.SetURL(str(folder / "scene.mrml"))
    assert scene.Import()


def unit_colours_of(result):
    colours = result.head.GetNodeReference("SegExplain.labels").GetDisplayNode().GetColorNode()
    return vtk_to_numpy(colours.GetLookupTable().GetTable()).tolist()


def everything_of(result):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(result.head.GetScene())
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result.head))
    return {
        "name": result.name,
        "map": voxels_of(result.overlay).round(6).tolist(),
        "axes": axes_of(result.overlay).round(6).tolist(),
        "window": round(result.overlay.GetDisplayNode().GetWindow(), 6),
        "colours": vtk_to_numpy(result.overlay.GetDisplayNode().GetColorNode().GetLookupTable().GetTable()).tolist(),
        "unit colours": unit_colours_of(result),
        "legend": result.overlay.GetNthDisplayNode(1).GetTitleText(),
        "segments": [
            (
                segment.GetName(),
                tuple(np.round(segment.GetColor(), 2)),
                tag_of(segment, "Importance"),
                segment.GetLabelValue(),
            )
            for segmentation in (result.all_units, result.segmentation)
            for segment in segments_of(segmentation)
        ],
        "table": [column(result.table, name) for name in ("rank", "unit", "importance", "low_95", "id")],
        "questions": result.questions(),
        "rows": [
            (row.id, row.name, round(row.importance, 6)) for question in QUESTIONS for row in result.rows(*question[:2])
        ],
        "chart": (result.chart.GetTitle(), result.chart.GetNumberOfPlotSeriesNodes()),
        "sentences": result.sentences,
        "shown": result.shown,
        "ct": result.ct.GetName(),
        "folder": hierarchy.GetItemName(folder),
        "above": hierarchy.GetItemDataNode(hierarchy.GetItemParent(folder)).GetName(),
        "inside": hierarchy.GetNumberOfItemChildren(folder),
    }


@pytest.mark.parametrize("form", ["mrb", "mrml"])
def test_a_saved_scene_brings_everything_back(an_application, tmp_path, form):
    parent = scenes.parent(an_application.scene, "rigid")
    result = finished(an_application, tmp_path, position="oblique", under=parent)
    result.set_sentences(["It rests on the “liver”; surely."], folder=tmp_path)
    before = everything_of(result)
    saved_and_loaded(an_application.scene, tmp_path / "saved", form)
    (loaded,) = results_in(an_application.scene)
    after = everything_of(loaded)
    assert {key: after[key] for key in before} == before
    assert loaded.overlay.GetParentTransformNode().GetName() == "rigid"


@pytest.mark.parametrize("position", ["oblique", "oblique left-handed"])
def test_a_loaded_result_answers_the_next_question(an_application, tmp_path, position):
    result = finished(an_application, tmp_path, position=position)
    centre = result.unit_centre(2)
    saved_and_loaded(an_application.scene, tmp_path / "saved", "mrb")
    (loaded,) = results_in(an_application.scene)
    np.testing.assert_allclose(loaded.unit_centre(2), centre, atol=1e-4)
    show(loaded, ("liver", "tp"), top_k=2)
    assert names_of(loaded.segmentation) == ['left "lung"', "liver"]
    for segment in segments_of(loaded.segmentation):
        labels = vtk_to_numpy(segment.GetRepresentation("Binary labelmap").GetPointData().GetScalars())
        unit = 2 if "lung" in segment.GetName() else 1
        assert (labels == segment.GetLabelValue()).sum() == (unit_labels() == unit).sum()
    # Slicer may turn the voxels of a left-handed volume around as it loads it; the CT's values say which is which.
    expected = np.array([0.0, *values_of(1)])[unit_labels()].ravel()[voxels_of(loaded.ct)]
    np.testing.assert_allclose(np.nan_to_num(on_whole_ct(loaded.overlay, loaded.ct)), expected, rtol=1e-5)


def test_two_runs_have_their_own_nodes_and_removing_one_leaves_the_scene_as_it_was(an_application, tmp_path):
    scene = an_application.scene
    first = finished(an_application, tmp_path)
    before = node_ids(scene), hierarchy_items(scene)
    second = finished(an_application, tmp_path)
    assert (first.name, second.name) == ("Why liver?", "Why liver? (2)")
    assert results_in(scene) == [second, first]
    names = [scene.GetNthNode(place).GetName() for place in range(scene.GetNumberOfNodes())]
    ours = [name for name in names if name and name.startswith("Why liver?")]
    assert len(ours) == len(set(ours)) == 26
    ct = second.ct
    saved_and_written = second.table
    saved_and_written.AddDefaultStorageNode()
    second.remove()
    second.remove()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    hierarchy.RemoveItem(hierarchy.GetItemByDataNode(ct), False, False)
    for node in (ct.GetDisplayNode(), ct):
        if node is not None:
            scene.RemoveNode(node)
    assert (node_ids(scene), hierarchy_items(scene)) == before
    assert results_in(scene) == [first]
    with pytest.raises(InvalidRequest, match="no longer in the scene"):
        show(second)


def node_ids(scene):
    return {scene.GetNthNode(place).GetID() for place in range(scene.GetNumberOfNodes())}


def hierarchy_items(scene):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene).GetNumberOfItems()


def test_a_users_own_item_in_the_folder_survives_the_result(a_result, a_scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(a_scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(a_result.head))
    note = a_scene.AddNewNodeByClass("vtkMRMLTextNode", "my note")
    hierarchy.CreateItem(folder, note)
    a_result.remove()
    assert hierarchy.GetItemName(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(note))) == "Why liver?"


ROLES = [*CLASSES, "ct"]


@pytest.mark.parametrize("role", ROLES)
def test_a_deleted_node_costs_its_own_part_only(a_result, a_scene, tmp_path, role):
    a_scene.RemoveNode(a_result.head.GetNodeReference(f"SegExplain.{role}"))
    assert results_in(a_scene) == [a_result]
    show(a_result, ("liver", "tp"))
    assert a_result.rows("liver", "tp")
    for use in (lambda: a_result.highlight(3), lambda: a_result.unit_centre(1)):
        if role == "labels":
            with pytest.raises(InvalidRequest, match="unit labels"):
                use()
        else:
            use()
    if role in ("labels", "ct"):
        with pytest.raises(InvalidRequest, match="deleted"):
            a_result.set_units(tmp_path / "units.nrrd")
    a_result.remove()
    assert results_in(a_scene) == []


def test_a_closed_scene_is_told_in_one_sentence(a_result, a_scene, tmp_path):
    a_scene.Clear(0)
    for use in (lambda: show(a_result), lambda: a_result.set_answers(tmp_path / "answers.csv"), a_result.questions):
        with pytest.raises(InvalidRequest, match="no longer in the scene"):
            use()


def test_labels_of_another_grid_are_refused(a_result, tmp_path):
    moved = scenes.ijk_to_ras("straight")
    moved[0, 3] += 0.1
    with pytest.raises(GeometryMismatch, match="not lie on the voxels"):
        a_result.set_units(run_files.write_labels(tmp_path, moved))
    nothing = np.zeros(run_files.SHAPE_KJI, dtype=np.uint8)
    empty = run_files.write_labels(tmp_path, scenes.ijk_to_ras("straight"), nothing)
    with pytest.raises(InvalidRequest, match="no unit"):
        a_result.set_units(empty)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        a_result.set_units(tmp_path / "none.nrrd")


@pytest.mark.parametrize("fault", ["missing", "empty", "column", "number", "twice", "units"])
def test_a_broken_table_is_refused_and_the_last_answers_stay(a_result, tmp_path, fault):
    path = run_files.write_answers(tmp_path)
    rows = list(csv.reader(path.open(encoding="utf-8")))
    if fault == "missing":
        path.unlink()
    else:
        {
            "empty": lambda: rows.__delitem__(slice(1, None)),
            "column": lambda: [row.pop(5) for row in rows],
            "number": lambda: rows[2].__setitem__(5, "lots"),
            "twice": lambda: rows.insert(2, rows[2]),
            "units": lambda: rows.pop(),
        }[fault]()
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    with pytest.raises(InvalidRequest, match="not a table of units"):
        a_result.set_answers(path)
    show(a_result)


def test_an_unknown_question_is_told_with_what_there_is(a_result):
    with pytest.raises(InvalidRequest, match="liver, dice") as caught:
        show(a_result, ("liver", "dice"))
    assert "liver, soft-dice" in caught.value.hint


def test_the_words_for_quantities_are_those_of_the_report(an_application):
    assert {name: short_name(name) for name in QUANTITIES} == {
        name: wording.QUANTITIES[name].short for name in QUANTITIES
    }


def test_a_faint_roi_keeps_its_outline_and_covers_nothing(a_scene):
    roi = a_scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.CreateDefaultDisplayNodes()
    display = roi.GetDisplayNode()
    display.SetFillOpacity(0.35)
    display.SetPropertiesLabelVisibility(True)
    make_faint(roi)
    assert (display.GetFillOpacity(), display.GetPropertiesLabelVisibility()) == (0, False)
    assert display.GetVisibility()
