"""What the scene holds, as files for the worker: the same voxels in the same places, and the scene untouched."""

import errno
import json
import os
import shutil
import subprocess
from collections import namedtuple

import numpy as np
import pytest
import slicer
import slicer_application
from vtk import (
    vtkCubeSource,
    vtkMatrix4x4,
    vtkPlanes,
    vtkSphereSource,
    vtkTransform,
    vtkTransformPolyDataFilter,
    vtkTriangleFilter,
)
from vtk.util.numpy_support import vtk_to_numpy

slicer_application.start()

from scenes import (  # noqa: E402
    PARENTS,
    POSITIONS,
    add_ct,
    add_roi,
    add_segmentation,
    add_surface,
    affine,
    as_numpy,
    as_vtk,
    ijk_to_ras,
    parent,
    rotation,
    through,
    voxel_centres,
    warped,
    world_of,
)
from SegExplainGui.scene import export as scene_export  # noqa: E402

from SegExplainLib.contract import GeometryMismatch, InvalidRequest, OutOfDisk  # noqa: E402

SHAPE = (9, 14, 17)
RNG = np.random.default_rng(5)
VOXELS = RNG.integers(-1000, 1000, SHAPE, dtype=np.int16)
TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@pytest.fixture
def a_scene(an_application):
    return an_application.scene


def a_ct(scene, position="oblique left-handed", *, under=None):
    return add_ct(scene, VOXELS, ijk_to_ras(position), under=under)


def read_by_slicer(scene, path, *, is_labels=False):
    """(voxels, matrix) by Slicer's own reader of NRRD."""
    kind = "vtkMRMLLabelMapVolumeNode" if is_labels else "vtkMRMLScalarVolumeNode"
    node, storage = scene.AddNewNodeByClass(kind), scene.AddNewNodeByClass("vtkMRMLNRRDStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    image, matrix = node.GetImageData(), vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]), as_numpy(matrix)


def everything(scene):
    """What must not change: every node, when it and its data changed, and whether it is to be saved."""
    nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    seen = [(node.GetID(), node.GetMTime()) for node in nodes]
    for node in nodes:
        if node.IsA("vtkMRMLStorableNode"):
            seen.append(node.GetModifiedSinceRead())
        if node.IsA("vtkMRMLVolumeNode") and node.GetImageData():
            seen.append(node.GetImageData().GetMTime())
        if node.IsA("vtkMRMLSegmentationNode"):
            segmentation = node.GetSegmentation()
            segments = [segmentation.GetSegment(name) for name in segmentation.GetSegmentIDs()]
            kinds = ("Binary labelmap", "Closed surface")
            data = [segment.GetRepresentation(kind) for segment in segments for kind in kinds]
            seen.append((segmentation.GetMTime(), [segment.GetMTime() for segment in segments]))
            seen.append([held and held.GetMTime() for held in data])
    return seen


class TestCt:
    @pytest.mark.parametrize("position", POSITIONS)
    @pytest.mark.parametrize("under", ["none", "sheared"])
    def test_lies_in_its_own_space_to_the_last_digit_whatever_transform_it_is_under(
        self, a_scene, tmp_path, position, under
    ):
        node = a_ct(a_scene, position, under=parent(a_scene, under))
        voxels, matrix = read_by_slicer(a_scene, scene_export.export_ct(node, tmp_path))
        np.testing.assert_array_equal(voxels, VOXELS)
        np.testing.assert_allclose(matrix, ijk_to_ras(position), rtol=0, atol=1e-9)

    @pytest.mark.parametrize("kind", TYPES)
    def test_keeps_its_type_and_its_values(self, a_scene, tmp_path, kind):
        expected = (RNG.random(SHAPE) * 100).astype(kind)
        node = add_ct(a_scene, expected, np.eye(4))
        voxels, _ = read_by_slicer(a_scene, scene_export.export_ct(node, tmp_path))
        assert voxels.dtype == expected.dtype
        np.testing.assert_array_equal(voxels, expected)

    def test_that_begins_at_another_index_is_written_from_its_first_voxel(self, a_scene, tmp_path):
        node = a_ct(a_scene)
        node.GetImageData().SetExtent(2, 18, -3, 10, 5, 13)
        _, matrix = read_by_slicer(a_scene, scene_export.export_ct(node, tmp_path))
        np.testing.assert_allclose(matrix[:, 3], ijk_to_ras("oblique left-handed") @ [2, -3, 5, 1], atol=1e-9)

    def test_is_the_same_file_until_voxels_or_geometry_change(self, a_scene, tmp_path):
        node = a_ct(a_scene)
        first = scene_export.export_ct(node, tmp_path)
        written = first.stat().st_mtime_ns
        node.SetName("another name")
        node.GetImageData().GetScalarRange()
        assert scene_export.export_ct(node, tmp_path) == first
        assert first.stat().st_mtime_ns == written
        node.SetIJKToRASMatrix(as_vtk(ijk_to_ras("straight")))
        moved = scene_export.export_ct(node, tmp_path)
        scalars = node.GetImageData().GetPointData().GetScalars()
        vtk_to_numpy(scalars)[:] = 7
        scalars.Modified()
        changed = scene_export.export_ct(node, tmp_path)
        assert len({first, moved, changed}) == 3
        assert (read_by_slicer(a_scene, changed)[0] == 7).all()

    def test_is_written_again_where_the_file_was_deleted_or_cut_short(self, a_scene, tmp_path):
        node = a_ct(a_scene)
        path = scene_export.export_ct(node, tmp_path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        assert scene_export.export_ct(node, tmp_path).read_bytes() == whole
        path.unlink()
        assert scene_export.export_ct(node, tmp_path).read_bytes() == whole

    def test_tells_nothing_of_the_patient(self, a_scene, tmp_path):
        node = a_ct(a_scene)
        node.SetAttribute("DICOM.instanceUIDs", "1.2.840.99999")
        path = scene_export.export_ct(node, tmp_path)
        content = path.name.encode() + path.read_bytes()
        assert not [secret for secret in (b"ller", b"nne", b"1.2.840", b"DICOM") if secret in content]

    def test_goes_to_a_folder_with_any_name(self, a_scene, tmp_path):
        folder = tmp_path / "Größe 日本" / "not made yet"
        assert scene_export.export_ct(a_ct(a_scene), folder).parent == folder

    def test_leaves_nothing_behind_when_the_disk_is_full(self, a_scene, tmp_path, monkeypatch):
        def no_space(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("pathlib.Path.open", no_space)
        with pytest.raises(OutOfDisk) as caught:
            scene_export.export_ct(a_ct(a_scene), tmp_path)
        assert "Free some space" in caught.value.hint
        assert "--" not in caught.value.hint
        assert not list(tmp_path.iterdir())

    def test_is_not_begun_when_it_would_not_fit(self, a_scene, tmp_path, monkeypatch):
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 100, 100))
        with pytest.raises(OutOfDisk, match="free"):
            scene_export.export_ct(a_ct(a_scene), tmp_path)

    def test_says_when_the_folder_is_a_file(self, a_scene, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(InvalidRequest, match="cannot be written"):
            scene_export.export_ct(a_ct(a_scene), tmp_path / "file")

    @pytest.mark.parametrize(
        ("kind", "shape", "reason"),
        [
            ("LabelMap", SHAPE, "is a label map"),
            ("Vector", (*SHAPE, 3), "3 values at each voxel"),
            ("Scalar", (1, 14, 17), "17 x 14 x 1 voxels"),
        ],
    )
    def test_that_is_none_is_refused(self, a_scene, tmp_path, kind, shape, reason):
        node = add_ct(a_scene, np.zeros(shape, np.int16), np.eye(4), kind=kind)
        with pytest.raises(InvalidRequest, match=reason) as caught:
            scene_export.export_ct(node, tmp_path)
        assert caught.value.hint

    def test_that_is_absent_or_empty_or_something_else_is_refused(self, a_scene, tmp_path):
        with pytest.raises(InvalidRequest, match="No CT"):
            scene_export.export_ct(None, tmp_path)
        with pytest.raises(InvalidRequest, match="no image"):
            scene_export.export_ct(a_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"), tmp_path)
        with pytest.raises(InvalidRequest, match="not a scalar volume"):
            scene_export.export_ct(a_scene.AddNewNodeByClass("vtkMRMLModelNode"), tmp_path)


def in_planes(roi, ct):
    """bool (k, j, i) by the planes that VTK's clipping works with."""
    planes = vtkPlanes()
    roi.GetPlanesWorld(planes)
    return np.array([planes.EvaluateFunction(point) <= 1e-3 for point in voxel_centres(ct)]).reshape(SHAPE)


def in_drawn_box(roi, ct):
    """bool (k, j, i) by the corners of the box that is drawn."""
    mesh = roi.CreateROIBoxPolyDataWorld()
    corners = vtk_to_numpy(mesh.GetPoints().GetData()).astype(float)
    centre = corners.mean(axis=0)
    is_inside = np.ones(np.prod(SHAPE), dtype=bool)
    for cell in range(mesh.GetNumberOfCells()):
        ids = mesh.GetCell(cell).GetPointIds()
        a, b, c = (corners[ids.GetId(n)] for n in range(3))
        normal = np.cross(b - a, c - a)
        side = (voxel_centres(ct) - a) @ normal * np.sign((centre - a) @ normal)
        is_inside &= side >= -1e-3 * np.linalg.norm(normal)
    return is_inside.reshape(SHAPE)


def voxels_of(spec, scene):
    """bool (k, j, i) of an exported ROI."""
    kind, _, rest = spec.partition(":")
    if kind == "mask":
        voxels, matrix = read_by_slicer(scene, rest)
        np.testing.assert_allclose(matrix, ijk_to_ras("oblique left-handed"), atol=1e-9)
        assert voxels.dtype == np.uint8
        return voxels == 1
    i0, i1, j0, j1, k0, k1 = map(int, rest.split(","))
    found = np.zeros(SHAPE, dtype=bool)
    found[k0:k1, j0:j1, i0:i1] = True
    return found


def a_random_roi(scene, ct, *, seed, under=None):
    """Turned at random, around some voxel of the CT, often reaching beyond it."""
    rng = np.random.default_rng(seed)
    centre = voxel_centres(ct)[rng.integers(np.prod(SHAPE))]
    roi = add_roi(scene, np.eye(4), rng.uniform(2, 20, 3), under=under)
    own = through(np.linalg.inv(world_of(roi)), centre[None])[0]
    roi.SetAndObserveObjectToNodeMatrix(as_vtk(affine(rotation(seed + 100), own)))
    return roi


def a_ct_aligned_roi(scene, ct, low_ijk, high_ijk, *, under=None):
    """A box from one place to another in voxels, along the axes of a CT without shear."""
    matrix = ijk_to_ras("oblique left-handed")
    low, high = np.array(low_ijk), np.array(high_ijk)
    size = (high - low) * np.linalg.norm(matrix[:3, :3], axis=0)
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    axes[:, 2] *= np.linalg.det(axes)
    return add_roi(scene, affine(axes, through(matrix, (low + high)[None] / 2)[0]), size, under=under)


class TestRoi:
    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("of_roi", ["none", "rigid"])
    def test_holds_the_voxels_whose_centres_are_between_its_planes(self, a_scene, tmp_path, seed, of_roi):
        ct = a_ct(a_scene, under=parent(a_scene, PARENTS[seed % 4], seed=seed))
        roi = a_random_roi(a_scene, ct, seed=seed, under=parent(a_scene, of_roi, seed=seed + 50))
        expected = in_planes(roi, ct)
        extent = scene_export.roi_extent(roi, ct)
        spec = scene_export.export_roi(roi, ct, tmp_path)
        np.testing.assert_array_equal(voxels_of(spec, a_scene), expected)
        k, j, i = np.nonzero(expected)
        assert extent.n_voxels == expected.sum() > 0
        assert extent.ijk_bounds == (i.min(), i.max() + 1, j.min(), j.max() + 1, k.min(), k.max() + 1)
        assert extent.volume_ml == pytest.approx(expected.sum() * 0.7 * 0.9 * 2.3 / 1000)
        assert extent.is_axis_aligned == spec.startswith("ijk:")

    @pytest.mark.parametrize("position", POSITIONS)
    @pytest.mark.parametrize("of_roi", PARENTS)
    def test_is_the_box_that_is_drawn_under_any_linear_transform(self, a_scene, position, of_roi):
        ct = a_ct(a_scene, position, under=parent(a_scene, "rigid"))
        roi = a_random_roi(a_scene, ct, seed=3, under=parent(a_scene, of_roi))
        assert scene_export.roi_extent(roi, ct).n_voxels == in_drawn_box(roi, ct).sum()

    @pytest.mark.parametrize("under", ["none", "rigid"])
    def test_along_the_axes_of_the_ct_is_half_open_indices(self, a_scene, tmp_path, under):
        transform = parent(a_scene, under)
        ct = a_ct(a_scene, under=transform)
        roi = a_ct_aligned_roi(a_scene, ct, [2.6, 3.5, 1.5], [9.4, 8.5, 4.5], under=transform)
        assert scene_export.export_roi(roi, ct, tmp_path) == "ijk:3,10,4,9,2,5"
        assert not list(tmp_path.iterdir())
        extent = scene_export.roi_extent(roi, ct)
        assert extent.is_axis_aligned
        assert not extent.is_cut

    def test_takes_in_the_centres_on_its_faces(self, a_scene, tmp_path):
        ct = a_ct(a_scene)
        roi = a_ct_aligned_roi(a_scene, ct, [2, 3, 1], [9, 8, 4])
        assert scene_export.export_roi(roi, ct, tmp_path) == "ijk:2,10,3,9,1,5"

    def test_that_reaches_beyond_the_ct_is_cut_and_says_so(self, a_scene, tmp_path):
        ct = a_ct(a_scene)
        roi = a_ct_aligned_roi(a_scene, ct, [-5, 3.5, 1.5], [9.4, 80, 4.5])
        assert scene_export.export_roi(roi, ct, tmp_path) == "ijk:0,10,4,14,2,5"
        assert scene_export.roi_extent(roi, ct).is_cut

    def test_around_the_whole_ct_is_the_whole_ct(self, a_scene, tmp_path):
        ct = a_ct(a_scene)
        roi = add_roi(a_scene, affine(rotation(9), voxel_centres(ct).mean(axis=0)), [500, 500, 500])
        assert scene_export.export_roi(roi, ct, tmp_path) == "ijk:0,17,0,14,0,9"

    def test_is_the_same_file_for_the_same_voxels(self, a_scene, tmp_path):
        ct = a_ct(a_scene)
        roi = a_random_roi(a_scene, ct, seed=1)
        spec = scene_export.export_roi(roi, ct, tmp_path)
        assert spec.startswith("mask:")
        assert scene_export.export_roi(roi, ct, tmp_path) == spec
        roi.SetSize(9, 9, 9)
        assert scene_export.export_roi(roi, ct, tmp_path) != spec

    def test_off_the_ct_is_refused_with_its_size_and_place(self, a_scene):
        ct, roi = a_ct(a_scene), add_roi(a_scene, affine(np.eye(3), [900, 0, 0]), [10, 20, 30])
        with pytest.raises(InvalidRequest, match="10 x 20 x 30 mm, centre R 900") as caught:
            scene_export.roi_extent(roi, ct)
        assert "outside the CT" in caught.value.message
        assert "Move it" in caught.value.hint

    def test_between_the_voxel_centres_is_refused_with_the_size_of_a_voxel(self, a_scene):
        ct = a_ct(a_scene)
        roi = a_ct_aligned_roi(a_scene, ct, [3.2, 3.2, 3.2], [3.8, 3.8, 3.8])
        with pytest.raises(InvalidRequest, match="no voxel centre") as caught:
            scene_export.roi_extent(roi, ct)
        assert "0.7 x 0.9 x 2.3 mm" in caught.value.hint

    def test_that_is_absent_unplaced_flat_or_inside_out_is_refused(self, a_scene):
        ct, unplaced = a_ct(a_scene), a_scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
        inside_out = a_random_roi(a_scene, ct, seed=1)
        inside_out.SetInsideOut(True)
        cases = [
            (None, "No region"),
            (unplaced, "no place"),
            (add_roi(a_scene, np.eye(4), [10, 0, 5]), "empty: 10 x 0 x 5 mm"),
            (inside_out, "inside out"),
            (a_scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode"), "not a markups ROI"),
        ]
        for roi, reason in cases:
            with pytest.raises(InvalidRequest, match=reason):
                scene_export.roi_extent(roi, ct)


def a_label_grid(ct, *, under=None, seed=4):
    """Of label maps that lie askew in the middle of the CT, coarser than it, once ``under`` is applied."""
    axes = rotation(seed) * [1.1, 1.3, 1.7]
    to_world = np.eye(4)
    if under is not None:
        to_world = as_numpy(under.GetMatrixTransformToParent())
    middle = through(np.linalg.inv(to_world), voxel_centres(ct).mean(axis=0)[None])[0]
    return affine(axes, middle - axes @ [5, 5, 4])


def some_masks(names, *, shape=(8, 11, 10), seed=6):
    """name -> bool (k, j, i); blocks that do not overlap."""
    numbers = np.random.default_rng(seed).integers(0, len(names) + 1, (3, 4, 5))
    numbers = numbers.repeat(4, 0).repeat(4, 1).repeat(4, 2)[tuple(slice(n) for n in shape)]
    return {name: numbers == n for n, name in enumerate(names, start=1)}


def sampled(mask, matrix, first, segmentation, ct):
    """bool (k, j, i) on the CT, voxel by voxel: is its centre in a voxel of the mask? Ties, as VTK sees them, go up."""
    to_index = np.linalg.inv(world_of(segmentation) @ matrix)
    ijk = np.floor(through(to_index, voxel_centres(ct)) + 0.5 + 2**-17).astype(int) - first
    is_on = ((ijk >= 0) & (ijk < mask.shape[::-1])).all(axis=1)
    found = np.zeros(len(ijk), dtype=bool)
    found[is_on] = mask[tuple(ijk[is_on, ::-1].T)]
    return found.reshape(SHAPE)


def read_organs(scene, path):
    labels, matrix = read_by_slicer(scene, path, is_labels=True)
    names = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return labels, matrix, {int(label): name for label, name in names.items()}


class TestOrgans:
    @pytest.mark.parametrize("of_ct", PARENTS)
    @pytest.mark.parametrize("of_segmentation", PARENTS)
    def test_lie_where_they_lie_in_the_scene(self, a_scene, tmp_path, of_ct, of_segmentation):
        ct = a_ct(a_scene, under=parent(a_scene, of_ct))
        transform = parent(a_scene, of_segmentation, seed=2)
        masks, first = some_masks(["liver", "Niere, links", "心臓"]), (-2, 3, 1)
        matrix = a_label_grid(ct, under=transform) @ affine(np.eye(3), -np.array(first))
        node = add_segmentation(a_scene, [masks], matrix, first=first, under=transform)
        labels, on_disk, names = read_organs(a_scene, scene_export.export_organs(node, ct, tmp_path))
        np.testing.assert_allclose(on_disk, ijk_to_ras("oblique left-handed"), atol=1e-9)
        assert list(names.values()) == list(masks)
        for label, name in names.items():
            expected = sampled(masks[name], matrix, first, node, ct)
            assert expected.sum() > 20
            np.testing.assert_array_equal(labels == label, expected)

    def test_on_the_grid_of_the_ct_are_as_slicer_exports_them(self, a_scene, tmp_path):
        transform = parent(a_scene, "rigid")
        ct = a_ct(a_scene, under=transform)
        masks = some_masks(["a", "b", "c"], shape=SHAPE)
        node = add_segmentation(a_scene, [masks], ijk_to_ras("oblique left-handed"), under=transform)
        labels, _, _ = read_organs(a_scene, scene_export.export_organs(node, ct, tmp_path))
        by_slicer = a_scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(node, ["a", "b", "c"], by_slicer, ct)
        image = by_slicer.GetImageData()
        expected = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(SHAPE)
        np.testing.assert_array_equal(labels, expected)
        assert len(np.unique(labels)) == 4

    def test_that_overlap_go_to_the_later_one_with_a_warning(self, a_scene, tmp_path):
        ct = a_ct(a_scene)
        masks = {name: np.zeros(SHAPE, dtype=bool) for name in ("organ", "lesion", "far")}
        masks["organ"][2:7, 2:9, 2:9], masks["lesion"][4:6, 4:12, 4:6], masks["far"][8, 13, 16] = True, True, True
        layers = [{name: masks[name]} for name in masks]
        heard: list[str] = []
        node = add_segmentation(a_scene, layers, ijk_to_ras("oblique left-handed"))
        labels, _, names = read_organs(a_scene, scene_export.export_organs(node, ct, tmp_path, warn=heard.append))
        assert names == {1: "organ", 2: "lesion", 3: "far"}
        np.testing.assert_array_equal(labels == 2, masks["lesion"])
        np.testing.assert_array_equal(labels == 1, masks["organ"] & ~masks["lesion"])
        assert len(heard) == 1
        assert "organ, lesion." in heard[0]

    def test_in_the_order_of_the_segments_whatever_layer_they_share(self, a_scene, tmp_path):
        ct = a_ct(a_scene)
        masks = {name: np.zeros(SHAPE, dtype=bool) for name in ("first", "third", "second")}
        masks["first"][2:5], masks["third"][6:8], masks["second"][4:7] = True, True, True
        layers = [{"first": masks["first"], "third": masks["third"]}, {"second": masks["second"]}]
        node = add_segmentation(a_scene, layers, ijk_to_ras("oblique left-handed"))
        node.GetSegmentation().ReorderSegments(["first", "second", "third"])
        labels, _, names = read_organs(a_scene, scene_export.export_organs(node, ct, tmp_path))
        assert names == {1: "first", 2: "second", 3: "third"}
        assert labels[:, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0]

    def test_without_a_voxel_on_the_ct_are_left_out_and_labels_stay_dense(self, a_scene, tmp_path):
        ct = a_ct(a_scene)
        masks = some_masks(["a", "b", "c"], shape=SHAPE)
        layer = {"a": masks["a"], "nothing": np.zeros(SHAPE, dtype=bool), "c": masks["c"]}
        heard: list[str] = []
        node = add_segmentation(a_scene, [layer], ijk_to_ras("oblique left-handed"))
        labels, _, names = read_organs(a_scene, scene_export.export_organs(node, ct, tmp_path, warn=heard.append))
        assert names == {1: "a", 2: "c"}
        np.testing.assert_array_equal(labels == 2, masks["c"])
        assert len(heard) == 1
        assert "nothing" in heard[0]

    def test_with_one_name_or_none_get_names_of_their_own(self, a_scene, tmp_path):
        ct = a_ct(a_scene)
        masks = some_masks(["a", "b", "c", "d"], shape=SHAPE)
        node = add_segmentation(a_scene, [masks], ijk_to_ras("oblique left-handed"))
        for segment, name in zip("abcd", ("rib", "rib (3)", "rib", " \n")):
            node.GetSegmentation().GetSegment(segment).SetName(name)
        heard: list[str] = []
        _, _, names = read_organs(a_scene, scene_export.export_organs(node, ct, tmp_path, warn=heard.append))
        assert names == {1: "rib", 2: "rib (3)", 3: "rib (4)", 4: "label_4"}
        assert len(heard) == 1

    @pytest.mark.parametrize("under", PARENTS)
    def test_that_are_surfaces_only_are_filled(self, a_scene, tmp_path, under):
        transform = parent(a_scene, under)
        ct = a_ct(a_scene, under=transform)
        sphere = vtkSphereSource()
        centre = through(ijk_to_ras("oblique left-handed"), np.array([[8.0, 6.5, 4.0]]))[0]
        sphere.SetCenter(centre)
        sphere.SetRadius(4.0)
        sphere.SetThetaResolution(80)
        sphere.SetPhiResolution(80)
        sphere.Update()
        node = add_surface(a_scene, sphere.GetOutput(), "ball", under=transform)
        labels, _, names = read_organs(a_scene, scene_export.export_organs(node, ct, tmp_path))
        own = through(np.linalg.inv(world_of(ct)), voxel_centres(ct))
        distance = np.linalg.norm(own - centre, axis=1).reshape(SHAPE)
        assert names == {1: "ball"}
        is_clear = np.abs(distance - 4.0) > 0.02
        np.testing.assert_array_equal((labels == 1)[is_clear], (distance < 4.0)[is_clear])
        assert (labels == 1).sum() > 100

    def test_hidden_ones_are_exported_too(self, a_scene, tmp_path):
        ct = a_ct(a_scene)
        node = add_segmentation(a_scene, [some_masks(["a", "b"], shape=SHAPE)], ijk_to_ras("oblique left-handed"))
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetSegmentVisibility("a", False)
        assert len(read_organs(a_scene, scene_export.export_organs(node, ct, tmp_path))[2]) == 2

    def test_more_than_255_of_them_keep_their_labels(self, a_scene, tmp_path):
        shape = (10, 10, 10)
        ct = add_ct(a_scene, np.zeros(shape, np.int16), np.eye(4))
        node = a_scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
        numbers = np.arange(1000, dtype=np.int16).reshape(shape) % 301
        other = add_segmentation(a_scene, [{"x": np.ones(shape, bool)}], np.eye(4))
        image = other.GetSegmentation().GetSegment("x").GetRepresentation("Binary labelmap")
        image.GetPointData().SetScalars(None)
        image.AllocateScalars(4, 1)  # VTK_SHORT
        vtk_to_numpy(image.GetPointData().GetScalars())[:] = numbers.ravel()
        for number in range(1, 301):
            segment = slicer.vtkSegment()
            segment.SetName(f"s{number}")
            segment.SetLabelValue(number)
            segment.AddRepresentation("Binary labelmap", image)
            node.GetSegmentation().AddSegment(segment, f"s{number}")
        labels, _, names = read_organs(a_scene, scene_export.export_organs(node, ct, tmp_path))
        np.testing.assert_array_equal(labels, numbers)
        assert names[300] == "s300"

    def test_elsewhere_than_the_ct_are_refused(self, a_scene, tmp_path):
        ct = a_ct(a_scene)
        masks = some_masks(["a"], shape=SHAPE)
        node = add_segmentation(a_scene, [masks], affine(np.eye(3), [5000, 0, 0]))
        with pytest.raises(GeometryMismatch, match="no voxel on the CT") as caught:
            scene_export.export_organs(node, ct, tmp_path)
        assert "same patient" in caught.value.hint
        with pytest.raises(GeometryMismatch):
            scene_export.export_mask(node, "a", ct, tmp_path)
        assert not list(tmp_path.iterdir())

    def test_that_are_absent_empty_or_of_another_kind_are_refused(self, a_scene, tmp_path):
        ct, empty = a_ct(a_scene), a_scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
        for node, reason in [(None, "No segmentation"), (ct, "No segmentation"), (empty, "no segments")]:
            with pytest.raises(InvalidRequest, match=reason):
                scene_export.export_organs(node, ct, tmp_path)
        empty.GetSegmentation().AddEmptySegment("new", "new")
        blank = add_segmentation(a_scene, [{"a": np.zeros(SHAPE, dtype=bool)}], ijk_to_ras("oblique left-handed"))
        for node in (empty, blank):
            with pytest.raises(InvalidRequest) as caught:
                scene_export.export_organs(node, ct, tmp_path)
            assert caught.value.hint

    def test_need_a_folder_that_can_be_written_to(self, a_scene, tmp_path):
        ct = a_ct(a_scene)
        node = add_segmentation(a_scene, [some_masks(["a"], shape=SHAPE)], ijk_to_ras("oblique left-handed"))
        (tmp_path / "file").touch()
        for export in (scene_export.export_organs, lambda *to: scene_export.export_mask(node, "a", *to[1:])):
            with pytest.raises(InvalidRequest, match="cannot be written"):
                export(node, ct, tmp_path / "file")

    def test_one_alone_is_a_mask(self, a_scene, tmp_path):
        ct = a_ct(a_scene)
        masks = some_masks(["a", "b"], shape=SHAPE)
        node = add_segmentation(a_scene, [masks], ijk_to_ras("oblique left-handed"))
        voxels, matrix = read_by_slicer(a_scene, scene_export.export_mask(node, "b", ct, tmp_path))
        np.testing.assert_array_equal(voxels, masks["b"].astype(np.uint8))
        np.testing.assert_allclose(matrix, ijk_to_ras("oblique left-handed"), atol=1e-9)
        with pytest.raises(InvalidRequest, match="no such segment"):
            scene_export.export_mask(node, "deleted", ct, tmp_path)


class TestPlacedRoi:
    @pytest.mark.parametrize("position", POSITIONS[:-1])
    @pytest.mark.parametrize("of_ct", ["none", "rigid"])
    @pytest.mark.parametrize("of_roi", ["none", "rigid"])
    def test_around_a_segment_holds_its_bounding_block_and_no_more(self, a_scene, position, of_ct, of_roi):
        transform = parent(a_scene, of_ct)
        ct = a_ct(a_scene, position, under=transform)
        mask = np.zeros(SHAPE, dtype=bool)
        mask[3:6, 5, 4:9], mask[4, 5:9, 8] = True, True
        node = add_segmentation(a_scene, [{"a": mask}], ijk_to_ras(position), under=transform)
        roi = add_roi(a_scene, affine(rotation(8)), [1, 2, 3], under=parent(a_scene, of_roi, seed=12))
        scene_export.fit_roi_to_segment(roi, node, "a", ct, margin_mm=0)
        extent = scene_export.roi_extent(roi, ct)
        assert extent.ijk_bounds == (4, 9, 5, 9, 3, 6)
        assert extent.is_axis_aligned
        assert np.linalg.det(as_numpy(roi.GetObjectToNodeMatrix())) == pytest.approx(1)
        assert sorted(roi.GetSize()) == pytest.approx(sorted([5 * 0.7, 4 * 0.9, 3 * 2.3]))

    def test_around_a_segment_of_a_ct_that_is_stretched_fits_it_as_it_is_shown(self, a_scene):
        transform = parent(a_scene, "scaled")
        transform.SetMatrixTransformToParent(as_vtk(affine(rotation(3) @ np.diag([2.0, 1.0, 0.5]))))
        ct = a_ct(a_scene, "straight", under=transform)
        mask = np.zeros(SHAPE, dtype=bool)
        mask[3:6, 5:9, 4:9] = True
        node = add_segmentation(a_scene, [{"a": mask}], ijk_to_ras("straight"), under=transform)
        roi = a_scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
        scene_export.fit_roi_to_segment(roi, node, "a", ct, margin_mm=0)
        assert scene_export.roi_extent(roi, ct).ijk_bounds == (4, 9, 5, 9, 3, 6)
        assert sorted(roi.GetSize()) == pytest.approx(sorted([5 * 0.7 * 2.0, 4 * 0.9, 3 * 2.3 * 0.5]))

    def test_has_a_margin_in_mm_that_ends_at_the_ct(self, a_scene):
        ct = a_ct(a_scene)
        mask = np.zeros(SHAPE, dtype=bool)
        mask[4, 7, 8] = True
        node = add_segmentation(a_scene, [{"a": mask}], ijk_to_ras("oblique left-handed"))
        roi = a_scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
        scene_export.fit_roi_to_segment(roi, node, "a", ct, margin_mm=2.0)
        assert sorted(roi.GetSize()) == pytest.approx(sorted([0.7 + 4, 0.9 + 4, 2.3 + 4]))
        scene_export.fit_roi_to_segment(roi, node, "a", ct, margin_mm=500.0)
        assert sorted(roi.GetSize()) == pytest.approx(sorted([17 * 0.7, 14 * 0.9, 9 * 2.3]))
        extent = scene_export.roi_extent(roi, ct)
        assert (extent.n_voxels, extent.is_cut) == (VOXELS.size, False)

    def test_on_a_sheared_ct_holds_all_of_the_segment(self, a_scene):
        ct = a_ct(a_scene, "sheared")
        mask = np.zeros(SHAPE, dtype=bool)
        mask[2:7, 5:9, 4:9] = True
        node = add_surface(a_scene, a_block(ct, mask), "a")
        roi = a_scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
        scene_export.fit_roi_to_segment(roi, node, "a", ct, margin_mm=0)
        assert (in_planes(roi, ct) >= mask).all()

    def test_around_an_empty_segment_or_under_a_scaling_transform_is_refused_and_unchanged(self, a_scene):
        ct = a_ct(a_scene)
        layer = {"empty": np.zeros(SHAPE, dtype=bool), "a": np.ones(SHAPE, dtype=bool)}
        node = add_segmentation(a_scene, [layer], ijk_to_ras("oblique left-handed"))
        roi, scaled = add_roi(a_scene, np.eye(4), [1, 2, 3]), parent(a_scene, "scaled")
        for segment, margin, reason in [("empty", 0, "No voxel"), ("gone", 0, "no such"), ("a", -1, "margin")]:
            with pytest.raises(InvalidRequest, match=reason):
                scene_export.fit_roi_to_segment(roi, node, segment, ct, margin_mm=margin)
        roi.SetAndObserveTransformNodeID(scaled.GetID())
        with pytest.raises(InvalidRequest, match="scales or shears"):
            scene_export.fit_roi_to_segment(roi, node, "a", ct, margin_mm=0)
        assert roi.GetSize() == (1, 2, 3)

    @pytest.mark.parametrize("position", POSITIONS[:-1])
    @pytest.mark.parametrize("under", PARENTS)
    def test_new_is_a_box_of_the_ct_in_its_middle(self, a_scene, position, under):
        shape = (40, 120, 150)
        ct = add_ct(a_scene, np.zeros(shape, np.int16), ijk_to_ras(position), under=parent(a_scene, under))
        roi = scene_export.new_roi(a_scene, ct)
        extent = scene_export.roi_extent(roi, ct)
        i0, i1, j0, j1, k0, k1 = extent.ijk_bounds
        assert (i0 + i1, j0 + j1, k0 + k1) == (150, 120, 40)
        assert not extent.is_cut
        if under in ("none", "rigid"):
            assert extent.is_axis_aligned
            assert roi.GetSize() == pytest.approx((32, 32, 32))
        display = roi.GetDisplayNode()
        assert display.GetFillOpacity() <= 0.2
        assert not display.GetPropertiesLabelVisibility()

    def test_new_is_where_the_slice_views_cross_and_wholly_on_the_ct(self, a_scene):
        ct = add_ct(a_scene, np.zeros((40, 120, 150), np.int16), ijk_to_ras("straight"))
        target = through(ijk_to_ras("straight"), np.array([[100.0, 60.0, 30.0]]))[0]
        for name, axes in [("Red", [0, 1, 2]), ("Green", [0, 2, 1]), ("Yellow", [1, 2, 0])]:
            view = a_scene.AddNewNodeByClass("vtkMRMLSliceNode", name)
            view.SetLayoutName(name)
            view.GetSliceToRAS().DeepCopy(as_vtk(affine(np.eye(3)[:, axes], target + np.eye(3)[:, axes[0]] * 20)))
            view.UpdateMatrices()
        roi, centre = scene_export.new_roi(a_scene, ct), np.zeros(3)
        roi.GetCenterWorld(centre)
        np.testing.assert_allclose(centre[:2], target[:2], atol=1e-6)
        assert not scene_export.roi_extent(roi, ct).is_cut
        assert abs(centre[2] - target[2]) < 16

    def test_new_is_no_larger_than_a_small_ct(self, a_scene):
        ct = a_ct(a_scene)
        assert scene_export.roi_extent(scene_export.new_roi(a_scene, ct), ct).n_voxels == VOXELS.size


def a_block(ct, mask):
    """The outline of the voxels of a box-shaped mask, as a surface in the CT's RAS."""
    k, j, i = (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    cube, to_ras, matrix = vtkCubeSource(), vtkTransform(), vtkMatrix4x4()
    cube.SetBounds(*[edge for at in (i, j, k) for edge in (at[0] - 0.5, at[-1] + 0.5)])
    ct.GetIJKToRASMatrix(matrix)
    to_ras.SetMatrix(matrix)
    triangles, moved = vtkTriangleFilter(), vtkTransformPolyDataFilter()
    triangles.SetInputConnection(cube.GetOutputPort())
    moved.SetInputConnection(triangles.GetOutputPort())
    moved.SetTransform(to_ras)
    moved.Update()
    return moved.GetOutput()


class TestScene:
    def test_stays_exactly_as_it_was(self, a_scene, tmp_path):
        transform = parent(a_scene, "rigid")
        ct = a_ct(a_scene, under=transform)
        roi = a_random_roi(a_scene, ct, seed=2)
        organs = add_segmentation(
            a_scene,
            [some_masks(["a", "b"]), some_masks(["c"], seed=1)],
            a_label_grid(ct, under=transform),
            under=transform,
        )
        sphere = vtkSphereSource()
        sphere.SetCenter(through(ijk_to_ras("oblique left-handed"), np.array([[8.0, 6.5, 4.0]]))[0])
        sphere.SetRadius(4)
        sphere.Update()
        surface = add_surface(a_scene, sphere.GetOutput(), "ball", under=transform)
        before = everything(a_scene)
        scene_export.export_ct(ct, tmp_path)
        scene_export.roi_extent(roi, ct)
        scene_export.export_roi(roi, ct, tmp_path)
        scene_export.export_organs(organs, ct, tmp_path)
        scene_export.export_organs(surface, ct, tmp_path)
        scene_export.export_mask(organs, "a", ct, tmp_path)
        assert everything(a_scene) == before
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    def test_what_is_not_linear_is_refused_with_what_to_do(self, a_scene, tmp_path):
        ct, warp = a_ct(a_scene), warped(a_scene)
        roi = a_random_roi(a_scene, ct, seed=2)
        organs = add_segmentation(a_scene, [some_masks(["a"])], a_label_grid(ct))
        exports = [
            (ct, lambda: scene_export.export_ct(ct, tmp_path)),
            (ct, lambda: scene_export.roi_extent(roi, ct)),
            (roi, lambda: scene_export.export_roi(roi, ct, tmp_path)),
            (organs, lambda: scene_export.export_organs(organs, ct, tmp_path)),
            (organs, lambda: scene_export.export_mask(organs, "a", ct, tmp_path)),
            (roi, lambda: scene_export.fit_roi_to_segment(roi, organs, "a", ct, margin_mm=0)),
        ]
        above = parent(a_scene, "rigid")
        above.SetAndObserveTransformNodeID(warp.GetID())
        for node, export in exports:
            export()
            for transform in (warp, above):
                node.SetAndObserveTransformNodeID(transform.GetID())
                with pytest.raises(InvalidRequest, match="not linear") as caught:
                    export()
                assert node.GetName() in caught.value.message
                assert "Harden" in caught.value.hint
            node.SetAndObserveTransformNodeID(None)


BACKEND = os.environ.get("SEGEXPLAIN_PYTHON", "")
READ_BY_BACKEND = """
import json, sys
import numpy as np
from SegExplainLib.organ_map import read_organ_map
from SegExplainLib.roi import roi_mask
from SegExplainLib.volume_io import read_ct, read_mask
heard = []
ct = read_ct(sys.argv[1])
organs = read_organ_map(sys.argv[2], warn=heard.append)
mask = read_mask(sys.argv[3], ct.grid, warn=heard.append)
rois = [np.argwhere(roi_mask(spec, ct, warn=heard.append)).tolist() for spec in sys.argv[4:]]
print(json.dumps({
    "matrix": ct.grid.ijk_to_ras.tolist(), "shape": ct.array.shape, "sum": int(ct.array.sum(dtype=int)),
    "names": organs.names, "counts": {k: int((organs.labels.array == k).sum()) for k in organs.names},
    "gap": organs.labels.grid.largest_gap_voxels(ct.grid), "mask": int(mask.sum()), "rois": rois, "heard": heard,
}))
"""


@pytest.mark.skipif(not BACKEND, reason="SEGEXPLAIN_PYTHON is not set")
@pytest.mark.parametrize("position", POSITIONS)
def test_the_worker_reads_what_was_exported(a_scene, tmp_path, position):
    transform = parent(a_scene, "rigid")
    ct = a_ct(a_scene, position, under=transform)
    masks = some_masks(["liver", "Niere, links", "心臓"], shape=SHAPE)
    organs = add_segmentation(a_scene, [masks], ijk_to_ras(position), under=transform)
    rois = [a_random_roi(a_scene, ct, seed=seed) for seed in range(2)] + [scene_export.new_roi(a_scene, ct)]
    mask = scene_export.export_mask(organs, "liver", ct, tmp_path)
    labels = scene_export.export_organs(organs, ct, tmp_path)
    counts = np.bincount(read_by_slicer(a_scene, labels, is_labels=True)[0].ravel())
    specs = [scene_export.export_roi(roi, ct, tmp_path) for roi in rois]
    program = [
        BACKEND,
        "-c",
        READ_BY_BACKEND,
        str(scene_export.export_ct(ct, tmp_path)),
        str(labels),
        str(mask),
        *specs,
    ]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": root}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    read = json.loads(done.stdout)
    np.testing.assert_allclose(read["matrix"], ijk_to_ras(position), rtol=0, atol=1e-9)
    assert tuple(read["shape"]) == SHAPE
    assert read["sum"] == VOXELS.sum(dtype=int)
    assert read["names"] == {"1": "liver", "2": "Niere, links", "3": "心臓"}
    assert read["counts"] == {str(label): counts[label] for label in (1, 2, 3)}
    assert read["gap"] < 1e-9
    assert read["mask"] == counts[1]
    for roi, found in zip(rois, read["rois"]):
        np.testing.assert_array_equal(found, np.argwhere(in_planes(roi, ct)))
    assert not read["heard"]
