"""A planted torso and its network as files, and the request that asks about them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.planted.network import TARGET, write_bundle
from benchmarks.planted.torso import PlantedTorso, cause_voxels, planted_torso
from SegExplainLib.contract import ExplainRequest
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.organ_map import OrganMap, write_organ_map
from SegExplainLib.volume import Volume
from SegExplainLib.volume_io import write_nrrd

SPACING_MM = 10.0
TILE_MM = 320.0
COUNTED = {"marker": "tp", "driver": "fp"}
"""What a Shapley method is asked to explain: labelled voxels."""
SMOOTH = {"marker": "soft-dice", "driver": "soft-volume"}
"""What a gradient method is: the same by probabilities."""


@dataclass(frozen=True, eq=False)
class PlantedCase:
    """What is asked, and the answer that is known.

    Attributes:
        request: By units of organs; its value is the counted one.
        torso: With the cause's name.
        truth: One of ``network.TRUTHS``.
    """

    request: ExplainRequest
    torso: PlantedTorso
    truth: str


def write_case(
    folder: Path,
    truth: str,
    seed: int,
    *,
    spacing_mm: float = SPACING_MM,
    needs_cause: bool = True,
    is_cause_painted: bool = True,
    kept_organs: tuple[str, ...] = (),
) -> PlantedCase:
    """The case of a seed in ``folder``, which is made.

    Args:
        folder: For CT, organ map, masks and bundle.
        truth: One of ``network.TRUTHS``.
        seed: Of torso, places and texture.
        spacing_mm: Of the torso and the network.
        needs_cause: False for the control: a network that labels without the cause.
        is_cause_painted: False for the other control: a torso without it.
        kept_organs: Beside the inserts and what is labelled, the organs that are units; the others are rest of body.
            Empty keeps all.

    Raises:
        ValueError: the seed leaves no room for an insert.
    """
    tile_voxels = 4 * round(TILE_MM / spacing_mm / 4)
    bundle = write_bundle(
        folder / "bundle",
        truth=truth,
        cause_voxels=cause_voxels(truth, spacing_mm),
        tile_voxels=tile_voxels,
        needs_cause=needs_cause,
        seed=seed,
    )
    segmenter = load_segmenter(bundle, device=torch.device("cpu"), trust=True)
    torso = planted_torso(truth, seed, segmenter=segmenter, spacing_mm=spacing_mm, is_cause_painted=is_cause_painted)
    write_nrrd(torso.ct, folder / "ct.nrrd")
    wanted = {TARGET, torso.cause, torso.labelled, "stone", *kept_organs}
    write_organ_map(_only(torso.organs, wanted) if kept_organs else torso.organs, folder / "organs.nrrd")
    write_nrrd(Volume(torso.roi, torso.ct.grid), folder / "roi.nrrd")
    write_nrrd(Volume(torso.lesion, torso.ct.grid), folder / "lesion.nrrd")
    request = ExplainRequest(
        ct=str(folder / "ct.nrrd"),
        model=str(bundle),
        target=TARGET,
        roi=f"mask:{folder / 'roi.nrrd'}",
        organs=str(folder / "organs.nrrd"),
        reference=str(folder / "lesion.nrrd"),
        value=COUNTED[truth],
        device="cpu",
        trust_model=True,
    )
    return PlantedCase(request, torso, truth)


def _only(organs: OrganMap, names: set[str]) -> OrganMap:
    kept = {label: name for label, name in organs.names.items() if name in names}
    labels = organs.labels.array.copy()
    labels[~np.isin(labels, list(kept))] = 0
    return OrganMap(Volume(labels, organs.labels.grid), kept)
