"""What re-runs of an explanation found, in one small file: one that is there is not run again."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from SegExplainLib.atomic import atomic_path
from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.metric import Metric
from SegExplainLib.evaluation.similarity import VoxelChange
from SegExplainLib.evaluation.stability import Rerun

RERUNS_NAME = "reruns.json"
RERUNS_VERSION = 1


@dataclass(frozen=True)
class RerunRecord:
    """Finished re-runs by a fingerprint of all that they depend on. Written anew after each of them.

    Attributes:
        path: Of the file.
    """

    path: Path
    _entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def at(cls, path: Path) -> Self:
        """What lies at the path; an empty record where there is no file.

        Raises:
            InvalidRequest: it is damaged, or of another version.
        """
        hint = f"Move {path.name} away: what it holds is then run again."
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != RERUNS_VERSION:
                raise InvalidRequest(f"{path} is of version {content['version']}, not {RERUNS_VERSION}.", hint)
            record = cls(path, dict(content["reruns"]))
            for key in record._entries:
                record.get(key)
            return record
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRequest(f"{path} cannot be read ({type(error).__name__}: {error}).", hint) from error

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> Rerun:
        """The re-run of that fingerprint, which must be there."""
        entry = self._entries[key]
        voxels = entry["voxels"] and VoxelChange(**{name: Metric(**metric) for name, metric in entry["voxels"].items()})
        amounts = None if entry["amounts"] is None else np.array(entry["amounts"], dtype=np.float64)
        number = None if entry["number"] is None else float(entry["number"])
        return Rerun(str(entry["kind"]), str(entry["name"]), amounts, number, voxels, str(entry["why_undefined"]))

    def image_of(self, key: str) -> str:
        """Digest of the image that the re-run was made with; empty where none was told."""
        return str(self._entries[key].get("image", ""))

    def put(self, key: str, rerun: Rerun, *, image: str = "") -> None:
        """Adds a re-run and writes the file; a reader never sees half of it.

        Raises:
            OutOfDisk: the disk is full.
        """
        self._entries[key] = {
            "kind": rerun.kind,
            "name": rerun.name,
            "amounts": None if rerun.amounts is None else [float(amount) for amount in rerun.amounts],
            "number": rerun.number,
            "voxels": None if rerun.voxels is None else asdict(rerun.voxels),
            "why_undefined": rerun.why_undefined,
            "image": image,
        }
        text = json.dumps({"version": RERUNS_VERSION, "reruns": self._entries}, indent=1, allow_nan=False)
        with atomic_path(self.path) as temporary:
            temporary.write_text(text, encoding="utf-8")
