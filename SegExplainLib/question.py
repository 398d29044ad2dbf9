"""A request whose files are open: the network, the case, who takes part; and the engine that will serve its game."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.case import PreparedCase, prepared_case
from SegExplainLib.contract import ExplainRequest, InvalidRequest
from SegExplainLib.game import RegionTallier, TallyTable
from SegExplainLib.game_record import GameRecord, fingerprints_of
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.model.segmenter import NetworkInput, Segmenter, class_named
from SegExplainLib.model.stitching import fused_logits
from SegExplainLib.model.tile_cache import MaskedTiles, TileCache
from SegExplainLib.organ_map import OrganMap, organ_map_on, read_organ_map
from SegExplainLib.players.hybrid import hybrid_players
from SegExplainLib.players.organs import organ_players
from SegExplainLib.players.partition import PlayerPartition
from SegExplainLib.players.supervoxels import fcc_players
from SegExplainLib.progress import Progress
from SegExplainLib.roi import roi_mask
from SegExplainLib.volume import Volume, resampled_nearest
from SegExplainLib.volume_io import read_ct, read_mask


@dataclass(frozen=True, eq=False)
class Question:
    """A request whose files are open: the network, the case, and who takes part in the game."""

    segmenter: Segmenter
    case: PreparedCase
    partition: PlayerPartition


def prepared_question(request: ExplainRequest, progress: Progress) -> Question:
    """Opens all that a request names and checks it against each other; no coalition has been evaluated yet."""
    with progress.stage("load model"):
        segmenter = load_segmenter(
            request.model,
            device=chosen_device(request.device),
            trust=request.trust_model,
            folds=request.folds,
            mirroring=request.mirroring,
        )
        class_named(segmenter, request.target)
    with progress.stage("read CT"):
        ct = read_ct(request.ct, warn=progress.warn)
        network_input = segmenter.prepared(ct)
    with progress.stage("find region"):
        organ_map = organ_map_for(request, ct, segmenter, network_input, progress)
        roi_native = roi_mask(request.roi, ct, organ_map=organ_map, warn=progress.warn)
        case = prepared_case(ct, roi_native, segmenter, network_input=network_input)
    with progress.stage("choose units"):
        partition = players_for(request, case, organ_map, progress)
    return Question(segmenter, case, partition)


def chosen_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes a CUDA GPU where there is one.

    Raises:
        InvalidRequest: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    hint = "Use --device auto or cpu."
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidRequest(f"The device {name!r} cannot be used here ({reason}).", hint) from error
    if device.type not in ("cpu", "cuda"):
        raise InvalidRequest(f"The device {name!r} has no float64, in which tallies are summed.", hint)
    return device


def predicted_organs(segmenter: Segmenter, ct: Volume, network_input: NetworkInput, progress: Progress) -> OrganMap:
    """The framework's own label map on the CT's grid, with the names of its classes."""
    labels = segmenter.native_labels(fused_logits(segmenter, network_input, progress), network_input)
    names = {entry.label: entry.name for entry in segmenter.classes}
    return OrganMap(Volume(labels.array.astype(np.int32), ct.grid), names)


def organ_map_for(
    request: ExplainRequest, ct: Volume, segmenter: Segmenter, network_input: NetworkInput, progress: Progress
) -> OrganMap | None:
    """The organ map that the question needs: the given file, or else the model's own prediction of the CT."""
    if request.organs:
        return read_organ_map(Path(request.organs), warn=progress.warn)
    if request.units == "fcc" and not request.roi.startswith("segment:"):
        return None
    return predicted_organs(segmenter, ct, network_input, progress)


def players_for(
    request: ExplainRequest, case: PreparedCase, organ_map: OrganMap | None, progress: Progress
) -> PlayerPartition:
    """The units of a request, cut to the part of the CT that can reach the region."""
    grid = case.network_input.grid
    if request.units == "fcc" or organ_map is None:
        return fcc_players(grid, edge_mm=request.unit_mm, within=case.reach, body=case.body)
    organs_native = Volume(organ_map_on(organ_map, case.ct.grid, warn=progress.warn), case.ct.grid)
    organ_ids = resampled_nearest(organs_native, grid)
    if request.units == "organs":
        return organ_players(organ_ids, organ_map.names, within=case.reach, body=case.body, grid=grid)
    return hybrid_players(
        organ_ids, organ_map.names, edge_mm=request.unit_mm, within=case.reach, body=case.body, grid=grid
    )


def tallier_for(
    request: ExplainRequest,
    case: PreparedCase,
    partition: PlayerPartition,
    absent: NDArray[np.float32],
    segmenter: Segmenter,
    progress: Progress,
) -> RegionTallier:
    """The engine: runs the unperturbed tiles, and then whatever coalitions are asked for."""
    tiles = MaskedTiles(case.network_input.array, absent, partition.labels, case.region, device=segmenter.device)
    cache = TileCache(
        segmenter,
        case.region,
        tiles,
        batch=request.batch,
        warn=progress.warn,
        on_batch=progress.check_cancelled,
    )
    tallier = RegionTallier(cache, case.region.mask, reference=None, is_exclusive=segmenter.is_exclusive)
    if not request.reference:
        return tallier
    mask = read_mask(Path(request.reference), case.ct.grid, warn=progress.warn)
    reference = tallier.own_prediction.cpu().numpy().copy()
    reference[class_named(segmenter, request.target).channel] = resampled_nearest(
        Volume(mask, case.ct.grid), case.network_input.grid
    )[case.roi]
    return RegionTallier(cache, case.region.mask, reference=reference, is_exclusive=segmenter.is_exclusive)


def record_for(
    request: ExplainRequest,
    case: PreparedCase,
    partition: PlayerPartition,
    absent: NDArray[np.float32],
    segmenter: Segmenter,
    tallier: RegionTallier,
) -> GameRecord:
    """An empty record of the game that is about to be played."""
    reference = tallier.reference.cpu().numpy()
    weights = [value.detach().double().cpu().numpy().ravel() for value in segmenter.network.state_dict().values()]
    fingerprints = fingerprints_of(
        {
            "the CT": case.network_input.array,
            **native_parts(case.ct),
            "the model": np.concatenate(weights) if weights else np.zeros(0),
            "the model's settings": f"{request.folds} {request.mirroring}",
            "the tiles": np.concatenate([case.tiles.starts.ravel(), case.tiles.weights.numpy().ravel()]),
            "the ROI": case.roi,
            "the units": partition.labels,
            "the removal": absent,
            "the reference": reference,
        }
    )
    return GameRecord(
        TallyTable(partition.n_players, segmenter.n_channels),
        partition,
        case.roi,
        case.roi_native,
        {entry.name: entry.channel for entry in segmenter.classes},
        tallier.own_prediction.cpu().numpy(),
        reference,
        request.target if request.reference else "",
        fingerprints,
    )


def native_parts(ct: Volume) -> dict[str, NDArray]:
    """What makes two CT files the same to us."""
    return {"the CT's voxels": ct.array, "the CT's place": ct.grid.ijk_to_ras}
