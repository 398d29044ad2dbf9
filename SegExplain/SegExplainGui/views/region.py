"""Placing the ROI, and telling at once what an explanation there would take."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from SegExplainGui.services import Failure, ModelUse, Preview, Services
from SegExplainGui.views.message import MessageView
from SegExplainGui.views.wording import preview_words, region_words
from SegExplainLib.contract import SegExplainError

if TYPE_CHECKING:
    from SegExplainGui.parameters import Parameters

PAUSE_MS = 700
"""How long all must be quiet before the worker is asked: an ROI is dragged in many small steps."""


class RegionView:
    """The ROI's buttons and the live line below them."""

    def __init__(self, ui: Any, services: Services, *, message: MessageView, on_change: Callable[[], None]) -> None:
        self._ui, self._services, self._message, self._on_change = ui, services, message, on_change
        self._parameters: Parameters | None = None
        self._use = ModelUse(model="")
        self._reason = ""
        self._size_text = ""
        self._asked: tuple[Any, ...] | None = None
        self._n_moves = 0
        self._pause = qt.QTimer()
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.connect("timeout()", self._preview)
        ui.newRoiButton.connect("clicked()", self._on_new)
        ui.fitButton.connect("clicked()", self._on_fit)

    def reason(self) -> str:
        """Why nothing can be explained in this region; empty when it can."""
        return self._reason

    def set_parameters(self, parameters: "Parameters | None") -> None:
        """Binds other parameters, or none."""
        self._parameters = parameters
        self._asked = None
        self._pause.stop()

    def ask_again(self) -> None:
        """The worker was ended: what it has not answered, it never will."""
        self._asked = None

    def moved(self) -> None:
        """The ROI, the CT or a transform of them has changed."""
        self._n_moves += 1

    def refresh(self, use: ModelUse, *, can_ask: bool) -> None:
        """Measures the region; asks for a preview when the question is another one and ``can_ask``."""
        parameters, self._use = self._parameters, use
        if parameters is None:
            return
        self._ui.newRoiButton.enabled = parameters.ct is not None
        self._ui.fitButton.enabled = parameters.ct is not None and bool(parameters.fit_segment)
        self._ui.marginSpinBox.enabled = self._ui.fitButton.enabled
        if not self._measure(parameters):
            self._asked = None
            self._pause.stop()
        elif not can_ask:
            self._pause.stop()
        elif self._key(parameters) != self._asked:
            self._asked = None  # an answer to the question before is no longer wanted
            self._say(self._size_text)
            self._pause.start()

    def _measure(self, parameters: "Parameters") -> bool:
        """Whether the region holds voxels; says how many, or why not."""
        self._reason = ""
        if parameters.ct is None or parameters.roi is None:
            self._reason = _("Choose a CT.") if parameters.ct is None else _("Place an ROI box on the CT.")
            self._say("")
            return False
        try:
            self._size_text = region_words(self._services.region_size(parameters))
        except SegExplainError as error:
            self._reason = error.message
            self._say("\n".join(part for part in (error.message, error.hint) if part))
            return False
        if self._key(parameters) != self._asked:
            self._say(self._size_text)
        return True

    def _key(self, parameters: "Parameters") -> tuple[Any, ...]:
        """All that the preview depends on."""
        from SegExplainGui.parameters import reference_cts, request_fields

        nodes = (parameters.ct, parameters.roi, parameters.organs, parameters.reference, *reference_cts(parameters))
        ids = tuple(node.GetID() if node is not None else "" for node in nodes)
        fields = tuple(request_fields(parameters).values())
        return (self._use, *ids, parameters.reference_segment, *fields, self._n_moves)

    def _preview(self) -> None:
        if self._parameters is None:
            return
        key = self._asked = self._key(self._parameters)
        size_text = self._size_text
        self._say(_("{size}; counting tiles and units...").format(size=size_text))

        def answered(preview: Preview) -> None:
            if key == self._asked:
                self._say(preview_words(preview))

        def failed(failure: Failure) -> None:
            if key == self._asked:
                what = [] if failure.kind == "Cancelled" else [failure.message, failure.hint]
                self._say("\n".join(part for part in (size_text, *what) if part))

        with self._message.telling():
            self._services.preview(self._parameters, self._use, on_answer=answered, on_failure=failed)

    def _on_new(self) -> None:
        with self._message.telling():
            if self._parameters is not None and self._parameters.ct is not None:
                self._parameters.roi = self._services.new_roi(self._parameters)
                self._on_change()

    def _on_fit(self) -> None:
        with self._message.telling():
            parameters = self._parameters
            if parameters is None or parameters.ct is None:
                return
            if parameters.roi is None:
                parameters.roi = self._services.new_roi(parameters)
            self._services.fit_roi(parameters)
            self._on_change()

    def _say(self, text: str) -> None:
        self._ui.regionSizeLabel.text = text
        self._ui.regionSizeLabel.setVisible(bool(text))
