"""The question behind finished results, opened again as it was, with the game that is to judge them."""

from collections.abc import Sequence

from SegExplainLib.baselines import baselines_for
from SegExplainLib.case import body_on_input, prepared_case
from SegExplainLib.contract import ExplainRequest, InvalidRequest
from SegExplainLib.finished import FinishedResult
from SegExplainLib.game_record import GameRecord
from SegExplainLib.play import require_full
from SegExplainLib.progress import Progress
from SegExplainLib.question import OpenGame, Opening, Question, native_parts, open_game
from SegExplainLib.question_keys import QuestionKeys
from SegExplainLib.record_file import fingerprints_of
from SegExplainLib.warm import WarmState


def reopened(
    request: ExplainRequest, results: Sequence[FinishedResult], progress: Progress, *, warm: WarmState
) -> tuple[Question, OpenGame]:
    """The question as it was, with the units and the region of its record, and the game of the judging removal.

    Network and CT may be at hand in ``warm``, and stay there. The game does not: its units are those of the record, not
    those that the request's files would give today.

    Raises:
        InvalidRequest: CT or model are no longer those that were explained.
    """
    record = results[0].record
    opening = Opening(request, QuestionKeys.of(request), warm, progress)
    segmenter = opening.segmenter()
    ct, network_input = opening.ct_and_input(segmenter)
    if any(record.fingerprints[part] != digest for part, digest in fingerprints_of(native_parts(ct)).items()):
        raise InvalidRequest(f"{request.ct} is no longer the CT that was explained.", "Explain the new CT.")
    if fingerprints_of({"the CT": network_input.array})["the CT"] != record.fingerprints["the CT"]:
        raise InvalidRequest(
            f"{request.model} prepares the CT otherwise than when it was explained.", "Use the model as it was."
        )
    with progress.stage("find region"):
        body = body_on_input(ct, network_input)
        case = prepared_case(ct, record.roi_native, segmenter, network_input=network_input, body=body)
    question = Question(segmenter, case, record.partition, opening.keys)
    with progress.stage("remove units"):
        absent = baselines_for(request, question, progress).images[0]
    with progress.stage("run unperturbed tiles"):
        game = open_game(request, question, absent, WarmState(), progress)
        _take_over(game.record, request, results, progress)
        require_full(game.record, game.tallier)
    return question, game


def _take_over(
    record: GameRecord, request: ExplainRequest, results: Sequence[FinishedResult], progress: Progress
) -> None:
    """Puts what the results evaluated of the same game into its record.

    Raises:
        InvalidRequest: model, tiles or reference are no longer those that were explained.
    """
    for result in results:
        then = result.record.fingerprints
        differing = [part for part, digest in record.fingerprints.items() if then.get(part) != digest]
        if not differing:
            record.take_over(result.record)
        elif differing != ["the removal"]:
            changed = [part for part in differing if part != "the removal"]
            raise InvalidRequest(
                f"{result.folder} was made otherwise: {', '.join(changed)} differ(s) from what {request.model} gives "
                "now.",
                f"Use the model as it was, on the device that was used ({result.manifest.device}), or explain again.",
            )
        elif result.removes and result.request.removal == request.removal:
            progress.warn(
                f"The removal {request.removal} of {result.name} does not come out as it was; none of its coalitions "
                "is taken over."
            )
