"""The 3D Slicer module SegExplain: why did the network label this here?

Slicer loads this file at its start, so that nothing but Slicer's own Python is imported at file scope; the panel and
the backend's contract follow when the module is opened.
"""

import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

HOMEPAGE = "https://github.com/segexplain/SlicerSegExplain"
OWN_PACKAGES = ("SegExplainGui", "SegExplainLib")


def find_library() -> None:
    """Makes SegExplainLib importable: installed beside this file, or, in a checkout, beside this file's folder."""
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "SegExplainLib" / "contract").is_dir():
        sys.path.insert(0, str(checkout))
        import SegExplainLib  # noqa: F401 - its submodules are found through it from now on

        sys.path.remove(str(checkout))  # a checkout holds other folders that could be taken for packages


class SegExplain(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "SegExplain"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Markups", "Volumes", "Colors", "Tables", "Plots", "SubjectHierarchy"]
        parent.contributors = ["The SegExplain founders"]
        parent.helpText = _(
            "Why did the network label this here? Pick a region of a CT and a segmentation network; SegExplain removes "
            "organs or supervoxels in many combinations, runs the network's real prediction on each, and shows how "
            "much each of them speaks for or against the label, with its error. For research; not a medical device."
        )
        parent.helpText += f'<p><a href="{HOMEPAGE}">{HOMEPAGE}</a></p>'
        parent.acknowledgementText = _(
            "Built on PyTorch, MONAI, nnU-Net, captum, shap and 3D Slicer. If it helps your research, please cite it: "
            "see CITATION.cff in the project's folder."
        )
        find_library()
        slicer.app.connect("startupCompleted()", self.register_sample_data)

    @staticmethod
    def register_sample_data():
        """Adds the synthetic torso to the Sample Data module."""
        if hasattr(slicer.modules, "sampledata"):
            from SegExplainGui.setup.sample_data import register

            register()


class SegExplainWidget(ScriptedLoadableModuleWidget):
    """The panel's life in Slicer's window; what it does is in SegExplainGui."""

    panel = session = None  # there once `setup` has succeeded
    _tags = ()

    def setup(self):
        """Loads the panel when the module is opened for the first time; says so in its place when it cannot."""
        super().setup()
        try:
            self._open()
        except Exception as error:  # else an empty panel and a traceback in a console that nobody has open
            import qt

            text = _("SegExplain cannot be opened ({error}). The Python console says more.")
            label = qt.QLabel(text.format(error=f"{type(error).__name__}: {error}"))
            label.setWordWrap(True)
            self.layout.addWidget(label)
            raise

    def _open(self):
        from SegExplainGui.panel import Panel

        root = slicer.util.loadUI(self.resourcePath("UI/SegExplain.ui"))
        self.layout.addWidget(root)
        root.setMRMLScene(slicer.mrmlScene)
        self.logic, self.ui = SegExplainLogic(), slicer.util.childWidgetVariables(root)
        self.session = self.logic.session()
        self.panel = Panel(self.ui, scene=slicer.mrmlScene, services=self.session)
        closes, closed = slicer.vtkMRMLScene.StartCloseEvent, slicer.vtkMRMLScene.EndCloseEvent
        self._tags = [
            slicer.mrmlScene.AddObserver(closes, lambda *_: self.panel.leave()),
            slicer.mrmlScene.AddObserver(closed, lambda *_: self.parent.isEntered and self.enter()),
        ]
        self.enter()

    def enter(self):
        """Binds the panel to the scene's parameter node, each time the module is shown or a scene was closed."""
        if self.panel is None:
            return
        from SegExplainGui.parameters import parameters_of

        with self.panel.message.telling():
            self.parameters = parameters_of(self.logic.getParameterNode())
            self.panel.enter(self.parameters)

    def exit(self):
        """Unbinds it when another module is shown; a run goes on."""
        if self.panel is not None:
            self.panel.leave()

    def cleanup(self):
        """Ends what was started, before the module is reloaded or Slicer closes."""
        for tag in self._tags:
            slicer.mrmlScene.RemoveObserver(tag)
        if self.panel is not None:
            self.panel.close()
        if self.session is not None:
            self.session.close()

    def onReload(self):
        """Reloads the packages too, not this file alone."""
        SegExplainLogic.forget_session()
        for name in [name for name in sys.modules if name.partition(".")[0] in OWN_PACKAGES]:
            del sys.modules[name]
        find_library()  # Slicer makes the module's widget anew, not the module, which has found it before
        super().onReload()


class SegExplainLogic(ScriptedLoadableModuleLogic):
    """SegExplain for the Python console and other modules; all of them share one worker with one warm model."""

    _session = None

    @classmethod
    def session(cls):
        """The one session of this Slicer; see ``SegExplainGui.session.Session``."""
        if SegExplainLogic._session is None:
            from SegExplainGui.desktop import SlicerDesktop
            from SegExplainGui.machine import Machine
            from SegExplainGui.run import Logics
            from SegExplainGui.session import Session
            from SegExplainGui.worker.qt_process import QtProcess

            modules = slicer.modules
            logics = Logics(
                segmentations=modules.segmentations.logic(), colors=modules.colors.logic(), plots=modules.plots.logic()
            )
            SegExplainLogic._session = Session(slicer.mrmlScene, logics, SlicerDesktop(), QtProcess)
            SegExplainLogic._session.use_python(Machine().python)
            slicer.app.connect("aboutToQuit()", SegExplainLogic._session.close)
        return SegExplainLogic._session

    @classmethod
    def forget_session(cls):
        """Ends the session; the next call of `session` makes a new one."""
        if SegExplainLogic._session is not None:
            SegExplainLogic._session.close()
            SegExplainLogic._session = None

    def explain(
        self,
        ctNode,
        *,
        model,
        roiNode,
        target,
        organsNode=None,
        referenceSegment=None,
        referenceCts=(),
        callback=None,
        **fields,
    ):
        """Why ``model`` labels ``target`` in a region of a CT.

        Example::

            result = SegExplainLogic().explain(ctNode, model="demo", roiNode=roi, target="lesion", units="fcc")
            print(result.sentences, result.table.GetName())

        Args:
            ctNode: vtkMRMLScalarVolumeNode.
            model: Folder of an nnU-Net or a MONAI bundle, ``totalsegmentator:297``, or ``demo``.
            roiNode: vtkMRMLMarkupsROINode, rotated or not.
            target: Class to explain, by name.
            organsNode: vtkMRMLSegmentationNode whose segments are the units; None takes the model's own organs.
            referenceSegment: (vtkMRMLSegmentationNode, segment id) taken as the truth.
            referenceCts: vtkMRMLScalarVolumeNodes that ``removal="references"`` is made from.
            callback: None waits for the end. Else the call returns at once, and ``callback`` gets each event of the
                run, the last one ``finished`` or ``failed``.
            fields: Any other field of ``SegExplainLib.contract.ExplainRequest``: units, method, value, tolerance ...

        Returns:
            The result with its nodes; with a callback, the run under way, whose ``result`` comes to be.

        Raises:
            SegExplainError: says what was expected and found, and what to do.
        """
        from SegExplainGui.console import explain
        from SegExplainGui.scene_question import SceneQuestion

        fields |= {"model": model, "target": target}
        question = SceneQuestion(
            ct=ctNode,
            roi=roiNode,
            fields=fields,
            organs=organsNode,
            reference=referenceSegment,
            reference_cts=tuple(referenceCts),
        )
        return explain(self.session(), question, callback=callback)

    def evaluate(self, result, *, stability=(), trustModel=False, callback=None):
        """Whether an explanation can be trusted: how faithful it is to the network, and how it agrees with anatomy.

        Example::

            trust = SegExplainLogic().evaluate(result)
            print("\\n".join(trust.sentences))

        Args:
            result: Finished, from `explain` or a loaded folder; its results folder must still be on this computer.
            stability: What is measured besides, each by running the explanation many times: any of ``noise``,
                ``seeds``, ``weights``, ``removals``.
            trustModel: Allow a model file that executes code when it is opened.
            callback: As with `explain`.

        Returns:
            ``sentences``, ``headings`` and ``rows`` of the main numbers, why some are ``undefined``, and ``picture``, a
            PNG file; the result keeps them as its ``trust``. With a callback, the check under way, which can
            ``cancel()``.

        Raises:
            SegExplainError: says what was expected and found, and what to do.
        """
        from SegExplainGui.console import evaluate

        return evaluate(self.session(), result, stability=stability, trust_model=trustModel, callback=callback)


class SegExplainTest(ScriptedLoadableModuleTest):
    """The real flow on the demo model in this Slicer; needs a Python that has the backend (see the README)."""

    def setUp(self):
        """Starts from an empty scene."""
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        """Runs all of it."""
        from SegExplainGui.self_test import SelfTest

        self.setUp()
        SelfTest(self, SegExplainLogic()).run()
