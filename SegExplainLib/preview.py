"""What can be said before an explanation: which classes a model labels, and what a run will take."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from SegExplainLib.case import PreparedCase
from SegExplainLib.contract import ExplainRequest, InvalidRequest
from SegExplainLib.forecast import seconds_a_tile, tiles_least_and_most, tiles_of_removal
from SegExplainLib.model.segmenter import Segmenter, class_named
from SegExplainLib.pipeline import check_request, with_budget
from SegExplainLib.players.supervoxels import cell_volume_ml
from SegExplainLib.progress import Progress
from SegExplainLib.question import OpenGame, Opening, needs_organs, opened_segmenter
from SegExplainLib.question_keys import QuestionKeys, model_key
from SegExplainLib.roi import OrganSegment, parse_roi
from SegExplainLib.warm import Key, WarmState

SLOWER = 1.25
REST_S = 20.0
"""The longest time allows for a network this much slower, and for this long outside it: units, sums, report."""


def describe(given: Mapping[str, Any], *, progress: Progress, warm: WarmState) -> dict[str, Any]:
    """Name, classes and device of the model that some fields of a request name; the model stays warm.

    Raises:
        UnusableModel: it cannot be opened.
        InvalidRequest: a field is unknown or of the wrong type, or there is no such device.
    """
    request = ExplainRequest.from_mapping({"ct": "", "target": "", "roi": ""} | dict(given))
    request = request.with_paths_from(Path.cwd())
    with progress.stage("load model"):
        segmenter = opened_segmenter(request, model_key(request), warm, progress)
    classes = [entry.name for entry in segmenter.classes]
    return {"name": segmenter.name, "classes": classes, "device": str(segmenter.device)}


def preview(given: Mapping[str, Any], *, progress: Progress, warm: WarmState) -> dict[str, Any]:
    """How large a question is and how long its answer will take; what is opened stays warm for the answer.

    Units are those of the run, except where they come from the model's own prediction and that is not at hand: it is
    not made for a preview. Then their number is a guess: the model's classes and the rest of the body.

    Time is network tiles times the seconds for a tile, measured once on the region's own tiles, batched as in the run:

    - first the tiles of the unperturbed region, and of the whole CT where the organs are the model's own prediction;
      what is at hand from an earlier question costs nothing;
    - then ``least_s`` counts the coalitions after which the stopping rule may end the run, ``most_s`` the whole budget.
      An estimator's coalitions depend on the number of units and the seed alone, so the distinct tiles that they take
      are counted, without those of coalitions that were evaluated before. Where units are a guess, or the method does
      not say what it will ask, every tile of every coalition counts as one to run.

    ``most_s`` has a quarter on top for a network that is slower under way, and 20 s for all but the network.

    Returns:
        n_voxels, volume_ml: of the ROI on the CT's grid; n_roi_tiles; n_image_tiles; n_units; units_are_exact; budget;
        seconds_a_tile; least_s; most_s; warnings.

    Raises:
        SegExplainError: of the kind that the explanation would raise before its first coalition.
    """
    request = ExplainRequest.from_mapping(given).with_paths_from(Path.cwd())
    check_request(request)
    keys = QuestionKeys.of(request)
    opening = Opening(request, keys, warm, progress)
    segmenter = opening.segmenter()
    class_named(segmenter, request.target)
    ct, network_input = opening.ct_and_input(segmenter)
    has_organs = bool(request.organs) or warm.at_hand(keys.organs) is not None
    organ_map = opening.organ_map(ct, segmenter, network_input) if has_organs else None
    if organ_map is None and isinstance(parse_roi(request.roi), OrganSegment):
        with progress.stage("find region"):
            raise InvalidRequest(
                "The region is an organ of the model's own prediction, which has not been made yet.",
                "Give an organ map, or the region in another form, to learn what the explanation will take.",
            )
    case = opening.case(ct, segmenter, network_input, organ_map)
    is_exact = has_organs or not needs_organs(request)
    partition = opening.partition(case, organ_map) if is_exact else None
    n_units = partition.n_players if partition else _guessed_units(request, case, segmenter)
    request = _with_likely_budget(request, n_units, progress, is_exact=is_exact)
    with progress.stage("time a tile"):
        speed_key = Key("seconds a tile", (request.batch,), (keys.model,))
        tile_s = warm.take(
            speed_key, lambda: seconds_a_tile(segmenter, case, batch=request.batch, progress=progress), progress
        )
    game: OpenGame | None = warm.at_hand(keys.game)
    with progress.stage("count tiles"):
        least, most = tiles_least_and_most(
            request, case, n_units=n_units, partition=partition, record=game.record if game else None
        )
    n_before = 0 if game else case.region.n_tiles
    n_before += 0 if is_exact else case.tiles.n_tiles
    n_before += 0 if warm.at_hand(keys.absent) else tiles_of_removal(request, case)
    n_voxels = int(np.count_nonzero(case.roi_native))
    return {
        "n_voxels": n_voxels,
        "volume_ml": n_voxels * ct.grid.voxel_volume_ml,
        "n_roi_tiles": case.region.n_tiles,
        "n_image_tiles": case.tiles.n_tiles,
        "n_units": n_units,
        "units_are_exact": is_exact,
        "budget": request.budget,
        "seconds_a_tile": tile_s,
        "least_s": (n_before + least) * tile_s,
        "most_s": (n_before + most) * tile_s * SLOWER + REST_S,
        "warnings": list(progress.warnings),
    }


def _guessed_units(request: ExplainRequest, case: PreparedCase, segmenter: Segmenter) -> int:
    """The model's classes and the rest of the body; of hybrid units also the cells of the part that can matter."""
    n_organs = len(segmenter.classes) + 1
    if request.units == "organs":
        return n_organs
    reach_ml = np.count_nonzero(case.reach & case.body) * case.network_input.grid.voxel_volume_ml
    return n_organs + math.ceil(reach_ml / cell_volume_ml(request.unit_mm))


def _with_likely_budget(request: ExplainRequest, n_units: int, progress: Progress, *, is_exact: bool) -> ExplainRequest:
    """The request with its budget; a guessed number of units that does not fit the budget is a warning only."""
    try:
        return with_budget(request, n_units)
    except InvalidRequest as error:
        if is_exact:
            raise
        progress.warn(f"If the number of units is as guessed, the explanation will be refused: {error}")
        return with_budget(replace(request, budget=0, method="adjusted-shap"), n_units)
