"""What each stage of a question depends on: two questions with an equal key of a stage share what is made in it."""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from SegExplainLib.contract import ExplainRequest
from SegExplainLib.images.label_names import lists_beside
from SegExplainLib.model.totalsegmentator import PREFIX, totalsegmentator_model
from SegExplainLib.roi import MaskFile, OrganSegment, parse_roi
from SegExplainLib.warm import Key

SEPARATE_HEADERS = (".nhdr", ".mhd")
"""Image files whose voxels lie in another file of the folder."""


@dataclass(frozen=True)
class QuestionKeys:
    """A key for each stage of one request, from the network to the game.

    Files count by path, size and time of change: one that has changed since makes another key.

    Attributes:
        model: The opened network.
        ct: The CT as read.
        network_input: The CT after preprocessing.
        body: Which voxels are the patient.
        organs: The organ map, from a file or the model's own prediction.
        case: CT, region and tiles.
        units: The players.
        absent: What the network sees where a unit is absent.
        game: The unperturbed tiles and the coalitions evaluated so far.
    """

    model: Key
    ct: Key
    network_input: Key
    body: Key
    organs: Key
    case: Key
    units: Key
    absent: Key
    game: Key

    @classmethod
    def of(cls, request: ExplainRequest) -> Self:
        """The keys of a request whose paths are absolute; the files are looked at, not read.

        Raises:
            InvalidRequest: the region is of no known form.
        """
        model = model_key(request)
        ct = Key("ct", (stamp(request.ct),))
        network_input = Key("network input", (), (model, ct))
        body = Key("body", (), (network_input,))
        organs = Key("organs", (_organs_stamp(request.organs),), () if request.organs else (network_input,))
        roi = parse_roi(request.roi)
        of_organ = (organs,) if isinstance(roi, OrganSegment) else ()
        mask = str(roi.path) if isinstance(roi, MaskFile) else ""
        case = Key("case", (request.roi, stamp(mask)), (network_input, *of_organ))
        of_organs = () if request.units == "fcc" else (organs,)
        edge_mm = 0.0 if request.units == "organs" else request.unit_mm
        units = Key("units", (request.units, edge_mm), (case, *of_organs))
        absent = Key("absent", _removal_settings(request), (units,))
        truth = (stamp(request.reference), request.target) if request.reference else ()
        game = Key("game", (truth, request.batch), (absent,))
        return cls(model, ct, network_input, body, organs, case, units, absent, game)


def _removal_settings(request: ExplainRequest) -> tuple[Hashable, ...]:
    of_class = request.target if request.removal == "counterfactual" else ""
    return request.removal, of_class, tuple(stamp(path) for path in request.reference_cts)


def model_key(request: ExplainRequest) -> Key:
    """The key of the network alone."""
    name = request.model
    folder = str(totalsegmentator_model(name).folder) if name.startswith(PREFIX) else name
    settings = (name, stamp(folder), request.device, request.folds, request.mirroring, request.trust_model)
    return Key("model", settings)


def stamp(path: str) -> Hashable:
    """What changes when a file does, or any file below a folder; () for no path."""
    if not path:
        return ()
    place = Path(path).expanduser()
    if place.suffix.lower() in SEPARATE_HEADERS:
        return str(place), tuple(_file_stamp(file) for file in sorted(place.parent.glob("*")))
    return str(place), tuple(_file_stamp(file) for file in (_files_below(place) if place.is_dir() else [place]))


def _files_below(folder: Path) -> list[Path]:
    # What Python writes when a model's own code is imported is not a change of the model.
    return sorted(file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _organs_stamp(path: str) -> Hashable:
    """An organ map's names may lie in a list beside it."""
    if not path:
        return ()
    return stamp(path), tuple(_file_stamp(file) for file in lists_beside(Path(path).expanduser()))


def _file_stamp(file: Path) -> Hashable:
    try:
        status = file.stat()
    except OSError:  # its reader says what is wrong
        return str(file), None
    return str(file), status.st_mtime_ns, status.st_size
