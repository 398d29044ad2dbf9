"""From the worker's files to what is seen: the preview before the answer, interim maps, finished folders, faults.

The worker's part is spoken by the test; `test_session` has a real one.
"""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import run_files
import scenes
import slicer_desktop
from run_files import VALUES, unit_labels, voxel_map

from SegExplainLib.contract import GRADIENT_METHODS, Event, ExplainRequest, InvalidRequest, ResultManifest

SIGNED, UNSIGNED = "input-x-gradient", "seg-grad-cam"
POSITIVE = tuple(abs(value) for value in VALUES)
PREVIEW = "Seg-Grad-CAM preview"
MATRIX = scenes.ijk_to_ras("straight")


@dataclass
class ScriptedQueue:
    """The worker's queue: keeps the job, and lets the test speak."""

    job: Path | None = None
    say: object = None
    cancelled: list = field(default_factory=list)

    def ask(self, command, on_event):
        self.job, self.say = Path(command.job), on_event

    def cancel(self, name):
        self.cancelled.append(name)


@dataclass
class Bed:
    """A run under way, and all that it told."""

    application: object
    folder: Path
    ct: object
    roi: object
    queue: ScriptedQueue = field(default_factory=ScriptedQueue)
    events: list = field(default_factory=list)
    results: list = field(default_factory=list)
    ends: list = field(default_factory=list)
    run: object = None

    @property
    def scene(self):
        return self.application.scene

    @property
    def logics(self):
        from SegExplainGui.run import Logics

        logics = self.application.logics
        return Logics(segmentations=logics["segmentations"], colors=logics["colors"], plots=logics["plots"])

    def start(self, method):
        from SegExplainGui.run import Run

        fields = {"target": "liver", "value": "soft-dice", "method": method}
        request = ExplainRequest(ct="ct.nrrd", model="m", roi="ijk:0,1,0,1,0,1", **fields)
        question = SimpleNamespace(ct=self.ct, roi=self.roi, fields=fields, exported=lambda _folder, warn: request)
        self.run = Run(
            question,
            self.queue,
            scene=self.scene,
            logics=self.logics,
            inputs=self.folder,
            job=self.folder / "job",
            on_event=self.events.append,
            on_result=self.results.append,
            on_end=self.ends.append,
        )
        self.run.start()
        (self.queue.job / "partial").mkdir()
        return self.run

    @property
    def partial(self):
        return self.queue.job / "partial"

    def preview(self, values=None):
        run_files.write_map(self.partial, MATRIX, voxel_map(is_signed=False) if values is None else values)
        self.queue.say(Event(event="partial", path=str(self.partial), message=PREVIEW))

    def importances(self, values=VALUES):
        run_files.write_labels(self.partial, MATRIX)
        run_files.write_players(self.partial, values)
        self.queue.say(Event(event="partial", path=str(self.partial)))

    def interim_map(self, *, is_signed, factor=1.0):
        run_files.write_map(self.partial, MATRIX, factor * voxel_map(is_signed=is_signed))
        self.importances([factor * value for value in (VALUES if is_signed else POSITIVE)])

    def names(self, class_name):
        count = self.scene.GetNumberOfNodesByClass(class_name)
        return [self.scene.GetNthNodeByClass(at, class_name).GetName() for at in range(count)]


@pytest.fixture
def bed(tmp_path):
    application = slicer_desktop.start(tmp_path / "settings")
    ct = scenes.add_ct(application.scene, np.zeros(run_files.SHAPE_KJI, np.int16), MATRIX)
    roi = application.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.CreateDefaultDisplayNodes()
    return Bed(application, tmp_path, ct, roi)


def node_ids(scene):
    return {scene.GetNthNode(place).GetID() for place in range(scene.GetNumberOfNodes())}


def voxels_of(node):
    from slicer.util import arrayFromVolume

    return arrayFromVolume(node)


# the preview


def test_a_shapley_run_shows_a_preview_at_once_that_nobody_takes_for_the_answer(bed):
    from SegExplainGui.scene.importance_map import legend_of

    run = bed.start("kernel-shap")
    bed.preview()
    assert run.result is None
    assert bed.results == []
    volume = run.preview.volume
    assert volume.GetName() == "Seg-Grad-CAM preview (not the answer)"
    assert "(not the answer)" in legend_of(volume).GetTitleText()
    found = voxels_of(volume)
    np.testing.assert_allclose(found / found.max(), voxel_map(is_signed=False)[2:5, 2:7, 4:10] / 1.5, rtol=1e-5)
    assert bed.events[-1].message == PREVIEW, "it is told once it is there"
    assert bed.roi.GetDisplayNode().GetFillOpacity() == 0


def test_the_first_importances_take_its_place(bed):
    from SegExplainGui.scene.result import results_in

    run = bed.start("kernel-shap")
    bed.preview()
    bed.importances()
    assert run.preview is None
    assert not [name for name in bed.names("vtkMRMLScalarVolumeNode") if "preview" in name]
    assert (bed.partial / "map.nrrd").exists(), "the preview's file is still there"
    assert not run.result.has_voxel_map
    run.result.show("liver", "soft-dice", top_k=3, sign="both", opacity=1.0)
    assert voxels_of(run.result.overlay).min() == pytest.approx(-0.4)
    assert results_in(bed.scene) == [run.result]


def test_a_preview_is_laid_over_the_ct_and_an_earlier_results_legend_goes(bed):
    from SegExplainGui.scene.importance_map import legend_of
    from SegExplainGui.scene.shown_in_views import bring_to_views, show_preview

    bed.start("kernel-shap")
    bed.importances()
    earlier = bed.run.result
    earlier.show("liver", "soft-dice", top_k=3, sign="both", opacity=1.0)
    composite = bed.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    bring_to_views(earlier, bed.scene, opacity=1.0)
    assert composite.GetLabelVolumeID() == earlier.seen.GetID()
    again = Bed(bed.application, bed.folder / "again", bed.ct, bed.roi)
    again.folder.mkdir()
    run = again.start("kernel-shap")
    again.preview()
    show_preview(run.preview, bed.scene, opacity=0.8)
    assert composite.GetBackgroundVolumeID() == bed.ct.GetID()
    assert composite.GetForegroundVolumeID() == run.preview.volume.GetID()
    assert composite.GetForegroundOpacity() == 0
    assert composite.GetLabelVolumeID() == run.preview.shades.GetID()
    assert composite.GetLabelOpacity() == pytest.approx(0.8)
    assert not legend_of(earlier.overlay).GetVisibility()


def view_of(composite):
    volumes = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetLabelVolumeID()
    return *volumes, composite.GetForegroundOpacity(), composite.GetLabelOpacity()


@pytest.mark.parametrize("end", ["failed", "abandoned"])
def test_what_a_preview_has_covered_comes_back_when_there_is_no_answer(bed, end):
    """An earlier result with its legend, and in another view the user's own fusion with a second image."""
    from SegExplainGui.scene.importance_map import legend_of
    from SegExplainGui.scene.shown_in_views import bring_to_views, show_preview

    bed.start("kernel-shap")
    bed.importances()
    earlier = bed.run.result
    earlier.show("liver", "soft-dice", top_k=3, sign="both", opacity=1.0)
    red, green, yellow = (bed.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _view in range(3))
    bring_to_views(earlier, bed.scene, opacity=0.7)
    other = scenes.add_ct(bed.scene, np.zeros(run_files.SHAPE_KJI, np.int16), MATRIX)
    green.SetBackgroundVolumeID(other.GetID())
    green.SetForegroundVolumeID(bed.ct.GetID())
    green.SetForegroundOpacity(0.4)
    green.SetLabelVolumeID(None)
    before = [view_of(red), view_of(green)]
    again = Bed(bed.application, bed.folder / "again", bed.ct, bed.roi)
    again.folder.mkdir()
    run = again.start("kernel-shap")
    for _time in range(2):  # the second preview takes the place of the first
        again.preview()
        show_preview(run.preview, bed.scene, opacity=0.8)
    yellow.SetLabelVolumeID(None)
    yellow.SetForegroundVolumeID(other.GetID())  # the user's own choice since: nobody takes it back
    assert not legend_of(earlier.overlay).GetVisibility()
    if end == "failed":
        again.queue.say(Event(event="failed", message="Stopped.", kind="Cancelled"))
    else:
        run.abandon(None)
    assert [view_of(red), view_of(green)] == before
    assert yellow.GetForegroundVolumeID() == other.GetID()
    assert legend_of(earlier.overlay).GetVisibility()
    assert earlier.segmentation.GetDisplayNode().GetVisibility()


def test_a_picture_that_the_user_has_chosen_over_a_preview_stays(bed):
    from SegExplainGui.scene.importance_map import legend_of
    from SegExplainGui.scene.shown_in_views import bring_to_views, show_preview

    earlier = []
    for name in ("first", "second"):
        one = Bed(bed.application, bed.folder / name, bed.ct, bed.roi)
        one.folder.mkdir()
        one.start("kernel-shap")
        one.importances()
        one.run.result.show("liver", "soft-dice", top_k=3, sign="both", opacity=1.0)
        earlier.append(one.run.result)
    composite = bed.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    bring_to_views(earlier[1], bed.scene, opacity=1.0)
    run = bed.start("kernel-shap")
    bed.preview()
    show_preview(run.preview, bed.scene, opacity=0.8)
    bring_to_views(earlier[0], bed.scene, opacity=1.0)
    bed.queue.say(Event(event="failed", message="Stopped.", kind="Cancelled"))
    assert composite.GetLabelVolumeID() == earlier[0].seen.GetID()
    assert [bool(legend_of(one.overlay).GetVisibility()) for one in earlier] == [True, False]


def test_a_deleted_image_does_not_come_back_with_the_view_that_showed_it(bed):
    from SegExplainGui.scene.shown_in_views import show_preview

    composite = bed.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    other = scenes.add_ct(bed.scene, np.zeros(run_files.SHAPE_KJI, np.int16), MATRIX)
    composite.SetForegroundVolumeID(other.GetID())
    run = bed.start("kernel-shap")
    bed.preview()
    show_preview(run.preview, bed.scene, opacity=0.8)
    bed.scene.RemoveNode(other)
    bed.queue.say(Event(event="failed", message="Stopped.", kind="Cancelled"))
    assert composite.GetForegroundVolumeID() is None
    assert composite.GetBackgroundVolumeID() == bed.ct.GetID(), "a view that was empty keeps the CT"


@pytest.mark.parametrize("end", ["failed", "abandoned"])
def test_a_run_that_ends_before_its_answer_leaves_no_preview(bed, end):
    before = node_ids(bed.scene)
    run = bed.start("kernel-shap")
    bed.preview()
    assert node_ids(bed.scene) > before
    if end == "failed":
        bed.queue.say(Event(event="failed", message="Stopped.", kind="Cancelled"))
    else:
        run.abandon(None)
    left = {bed.scene.GetNodeByID(one).GetClassName() for one in node_ids(bed.scene) - before}
    assert not left - {"vtkMRMLSubjectHierarchyNode"}


def test_a_preview_whose_nodes_were_deleted_is_survived(bed):
    run = bed.start("kernel-shap")
    bed.preview()
    bed.scene.RemoveNode(run.preview.shades)
    bed.preview()
    bed.scene.RemoveNode(run.preview.volume)
    run.preview.lay_over([], 1.0)
    bed.importances()
    assert run.is_active
    assert run.result is not None


@pytest.mark.parametrize("fault", ["gone", "cut", "elsewhere"])
def test_a_preview_that_cannot_be_read_costs_the_run_nothing(bed, fault):
    run = bed.start("kernel-shap")
    path = run_files.write_map(bed.partial, MATRIX, voxel_map(is_signed=False))
    if fault == "gone":
        path.unlink()
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:150])
    else:
        moved = MATRIX.copy()
        moved[0, 3] += 1
        run_files.write_map(bed.partial, moved, voxel_map(is_signed=False))
    bed.queue.say(Event(event="partial", path=str(bed.partial), message=PREVIEW))
    assert run.preview is None
    (warning,) = (event.message for event in bed.events if event.event == "warning")
    assert warning.startswith("There is no preview.")
    assert bed.queue.cancelled == []
    bed.importances()
    assert run.result is not None


@pytest.mark.parametrize("form", ["mrml", "mrb"])
def test_a_preview_is_not_saved_with_the_scene(bed, tmp_path, form):
    """In a loaded scene nobody would take it away when the answer comes."""
    from test_scene_import import saved_and_loaded

    def kinds():
        return sorted(bed.scene.GetNthNode(at).GetClassName() for at in range(bed.scene.GetNumberOfNodes()))

    before = kinds()
    bed.start("kernel-shap")
    bed.preview()
    saved_and_loaded(bed.scene, tmp_path / "saved", form)
    assert not [name for name in bed.names("vtkMRMLNode") if "preview" in name]
    assert not [kind for kind in kinds() if kinds().count(kind) > before.count(kind) and "Storage" not in kind]


def test_a_ct_deleted_before_the_preview_ends_the_run_with_one_clear_failure(bed):
    run = bed.start("kernel-shap")
    bed.scene.RemoveNode(bed.ct)
    bed.preview()
    bed.queue.say(Event(event="failed", message="Stopped.", kind="Cancelled"))
    assert bed.queue.cancelled == ["explain"]
    assert "CT was deleted" in run.failure.message


def test_the_previews_message_is_the_workers():
    source = (Path(__file__).parents[2] / "SegExplainLib" / "gradient_run.py").read_text(encoding="utf-8")
    assert f'PREVIEW = "{PREVIEW}"' in source
    from SegExplainGui import services

    assert services.PREVIEW == PREVIEW


# gradients


@pytest.mark.parametrize("method", [SIGNED, UNSIGNED])
def test_each_interim_map_of_a_gradient_method_replaces_the_last(bed, method):
    is_signed = method == SIGNED
    run = bed.start(method)
    for factor in (1.0, 2.0):
        bed.interim_map(is_signed=is_signed, factor=factor)
        run.result.show("liver", "soft-dice", top_k=3, sign="both", opacity=1.0)
        found = voxels_of(run.result.overlay)
        expected = factor * voxel_map(is_signed=is_signed)[2:5, 2:7, 4:10]
        scale = expected.max() / found.max()
        assert scale == pytest.approx(1.0) or not is_signed
        np.testing.assert_allclose(scale * found, expected, rtol=1e-5, atol=1e-7)
        assert run.result.rows("liver", "soft-dice")[0].importance == pytest.approx(0.5 * factor)
        assert run.result.segmentation.GetSegmentation().GetNumberOfSegments() == 3
    noun = "importance" if is_signed else "heat"
    assert sum(f"{noun} map" in name for name in bed.names("vtkMRMLScalarVolumeNode")) == 1
    assert "Why" not in run.result.name


def test_a_gradient_run_whose_map_vanishes_ends_with_one_clear_failure_and_keeps_the_last(bed):
    run = bed.start(UNSIGNED)
    bed.interim_map(is_signed=False)
    (bed.partial / "map.nrrd").unlink()
    bed.importances(POSITIVE)
    assert bed.queue.cancelled == ["explain"]
    bed.queue.say(Event(event="failed", message="Stopped.", kind="Cancelled"))
    assert "map.nrrd" in run.failure.message
    assert len(bed.ends) == 1
    assert voxels_of(run.result.overlay).max() > 0


def test_a_finished_gradient_run_is_imported(bed):
    run = bed.start(UNSIGNED)
    results = a_results_folder(bed.queue.job, UNSIGNED)
    bed.queue.say(Event(event="finished", path=str(results)))
    assert bed.ends == [None]
    assert run.result.has_voxel_map
    assert run.result.sentences == ["Heat is largest in “liver”."]


# finished folders


def a_results_folder(parent, method, *, lacking=()):
    folder = parent / "results"
    folder.mkdir()
    is_signed = method == SIGNED
    run_files.write_labels(folder, MATRIX).rename(folder / "players.seg.nrrd")
    run_files.write_map(folder, MATRIX, voxel_map(is_signed=is_signed), "attribution.nrrd")
    run_files.write_gradient_answers(folder, VALUES if is_signed else POSITIVE, "share" if is_signed else "relative")
    for name in lacking:
        (folder / name).unlink()
    estimate = {"stop_reason": "exact", "n_evaluations": 1, "relative_error": None, "empty_value": None}
    manifest = ResultManifest(
        request={"method": method, "target": "liver"},
        versions={},
        device="cpu",
        classes=["liver"],
        answer=["Heat is largest in “liver”."],
        estimate=estimate | {"full_value": 0.9, "quantity": "soft-dice", "unit": "relative"},
        counts={},
        timings_s={},
    )
    (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return folder


@pytest.mark.parametrize("method", [SIGNED, UNSIGNED])
def test_a_finished_folder_is_loaded_with_its_map(bed, method):
    from SegExplainGui.result_files import load_folder

    result = load_folder(bed.scene, a_results_folder(bed.folder, method), bed.ct, bed.logics)
    result.show("liver", "soft-dice", top_k=3, sign="both", opacity=1.0)
    found = voxels_of(result.overlay)
    expected = voxel_map(is_signed=method == SIGNED)[2:5, 2:7, 4:10]
    np.testing.assert_allclose(found / found.max(), expected / expected.max(), rtol=1e-5, atol=1e-7)
    assert result.answers() == {"liver": ["soft-dice"]}
    assert "Why" not in result.name
    labels = result.head.GetNodeReference("SegExplain.labels")
    assert (voxels_of(labels) > 0).sum() == (unit_labels() > 0).sum()


@pytest.mark.parametrize("lacking", ["attribution.nrrd", "answers.csv", "players.seg.nrrd"])
def test_half_a_folder_is_refused_and_leaves_no_node(bed, lacking):
    from SegExplainGui.result_files import load_folder

    bed.scene.AddNode(bed.scene.CreateNodeByClass("vtkMRMLSubjectHierarchyNode"))
    before = node_ids(bed.scene)
    with pytest.raises(InvalidRequest, match=lacking.replace(".", r"\.")):
        load_folder(bed.scene, a_results_folder(bed.folder, UNSIGNED, lacking=[lacking]), bed.ct, bed.logics)
    left = {bed.scene.GetNodeByID(one).GetClassName() for one in node_ids(bed.scene) - before}
    assert not left - {"vtkMRMLSubjectHierarchyNode"}


def test_every_gradient_method_has_a_name_of_its_own_for_results(bed):
    from SegExplainGui.scene.quantity_words import run_name

    names = {run_name("liver", method, "CT", "12:00") for method in GRADIENT_METHODS}
    assert len(names) == len(GRADIENT_METHODS)
    assert run_name("liver", "kernel-shap", "CT", "12:00") == "Why liver? (CT, 12:00)"
