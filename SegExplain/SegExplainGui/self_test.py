"""What ``SegExplainTest`` does inside Slicer: the real flow on the demo model, with this Slicer's own Qt and MRML."""

import time
import unittest
from collections.abc import Callable
from typing import Any

import numpy as np
import slicer

from SegExplainGui.machine import Machine
from SegExplainGui.scene.result_nodes import CLASSES
from SegExplainGui.services import PREVIEW, Installation
from SegExplainGui.session import Session
from SegExplainGui.setup.dependencies import NoPython, find_python
from SegExplainGui.setup.sample_data import load_torso, make_torso
from SegExplainGui.shown_result import CheckedTrust
from SegExplainLib.contract import Cancelled, InvalidRequest, SegExplainError

PATIENCE_S = 600.0
CANCEL_S = 5.0  # 2 s until the worker is ended, and a slow machine's turn of the event loop
SHORT = {"method": "kernel-shap", "budget": 60, "tolerance": 0.0, "removal": "air", "units": "organs"}


class SelfTest:
    """Inputs, faults, run, cancel, results, and nothing left over.

    Args:
        case: Gives the assertions and shows messages.
        logic: SegExplainLogic.
    """

    def __init__(self, case: Any, logic: Any) -> None:
        self._case = case
        self._logic = logic
        self._session: Session = logic.session()
        self._scene = slicer.mrmlScene

    def run(self) -> None:
        """All of it, in order.

        Raises:
            unittest.SkipTest: no Python here has the backend.
        """
        self._require_backend()
        ct, organs = self._inputs()
        roi = self._roi(ct, organs)
        self._faults(ct, roi)
        before = self._node_ids()
        self._cancel(ct, organs, roi)
        self._explain(ct, organs, roi)
        self._gradients(ct, organs, roi)
        self._case.assertEqual(self._node_ids(), before, "nodes were left over")
        self._panel(ct, organs, roi)
        self._wait(lambda: self._session.talk.queue.is_idle)  # the panel would wait for ever for a closed worker
        self._session.close()
        self._case.delayDisplay("SegExplain: all passed")

    def _require_backend(self) -> None:
        self._case.delayDisplay("Is the backend installed?")
        try:
            backend = find_python(Machine().python)
        except NoPython as error:
            raise unittest.SkipTest(str(error)) from error
        answers: list[Installation] = []
        failures: list[Any] = []
        self._session.check(answers.append, failures.append)
        self._wait(lambda: answers or failures)
        if failures or answers[0].missing:
            reason = failures[0].message if failures else f"missing: {', '.join(answers[0].missing)}"
            raise unittest.SkipTest(
                f"{backend.python} has no backend ({reason}): install it in the panel, or set SEGEXPLAIN_PYTHON."
            )

    def _inputs(self) -> tuple[Any, Any]:
        self._case.delayDisplay("The synthetic torso")
        folder = make_torso(find_python(Machine().python), stay_responsive=slicer.app.processEvents)
        ct, organs = load_torso(folder, self._scene, volumes_logic=slicer.modules.volumes.logic())
        self._case.assertGreater(ct.GetImageData().GetNumberOfPoints(), 1000)
        self._case.assertIn("lesion", [organs.GetSegmentation().GetNthSegmentID(n) for n in range(20)])
        return ct, organs

    def _roi(self, ct: Any, organs: Any) -> Any:
        from SegExplainGui.scene.export import fit_roi_to_segment, new_roi, roi_extent

        roi = new_roi(self._scene, ct)
        fit_roi_to_segment(roi, organs, "lesion", ct, margin_mm=5.0)
        self._case.assertGreater(roi_extent(roi, ct).n_voxels, 10)
        return roi

    def _faults(self, ct: Any, roi: Any) -> None:
        self._case.delayDisplay("Bad input gets one clear error")
        away = self._scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
        away.SetXYZ(5000.0, 5000.0, 5000.0)
        away.SetRadiusXYZ(5.0, 5.0, 5.0)
        for wrong in ({"ctNode": None}, {"roiNode": None}, {"roiNode": away}, {"model": "/no/such/model"}):
            asked = {"ctNode": ct, "model": "demo", "roiNode": roi, "target": "lesion", **SHORT} | wrong
            with self._case.assertRaises(SegExplainError) as raised:
                self._logic.explain(asked.pop("ctNode"), **asked)
            self._case.assertTrue(raised.exception.message)
        with self._case.assertRaises(InvalidRequest):
            self._logic.explain(ct, model="demo", roiNode=roi, target="lesion", units="no such kind")
        self._scene.RemoveNode(away)

    def _cancel(self, ct: Any, organs: Any, roi: Any) -> None:
        self._case.delayDisplay("Cancel while it runs")
        events: list[Any] = []
        asked = SHORT | {"budget": 4000}
        run = self._logic.explain(
            ct, model="demo", roiNode=roi, target="lesion", organsNode=organs, callback=events.append, **asked
        )
        partial = [PREVIEW, ""]  # a picture at once, then importances
        self._wait(
            lambda: not run.is_active or [one.message for one in events if one.event == "partial"][:2] == partial
        )
        self._case.assertTrue(run.is_active, run.failure)
        self._case.assertIsNone(run.preview, "the preview stayed")
        begin = time.monotonic()
        run.cancel()
        self._wait(lambda: not run.is_active)
        self._case.assertLess(time.monotonic() - begin, CANCEL_S)
        self._case.assertEqual(run.failure.kind, Cancelled.__name__)
        self._case.assertIsNotNone(run.result, "the partial result was lost")
        run.result.remove()

    def _explain(self, ct: Any, organs: Any, roi: Any) -> None:
        self._case.delayDisplay("Explain to the end")
        result = self._logic.explain(ct, model="demo", roiNode=roi, target="lesion", organsNode=organs, **SHORT)
        case = self._case
        case.assertIs(result.ct, ct)
        case.assertTrue(result.sentences)
        case.assertTrue(result.has_report)
        rows = result.rows(*result.shown)
        case.assertGreater(len(rows), 1)
        strongest = max(rows, key=lambda row: abs(row.importance))
        case.assertEqual(strongest.name.replace(" ", "_"), "lesion", "the lesion itself must matter most")
        self._same_lattice(result.overlay, ct)
        centre = result.unit_centre(strongest.id)
        case.assertAlmostEqual(self._value_at(result.overlay, centre), strongest.importance, places=5)
        for cls, quantities in result.answers().items():
            result.show(cls, quantities[-1], top_k=3, sign="both", opacity=0.5)
        self._check(result)
        result.remove()

    def _check(self, result: Any) -> None:
        """A check asks the network again, and can be cancelled; one to its end would take minutes."""
        self._case.delayDisplay("Check an explanation")
        events: list[Any] = []
        run = self._logic.evaluate(result, callback=events.append)
        self._wait(lambda: not run.is_active or (events and events[-1].event == "progress"))
        self._case.assertTrue(run.is_active, run.failure)
        run.cancel()
        self._wait(lambda: not run.is_active)
        self._case.assertEqual(run.failure.kind, Cancelled.__name__)
        self._case.assertIsNone(result.trust)

    def _gradients(self, ct: Any, organs: Any, roi: Any) -> None:
        self._case.delayDisplay("Gradients, a number for each voxel")
        result = self._logic.explain(
            ct, model="demo", roiNode=roi, target="lesion", organsNode=organs, method="seg-grad-cam"
        )
        case = self._case
        case.assertTrue(result.has_voxel_map)
        case.assertEqual(result.answers(), {"lesion": ["soft-dice"]})
        heat = slicer.util.arrayFromVolume(result.overlay)
        case.assertGreaterEqual(float(heat.min()), 0.0)
        case.assertGreater(float(heat.max()), 99.0, "heat is in percent")
        self._same_lattice(result.overlay, ct)
        result.remove()

    def _panel(self, ct: Any, organs: Any, roi: Any) -> None:
        """The panel shows what the console has made; only where Slicer has a main window."""
        if slicer.app.layoutManager() is None:
            return
        self._case.delayDisplay("The panel")
        slicer.util.selectModule("SegExplain")
        result = self._logic.explain(ct, model="demo", roiNode=roi, target="lesion", organsNode=organs, **SHORT)
        slicer.app.processEvents()
        widget = slicer.modules.SegExplainWidget
        self._case.assertEqual(widget.panel.shown_result, result)
        result.set_trust(CheckedTrust(sentences=["It was checked."], headings=["", "x"], rows=[["a number", "1.0"]]))
        widget.enter()
        self._case.assertEqual(widget.ui.trustTable.rowCount, 1)
        self._case.takeScreenshot("SegExplain", "The panel with a result", -1)
        result.remove()

    def _same_lattice(self, overlay: Any, ct: Any) -> None:
        """The map's voxels are voxels of the CT: their first one has whole indices there."""
        ras_to_ijk = _matrix(ct.GetRASToIJKMatrix)
        first = ras_to_ijk @ _matrix(overlay.GetIJKToRASMatrix) @ np.array([0.0, 0.0, 0.0, 1.0])
        self._case.assertLess(float(np.abs(first - np.rint(first)).max()), 1e-3)
        self._case.assertIs(overlay.GetParentTransformNode(), ct.GetParentTransformNode())

    def _value_at(self, volume: Any, world_ras: Any) -> float:
        ijk = _matrix(volume.GetRASToIJKMatrix) @ np.array([*world_ras, 1.0])
        i, j, k = (round(float(index)) for index in ijk[:3])
        return float(volume.GetImageData().GetScalarComponentAsDouble(i, j, k, 0))

    def _node_ids(self) -> set[str]:
        """Of the nodes that results are made of; Slicer itself adds others as it likes."""
        nodes = (self._scene.GetNthNode(place) for place in range(self._scene.GetNumberOfNodes()))
        kinds = {*CLASSES.values(), "vtkMRMLSegmentationDisplayNode", "vtkMRMLColorLegendDisplayNode"}
        return {node.GetID() for node in nodes if node.GetClassName() in kinds}

    def _wait(self, is_done: Callable[[], Any]) -> None:
        begin = time.monotonic()
        while not is_done():
            self._session.talk.wait(0.02)
            self._case.assertLess(time.monotonic() - begin, PATIENCE_S, "the worker did not answer")


def _matrix(fill: Callable[[Any], None]) -> Any:
    from vtk import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    fill(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
