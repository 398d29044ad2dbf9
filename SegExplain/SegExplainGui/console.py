"""The Python console's way to an explanation and to its check: wait for it, or be called back."""

from collections.abc import Callable, Sequence

from slicer.i18n import tr as _

from SegExplainGui.evaluation_run import EvaluationRun, checkable
from SegExplainGui.run import Run
from SegExplainGui.scene.result import Result
from SegExplainGui.scene_question import SceneQuestion
from SegExplainGui.services import PREVIEW, STABILITY, Failure, ModelUse
from SegExplainGui.session import MAP_OPACITY, Session
from SegExplainGui.setup.demo_model import demo_model
from SegExplainGui.shown_result import CheckedTrust
from SegExplainLib.contract import Event, InvalidRequest, SegExplainError, nearest_names

PAUSE_S = 0.02
TOP_K = 8


def explain(session: Session, question: SceneQuestion, *, callback: Callable[[Event], None] | None) -> Result | Run:
    """Runs a question; see ``SegExplainLogic.explain``.

    Raises:
        SegExplainError: without a callback, what went wrong; with one, only that an explanation is under way.
    """
    if question.fields.get("model") == "demo":
        question = question.with_fields(model=demo_model())
    ends: list[Failure | None] = []

    def heard(event: Event) -> None:
        if event.event == "partial" and event.message == PREVIEW:
            session.show_preview()
        if callback is not None:
            callback(event)

    run = session.start(
        question,
        on_event=heard,
        on_result=lambda result: _show(session, result),
        on_end=ends.append,
    )
    if callback is not None:
        return run
    _wait(session, run, ends)
    if run.result is None:
        raise SegExplainError("The worker finished without a result.", "See the log.")
    return run.result


def evaluate(
    session: Session,
    result: Result,
    *,
    stability: Sequence[str],
    trust_model: bool,
    callback: Callable[[Event], None] | None,
) -> CheckedTrust | EvaluationRun:
    """Checks a result; see ``SegExplainLogic.evaluate``.

    Raises:
        SegExplainError: what stands in the way of the check; without a callback also what went wrong in it.
    """
    unknown = [kind for kind in stability if kind not in STABILITY]
    if unknown:
        raise InvalidRequest(
            f"Stability of the kind {unknown[0]!r} is not known.", nearest_names(unknown[0], STABILITY)
        )
    _folder, request = checkable(result)
    ends: list[Failure | None] = []
    run = session.evaluate(
        result,
        ModelUse(model=request["model"], trust_model=trust_model),
        stability=stability,
        on_event=callback or (lambda _event: None),
        on_end=ends.append,
    )
    if callback is not None:
        return run
    _wait(session, run, ends)
    if result.trust is None:
        raise SegExplainError("The worker finished without an answer.", "See the log.")
    return result.trust


def _show(session: Session, result: Result) -> None:
    """The asked class and quantity; what the user has done to the views since the first time stays."""
    is_new = result.shown is None
    target, quantity, _unit = result.questions()[0]
    result.show(target, quantity, top_k=TOP_K, sign="both", opacity=MAP_OPACITY)
    if is_new:
        session.bring_to_views(result)


def _wait(session: Session, run: Run | EvaluationRun, ends: list[Failure | None]) -> None:
    """Until it has ended; raises what it ended with."""
    while not ends and run.is_active:
        session.talk.wait(PAUSE_S)
    failure = ends[0] if ends else Failure(message=_("The session was closed."), kind="Cancelled")
    if failure is not None:
        kinds = {kind.__name__: kind for kind in SegExplainError.__subclasses__()}
        raise kinds.get(failure.kind, SegExplainError)(failure.message, failure.hint)
