"""All answers that one game holds: every class and value function from its evaluated coalitions, no network asked."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.attribution import Attribution
from SegExplainLib.contract import VALUES, ExplainRequest, InvalidRequest
from SegExplainLib.game import RegionGame
from SegExplainLib.game_record import GameRecord
from SegExplainLib.progress import Progress
from SegExplainLib.shapley.stopping import BEFORE_THE_BUDGET
from SegExplainLib.shapley.value_function import ShapleyEstimate
from SegExplainLib.target import TargetScore, target_score

Estimator = Callable[..., Iterator[ShapleyEstimate]]
Question = tuple[str, TargetScore]
"""A class and the quantity of it that is explained."""

MOST_REPLAY_BYTES = 2**28
"""Of the explained numbers, coalitions x questions, that are held at once."""

MOST_AT_ONCE = 256
"""Questions that are answered between two looks at whether the user has stopped the run: about a second's work."""

ONE_BY_ONE = ("captum",)
"""Methods that take as long for each further question as for the first."""


def asked_question(request: ExplainRequest, record: GameRecord) -> Question:
    """What the request asks.

    Raises:
        InvalidRequest: there is no such class, or the quantity is undefined for it in the region.
    """
    return request.target, _score(record, request.target, request.value)


def every_question(request: ExplainRequest, record: GameRecord) -> list[Question]:
    """What the game can answer: the request's question, its class's other quantities, then the other classes.

    Quantities that are undefined in the region are left out. So are classes that are measured against another kind of
    truth than the request's: a given reference mask is the truth of one class, the prediction of the unperturbed CT
    that of the others.
    """
    asked = asked_question(request, record)
    peers = () if request.reference else (name for name in record.class_names if name != record.reference_class)
    classes = dict.fromkeys([request.target, *peers])
    return list(dict.fromkeys([asked, *_defined(record, classes)]))


def every_answer(
    estimator: Estimator,
    request: ExplainRequest,
    record: GameRecord,
    estimate: ShapleyEstimate,
    *,
    progress: Progress,
) -> list[Attribution]:
    """The estimate as an attribution, and one for each other question, by the same estimator from the same coalitions.

    The others are what asking each alone gives, to rounding; of `adjusted_shap`, which learns them together, within
    their standard errors.

    Args:
        estimator: That made the estimate.
        request: As served.
        record: Of the game, played to the end of the estimate.
        estimate: Of the request's own question; it says how far the replay goes.
        progress: Is warned of a question that is left out because its numbers are not finite.

    Raises:
        Cancelled: somebody asked to stop.
    """
    asked, *others = every_question(request, record)
    answers = [attribution_of(request, record, estimate, asked)]
    budget = estimate.n_evaluations if estimate.stop_reason in BEFORE_THE_BUDGET else request.budget
    most = 1 if request.method in ONE_BY_ONE else MOST_AT_ONCE
    at_once = int(np.clip(MOST_REPLAY_BYTES // (8 * len(record.table)), 1, most))
    for start in range(0, len(others), at_once):
        progress.check_cancelled()
        some = others[start : start + at_once]
        scores = [(record.channel_of(name), score) for name, score in some]
        game = RegionGame(record.table, scores, closeness=lambda: record.closeness)
        *_, last = estimator(game, budget=budget, tolerance=0.0, seed=request.seed, interim=False)
        answers += [attribution_of(request, record, _column(last, place), one) for place, one in enumerate(some)]
    return [answers[0], *(answer for answer in answers[1:] if _is_finite(answer, progress.warn))]


def attribution_of(
    request: ExplainRequest, record: GameRecord, estimate: ShapleyEstimate, question: Question
) -> Attribution:
    """The estimate of one question, made by the request's method, as an attribution."""
    name, score = question
    only = _column(estimate, 0)
    return Attribution(
        method=request.method,
        partition=record.partition,
        player_values=only.values,
        standard_errors=only.standard_errors,
        empty_value=float(only.empty_value),
        full_value=float(only.full_value),
        quantity=score.quantity,
        unit=score.unit,
        target=name,
    )


def _score(record: GameRecord, name: str, quantity: str) -> TargetScore:
    full = record.full_tallies()[record.channel_of(name)]
    return target_score(quantity, full, voxel_volume_ml=record.partition.grid.voxel_volume_ml, name=name)


def _defined(record: GameRecord, classes: Iterable[str]) -> Iterator[Question]:
    for name in classes:
        for quantity in VALUES:
            try:
                yield name, _score(record, name, quantity)
            except InvalidRequest:  # undefined in the region
                continue


def _is_finite(answer: Attribution, warn: Callable[[str], None]) -> bool:
    if np.isfinite(answer.player_values).all():
        return True
    warn(f"{answer.quantity} of {answer.target!r} is left out: the network gave numbers that are not finite.")
    return False


def _column(estimate: ShapleyEstimate, place: int) -> ShapleyEstimate:
    """The estimate of one of several targets; of the only one, if it has one."""

    def of_target(array: NDArray[np.float64]) -> NDArray[np.float64]:
        return array.reshape(len(array), -1)[:, place]

    return replace(
        estimate,
        values=of_target(estimate.values),
        standard_errors=of_target(estimate.standard_errors),
        empty_value=float(np.ravel(estimate.empty_value)[place]),
        full_value=float(np.ravel(estimate.full_value)[place]),
    )
