"""A request whose files are open: the network, the case, who takes part; and the engine that will serve its game."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.case import PreparedCase, body_on_input, prepared_case
from SegExplainLib.contract import ExplainRequest, InvalidRequest
from SegExplainLib.game import RegionTallier, TallyTable
from SegExplainLib.game_record import GameRecord
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
from SegExplainLib.question_keys import QuestionKeys
from SegExplainLib.record_file import fingerprints_of
from SegExplainLib.roi import OrganSegment, parse_roi, roi_mask
from SegExplainLib.volume import Volume, resampled_nearest
from SegExplainLib.volume_io import read_ct, read_mask
from SegExplainLib.warm import Item, Key, WarmState


@dataclass(frozen=True, eq=False)
class Question:
    """A request whose files are open: the network, the case, and who takes part in the game.

    Attributes:
        segmenter: The network.
        case: CT, region and tiles.
        partition: The players.
        keys: What each of them was opened under.
    """

    segmenter: Segmenter
    case: PreparedCase
    partition: PlayerPartition
    keys: QuestionKeys


def prepared_question(request: ExplainRequest, progress: Progress, *, warm: WarmState | None = None) -> Question:
    """Opens all that a request names and checks it against each other; no coalition has been evaluated yet."""
    opening = Opening(request, QuestionKeys.of(request), warm or WarmState(), progress)
    segmenter = opening.segmenter()
    class_named(segmenter, request.target)
    ct, network_input = opening.ct_and_input(segmenter)
    organ_map = opening.organ_map(ct, segmenter, network_input)
    case = opening.case(ct, segmenter, network_input, organ_map)
    return Question(segmenter, case, opening.partition(case, organ_map), opening.keys)


@dataclass(frozen=True, eq=False)
class Opening:
    """Opens what a request names, stage by stage; what is at hand from the question before is not opened again."""

    request: ExplainRequest
    keys: QuestionKeys
    warm: WarmState
    progress: Progress

    def segmenter(self) -> Segmenter:
        """The network on its device."""
        with self.progress.stage("load model"):
            return opened_segmenter(self.request, self.keys.model, self.warm, self.progress)

    def ct_and_input(self, segmenter: Segmenter) -> tuple[Volume, NetworkInput]:
        """The CT, as read and as the network sees it."""
        with self.progress.stage("read CT"):
            ct = self._taken(self.keys.ct, lambda: read_ct(self.request.ct, warn=self.progress.warn))
            self.progress.check_cancelled()
            return ct, self._taken(self.keys.network_input, lambda: segmenter.prepared(ct))

    def organ_map(self, ct: Volume, segmenter: Segmenter, network_input: NetworkInput) -> OrganMap | None:
        """The organ map that the question needs: the given file, or else the model's own prediction of the CT."""
        if not needs_organs(self.request):
            return None
        with self.progress.stage("find organs"):
            if self.request.organs:
                return self._taken(
                    self.keys.organs, lambda: read_organ_map(Path(self.request.organs), warn=self.progress.warn)
                )
            return self._taken(self.keys.organs, lambda: predicted_organs(segmenter, ct, network_input, self.progress))

    def case(
        self, ct: Volume, segmenter: Segmenter, network_input: NetworkInput, organ_map: OrganMap | None
    ) -> PreparedCase:
        """CT, region and tiles."""

        def prepared() -> PreparedCase:
            roi_native = roi_mask(self.request.roi, ct, organ_map=organ_map, warn=self.progress.warn)
            self.progress.check_cancelled()
            body = self._taken(self.keys.body, lambda: body_on_input(ct, network_input))
            self.progress.check_cancelled()
            return prepared_case(ct, roi_native, segmenter, network_input=network_input, body=body)

        with self.progress.stage("find region"):
            return self._taken(self.keys.case, prepared)

    def partition(self, case: PreparedCase, organ_map: OrganMap | None) -> PlayerPartition:
        """The players."""
        with self.progress.stage("choose units"):
            return self._taken(self.keys.units, lambda: players_for(self.request, case, organ_map, self.progress))

    def _taken(self, key: Key, make: Callable[[], Item]) -> Item:
        return self.warm.take(key, make, self.progress)


def opened_segmenter(request: ExplainRequest, key: Key, warm: WarmState, progress: Progress) -> Segmenter:
    """The network of a request, of which only the fields of the model count."""

    def opened() -> Segmenter:
        return load_segmenter(
            request.model,
            device=chosen_device(request.device),
            trust=request.trust_model,
            folds=request.folds,
            mirroring=request.mirroring,
        )

    return warm.take(key, opened, progress)


def needs_organs(request: ExplainRequest) -> bool:
    """Whether an organ map decides the units or the region."""
    return bool(request.organs) or request.units != "fcc" or isinstance(parse_roi(request.roi), OrganSegment)


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
    *,
    reference: NDArray[np.bool_] | None = None,
) -> RegionTallier:
    """The engine: runs the unperturbed tiles, and then whatever coalitions are asked for.

    ``reference``, bool (n_channels, n_voxels) over the region's voxels, stands for that of the request where it is
    given.
    """
    tiles = MaskedTiles(case.network_input.array, absent, partition.labels, case.region, device=segmenter.device)
    cache = TileCache(
        segmenter,
        case.region,
        tiles,
        batch=request.batch,
        warn=progress.warn,
        on_batch=progress.check_cancelled,
    )
    tallier = RegionTallier(cache, case.region.mask, reference=reference, is_exclusive=segmenter.is_exclusive)
    if reference is not None or not request.reference:
        return tallier
    mask = read_mask(Path(request.reference), case.ct.grid, warn=progress.warn)
    reference = tallier.own_prediction.cpu().numpy().copy()
    reference[class_named(segmenter, request.target).channel] = resampled_nearest(
        Volume(mask, case.ct.grid), case.network_input.grid
    )[case.roi]
    return RegionTallier(cache, case.region.mask, reference=reference, is_exclusive=segmenter.is_exclusive)


@dataclass(frozen=True, eq=False)
class OpenGame:
    """A game that can be played: the engine, and the record of what it has evaluated."""

    tallier: RegionTallier
    record: GameRecord

    @property
    def counts(self) -> dict[str, float]:
        """Of tiles and bytes, and the network's seconds, by name; since the run began."""
        cache = self.tallier.cache
        others = {"network_s": cache.runner.network_s, "n_roi_tiles": float(cache.n_region_tiles)}
        return cache.counts.as_dict() | others


def open_game(
    request: ExplainRequest, question: Question, absent: NDArray[np.float32], warm: WarmState, progress: Progress
) -> OpenGame:
    """The game of a question, with every coalition that an earlier question of ``warm`` evaluated in it."""

    def opened() -> OpenGame:
        segmenter, case, partition = question.segmenter, question.case, question.partition
        tallier = tallier_for(request, case, partition, absent, segmenter, progress)
        progress.check_cancelled()
        return OpenGame(tallier, record_for(request, case, partition, absent, segmenter, tallier))

    is_at_hand = warm.at_hand(question.keys.game) is not None
    game = warm.take(question.keys.game, opened, progress)
    if is_at_hand:
        game.tallier.cache.start_over(warn=progress.warn, on_batch=progress.check_cancelled)
    return game


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
    parts = parts_of(request, case, partition, segmenter)
    fingerprints = fingerprints_of(parts | {"the removal": absent, "the reference": reference})
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


def parts_of(
    request: ExplainRequest, case: PreparedCase, partition: PlayerPartition, segmenter: Segmenter
) -> dict[str, NDArray | str]:
    """What two questions have in common that are about the same network, CT, region and units."""
    weights = [value.detach().double().cpu().numpy().ravel() for value in segmenter.network.state_dict().values()]
    return {
        "the CT": case.network_input.array,
        **native_parts(case.ct),
        "the model": np.concatenate(weights) if weights else np.zeros(0),
        "the model's settings": f"{request.folds} {request.mirroring}",
        "the tiles": np.concatenate([case.tiles.starts.ravel(), case.tiles.weights.numpy().ravel()]),
        "the ROI": case.roi,
        "the units": partition.labels,
    }


def native_parts(ct: Volume) -> dict[str, NDArray]:
    """What makes two CT files the same to us."""
    return {"the CT's voxels": ct.array, "the CT's place": ct.grid.ijk_to_ras}
