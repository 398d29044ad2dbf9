"""What is explained, and by which units: synthetic torsos that one tile of the demo model sees, or any request."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from SegExplainLib.contract import UNIT_KINDS, ExplainRequest, InvalidRequest
from SegExplainLib.demo import demo_model_folder
from SegExplainLib.organ_map import OrganMap, write_organ_map
from SegExplainLib.phantom import make_torso
from SegExplainLib.volume import Volume
from SegExplainLib.volume_io import write_nrrd

TARGET = "lesion"
TILE_VOXELS = 40
"""Edge of the demo model's tile."""
LEAST_ORGAN_ML = 100.0
"""Smaller organs, but for the target, are left to the rest of the body: each more would double a game."""


@dataclass(frozen=True)
class Case:
    """One region of one CT that is to be explained; units, removal and method are still open."""

    name: str
    request: ExplainRequest


@dataclass(frozen=True)
class Units:
    """A kind of units and, for supervoxels, the edge of their lattice."""

    kind: str
    edge_mm: float = 0.0

    @classmethod
    def parsed(cls, text: str) -> Self:
        """``organs``, ``hybrid:150`` or ``fcc:130``.

        Raises:
            InvalidRequest: it is none of these.
        """
        kind, _, edge = text.partition(":")
        try:
            units = cls(kind, float(edge) if edge else 0.0)
        except ValueError:
            units = cls("")
        is_edge_right = units.edge_mm == 0.0 if kind == "organs" else 0.0 < units.edge_mm < math.inf
        if units.kind not in UNIT_KINDS or not is_edge_right:
            raise InvalidRequest(f"There are no units {text!r}.", "Give organs, hybrid:MM or fcc:MM.")
        return units

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.kind}-{self.edge_mm:g}mm" if self.edge_mm else self.kind

    @property
    def words(self) -> str:
        """For people."""
        kind = self.kind.upper() if self.kind == "fcc" else self.kind
        return f"{kind}, {self.edge_mm:g} mm" if self.edge_mm else kind

    def of(self, request: ExplainRequest) -> ExplainRequest:
        """The request with these units."""
        return replace(request, units=self.kind, unit_mm=self.edge_mm or request.unit_mm)


def torso_case(seed: int, folder: Path) -> Case:
    """The lesion of a synthetic torso, in a CT that is cut to the cube around it that one tile holds.

    With one tile a coalition is one run of the network, and games of few units can be played in full.
    """
    name = f"torso-{seed}"
    torso = make_torso(seed)
    labels = torso.labels.array
    (lesion,) = (label for label, organ in torso.label_names.items() if organ == TARGET)
    centre = np.argwhere(labels == lesion).mean(axis=0).round().astype(int)
    start = np.clip(centre - TILE_VOXELS // 2, 0, np.array(labels.shape) - TILE_VOXELS)
    block = tuple(slice(int(n), int(n) + TILE_VOXELS) for n in start)
    grid = torso.ct.grid.cropped(tuple(start.tolist()), (TILE_VOXELS,) * 3)
    ct, organs = folder / name / "ct.nrrd", folder / name / "organs.nrrd"
    write_nrrd(Volume(torso.ct.array[block], grid), ct)
    write_organ_map(_large_organs(Volume(labels[block].astype(np.int32), grid), torso.label_names), organs)
    roi = f"segment:{TARGET}+10"
    return Case(
        name, ExplainRequest(ct=str(ct), model=str(demo_model_folder()), target=TARGET, roi=roi, organs=str(organs))
    )


def _large_organs(labels: Volume, names: dict[int, str]) -> OrganMap:
    volumes_ml = np.bincount(labels.array.ravel(), minlength=len(names)) * labels.grid.voxel_volume_ml
    kept = {
        label: organ
        for label, organ in names.items()
        if label and (organ == TARGET or volumes_ml[label] >= LEAST_ORGAN_ML)
    }
    return OrganMap(Volume(np.where(np.isin(labels.array, list(kept)), labels.array, 0), labels.grid), kept)


def given_case(text: str) -> Case:
    """``NAME=request.json``: the fields of a request, of which units, removal and method are overwritten.

    Raises:
        InvalidRequest: the text is of another form, or the file holds no request.
    """
    name, _, path = text.partition("=")
    if not name or not Path(path).is_file():
        raise InvalidRequest(f"{text!r} is no case.", "Give NAME=request.json.")
    given = json.loads(Path(path).read_text(encoding="utf-8"))
    return Case(name, ExplainRequest.from_mapping(given).with_paths_from(Path(path).resolve().parent))
