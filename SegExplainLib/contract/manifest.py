"""What finished results say of themselves."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from SegExplainLib.contract.errors import InvalidRequest
from SegExplainLib.contract.request import SCHEMA_VERSION

ESTIMATE_KEYS = ("stop_reason", "n_evaluations", "relative_error", "empty_value", "full_value", "quantity", "unit")


@dataclass(frozen=True, kw_only=True)
class ResultManifest:
    """What a results folder says of itself; written last, so that its presence means success.

    Attributes:
        request: The request as served, with automatic choices filled in.
        versions: Package name -> version.
        device: Where the network ran.
        classes: Names of the classes that can be explained.
        answer: The plain-words sentences that open the report.
        estimate: Stop reason, evaluations, empty and full value, relative error, unit of the value.
        counts: Tiles, network evaluations, reuse, bytes.
        timings_s: Stage -> seconds.
        warnings: What the user should know.
        files: File name -> sha256.
        evaluation: What the last evaluation said of it (``evaluated_results.evaluation_summary``); empty before one.
    """

    request: dict[str, Any]
    versions: dict[str, str]
    device: str
    classes: list[str]
    answer: list[str]
    estimate: dict[str, Any]
    counts: dict[str, float]
    timings_s: dict[str, float]
    warnings: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Indented JSON text."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a finished results folder.

        Raises:
            InvalidRequest: the folder holds no manifest, or one that cannot be read.
        """
        path = folder / "manifest.json"
        try:
            manifest = cls(**json.loads(path.read_text(encoding="utf-8")))
            if manifest.schema_version != SCHEMA_VERSION:
                raise ValueError(f"schema_version is {manifest.schema_version}; this version reads {SCHEMA_VERSION}")
            missing = [key for key in ESTIMATE_KEYS if key not in manifest.estimate]
            if missing:
                raise ValueError(f"its estimate lacks {', '.join(missing)}")
            return manifest
        except FileNotFoundError as error:
            raise InvalidRequest(
                f"{folder} is not a finished results folder: it has no manifest.json.",
                "Give the folder that `segexplain explain --out` made, or finish it with --resume.",
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise InvalidRequest(f"{path} cannot be read ({error}).", "Run the explanation again.") from error
