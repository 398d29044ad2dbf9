"""What is explained, and by which units: synthetic torsos that one tile of the demo model sees, or any request."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SegExplainLib.contract import UNIT_KINDS, ExplainRequest, InvalidRequest
from SegExplainLib.demo import demo_model_folder
from SegExplainLib.organ_map import OrganMap, write_organ_map
from SegExplainLib.phantom import Torso, make_torso
from SegExplainLib.volume import Volume
from SegExplainLib.volume_io import write_nrrd

TARGET = "lesion"
TILE_VOXELS = 40
"""Edge of the demo model's tile."""
MARGIN_VOXELS = 2
"""Around the lesion: 10 mm."""
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
    torso = make_torso(seed)
    is_lesion = _is_lesion(torso)
    return _written(f"torso-{seed}", torso, torso.labels, f"segment:{TARGET}+10", folder / f"torso-{seed}", is_lesion)


def torso_case_without_target(seed: int, folder: Path) -> Case:
    """The same with an organ map that does not know the lesion: its voxels are those of the organ around it."""
    torso, name = make_torso(seed), f"torso-{seed}-anatomy"
    is_lesion, labels = _is_lesion(torso), torso.labels.array
    around = labels[ndimage.binary_dilation(is_lesion) & ~is_lesion]
    anatomy = np.where(is_lesion, np.bincount(around).argmax(), labels)
    places = np.argwhere(_cut(Volume(is_lesion, torso.labels.grid), is_lesion).array)[:, ::-1]
    low = np.maximum(places.min(axis=0) - MARGIN_VOXELS, 0)
    high = np.minimum(places.max(axis=0) + MARGIN_VOXELS + 1, TILE_VOXELS)
    roi = "ijk:" + ",".join(f"{start},{stop}" for start, stop in zip(low, high, strict=True))
    return _written(name, torso, Volume(anatomy, torso.labels.grid), roi, folder / name, is_lesion)


def _is_lesion(torso: Torso) -> NDArray[np.bool_]:
    (lesion,) = (label for label, organ in torso.label_names.items() if organ == TARGET)
    return torso.labels.array == lesion


def _written(name: str, torso: Torso, organs: Volume, roi: str, folder: Path, is_lesion: NDArray[np.bool_]) -> Case:
    """Files of the cube around the lesion, and the request about them."""
    ct, organ_map = folder / "ct.nrrd", folder / "organs.nrrd"
    write_nrrd(_cut(torso.ct, is_lesion), ct)
    write_organ_map(_large_organs(_cut(organs, is_lesion), torso.label_names), organ_map)
    model = str(demo_model_folder())
    return Case(name, ExplainRequest(ct=str(ct), model=model, target=TARGET, roi=roi, organs=str(organ_map)))


def _cut(volume: Volume, around: NDArray[np.bool_]) -> Volume:
    """The cube of one tile around the middle of some voxels, moved into the CT where it would stick out."""
    centre = np.argwhere(around).mean(axis=0).round().astype(int)
    start = np.clip(centre - TILE_VOXELS // 2, 0, np.array(around.shape) - TILE_VOXELS)
    block = tuple(slice(int(n), int(n) + TILE_VOXELS) for n in start)
    return Volume(volume.array[block], volume.grid.cropped(tuple(start.tolist()), (TILE_VOXELS,) * 3))


def _large_organs(labels: Volume, names: dict[int, str]) -> OrganMap:
    volumes_ml = np.bincount(labels.array.ravel(), minlength=len(names)) * labels.grid.voxel_volume_ml
    least_ml = {label: 0.0 if organ == TARGET else LEAST_ORGAN_ML for label, organ in names.items() if label}
    kept = {label: names[label] for label, least in least_ml.items() if volumes_ml[label] > least}
    array = np.where(np.isin(labels.array, list(kept)), labels.array, 0)
    return OrganMap(Volume(array.astype(np.int32), labels.grid), kept)


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
