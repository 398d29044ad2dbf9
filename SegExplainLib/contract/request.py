"""One question, and what a request must hold to be served."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from SegExplainLib.contract.choices import (
    DIFFERENTIABLE_VALUES,
    GRADIENT_METHODS,
    METHODS,
    PATH_METHODS,
    REMOVALS,
    SAMPLING_METHODS,
    SHAPLEY_METHODS,
    SINGLE_REMOVALS,
    STOPS,
    UNIT_KINDS,
    VALUES,
)
from SegExplainLib.contract.errors import InvalidRequest, nearest_names

SCHEMA_VERSION = 1

READ_BY: dict[str, tuple[str, ...]] = {
    "stop_at": SAMPLING_METHODS,
    "top": SAMPLING_METHODS,
    "noise": ("smoothgrad", "smoothgrad-squared", "vargrad"),
    "layer": ("seg-grad-cam",),
    "float32": GRADIENT_METHODS,
    "xrai_fast": ("xrai",),
    "xrai_units": ("xrai",),
}
"""Fields that some methods alone read."""


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """All that defines one explanation. JSON-able; paths are strings.

    Attributes:
        ct: NIfTI, NRRD or MHA file, or a folder with one DICOM series.
        model: An nnU-Net v2 results folder, a MONAI bundle, or ``totalsegmentator:TASK_ID``.
        target: Class to explain, by name.
        roi: ``ijk:i0,i1,j0,j1,k0,k1`` (half-open voxel indices of the file), ``ras:x0,x1,y0,y1,z0,z1`` in mm,
            ``mask:PATH``, or ``segment:NAME+MARGIN_MM``.
        units: Who takes part in the game, one of ``UNIT_KINDS``.
        organs: Organ label map file; empty means the model's own prediction.
        unit_mm: Lattice edge of the FCC supervoxels in mm.
        reference: Mask file taken as the truth y; empty means the model's own unperturbed prediction.
        removal: What an absent unit looks like, one of ``REMOVALS``; with every unit absent it is the baseline of a
            path method.
        reference_cts: CTs that ``references`` is made from.
        value: What number is explained, one of ``VALUES``; for a gradient method one of ``DIFFERENTIABLE_VALUES``.
        method: One of ``METHODS``.
        budget: Most coalitions to evaluate, or gradients to take; 0 lets the pipeline choose.
        tolerance: Stop when the largest standard error is below this share of the range of the values; 0 never.
        stop_at: What a sampling run has to settle, one of ``STOPS``: ``values`` ends it at the tolerance, ``ranking``
            also once the ``top`` units of largest importance and their signs are settled, ties up to the tolerance.
        top: Units that the ranking is asked for.
        noise: Standard deviation of SmoothGrad's noise over the range of intensities.
        layer: That Seg-Grad-CAM looks at, by its name in the network; empty takes the bottleneck.
        float32: Take gradients in float32 where the framework would run in mixed precision (CUDA).
        xrai_fast: Rank XRAI's segments once, by their own mean, instead of anew after each.
        xrai_units: The units are segments of XRAI, too.
        seed: Of every random choice.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch: Tiles in one network call; 0 is automatic.
        mirroring: Test-time flips of an nnU-Net: ``model`` (as trained), ``off``.
        folds: Folds of an nnU-Net to average; empty means all that are there.
        trust_model: Allow a model file that executes code when it is opened.
    """

    ct: str
    model: str
    target: str
    roi: str
    units: str = "organs"
    organs: str = ""
    unit_mm: float = 30.0
    reference: str = ""
    removal: str = "local-mean"
    reference_cts: tuple[str, ...] = ()
    value: str = "soft-dice"
    method: str = "adjusted-shap"
    budget: int = 0
    tolerance: float = 0.05
    stop_at: str = "values"
    top: int = 5
    noise: float = 0.1
    layer: str = ""
    float32: bool = False
    xrai_fast: bool = False
    xrai_units: bool = False
    seed: int = 0
    device: str = "auto"
    batch: int = 0
    mirroring: str = "model"
    folds: tuple[str, ...] = ()
    trust_model: bool = False
    schema_version: int = SCHEMA_VERSION

    def problems(self) -> list[str]:
        """All faults that can be seen without opening a file; empty means valid."""
        found = [f"{name} is empty" for name in ("ct", "model", "target", "roi") if not getattr(self, name)]
        choices = {"units": UNIT_KINDS, "removal": REMOVALS, "value": VALUES, "method": METHODS}
        choices["stop_at"] = STOPS
        choices["mirroring"] = ("model", "off")
        for name, allowed in choices.items():
            given = getattr(self, name)
            if given not in allowed:
                found.append(f"{name} is {given!r}. {nearest_names(str(given), allowed)}")
        if not 0 < self.unit_mm < float("inf"):
            found.append(f"unit_mm is {self.unit_mm}; it must be a positive length in mm")
        if not 0 <= self.tolerance < 1:
            found.append(f"tolerance is {self.tolerance}; it must be at least 0 and below 1")
        if self.top < 1:
            found.append(f"top is {self.top}; it must be a positive number of units")
        if self.budget < 0:
            found.append(f"budget is {self.budget}; it must be 0 (automatic) or a positive count")
        if self.batch < 0:
            found.append(f"batch is {self.batch}; it must be 0 (automatic) or a positive count")
        if self.seed < 0:
            found.append(f"seed is {self.seed}; it must be 0 or more")
        if self.value == "fp-relative" and not self.reference:
            found.append(
                "value fp-relative needs a reference mask: without one the unperturbed CT has no false positives"
            )
        if not 0 < self.noise < float("inf"):
            found.append(f"noise is {self.noise}; it must be a positive share of the range of intensities")
        if self.schema_version != SCHEMA_VERSION:
            found.append(f"schema_version is {self.schema_version}; this version reads {SCHEMA_VERSION}")
        return found + self._contradictions()

    @property
    def uses_gradients(self) -> bool:
        """Whether the method needs derivatives of the network rather than coalitions of units."""
        return self.method in GRADIENT_METHODS

    @property
    def uses_removal(self) -> bool:
        """Whether the answer depends on what an absent unit looks like."""
        return self.method in SHAPLEY_METHODS or self.method in PATH_METHODS

    @property
    def settle(self) -> int:
        """Units whose ranking ends the run once it is settled; 0 where the values alone do."""
        return self.top if self.stop_at == "ranking" and self.method in SAMPLING_METHODS else 0

    @property
    def unused_options(self) -> tuple[str, ...]:
        """Fields that were given and that the method does not read."""
        defaults = {entry.name: entry.default for entry in fields(self)}
        return tuple(
            name
            for name, methods in READ_BY.items()
            if self.method not in methods and getattr(self, name) != defaults[name]
        )

    @property
    def n_baselines(self) -> int:
        """Images that the removal is."""
        return {"black-white": 2, "references": len(self.reference_cts)}.get(self.removal, 1)

    def _contradictions(self) -> list[str]:
        """Choices that are right by themselves and cannot go together."""
        found = []
        if self.uses_gradients and self.value in VALUES and self.value not in DIFFERENTIABLE_VALUES:
            found.append(
                f"value {self.value} counts labelled voxels and has no gradient; with {self.method} choose one of "
                f"{', '.join(DIFFERENTIABLE_VALUES)}"
            )
        if self.removal in REMOVALS and self.removal not in SINGLE_REMOVALS and self.method in SHAPLEY_METHODS:
            found.append(
                f"removal {self.removal} is several images, which only {', '.join(PATH_METHODS)} can start from; "
                f"{self.method} needs one of {', '.join(SINGLE_REMOVALS)}"
            )
        if self.stop_at == "values" and self.top != type(self).top:
            found.append(f"top is {self.top}, which only stop_at ranking looks at: give it, too")
        if (self.removal == "references") != bool(self.reference_cts):
            found.append("removal references and the CTs that it is made from (reference_cts) must be given together")
        return found

    def to_json(self) -> str:
        """Indented JSON text."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    def with_paths_from(self, folder: Path) -> Self:
        """The request with every path that exists below ``folder`` made absolute, a mask ROI's too."""
        found: dict[str, Any] = {
            name: _absolute(getattr(self, name), folder) for name in ("ct", "model", "organs", "reference")
        }
        found["reference_cts"] = tuple(_absolute(path, folder) for path in self.reference_cts)
        kind, _, rest = self.roi.partition(":")
        if kind.strip() == "mask":
            found["roi"] = "mask:" + _absolute(rest.strip(), folder)
        return replace(self, **found)

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Self:
        """A request from decoded JSON.

        Raises:
            InvalidRequest: a key is unknown or missing, or a value has the wrong type.
        """
        known = {entry.name: entry for entry in fields(cls)}
        unknown = [key for key in given if key not in known]
        if unknown:
            raise InvalidRequest(f"The request has the unknown key {unknown[0]!r}.", nearest_names(unknown[0], known))
        missing = [name for name in ("ct", "model", "target", "roi") if name not in given]
        if missing:
            raise InvalidRequest(f"The request lacks {', '.join(missing)}.", "Add what is missing to request.json.")
        return cls(**{key: _as_type(key, value, known[key].type) for key, value in given.items()})


def _absolute(path: str, folder: Path) -> str:
    try:
        # Links are not followed: what a file is called says of what kind it is.
        return str((folder / path).absolute()) if path and (folder / path).exists() else path
    except (OSError, ValueError):  # a name that no file can have: the reader says so
        return path


def _as_type(key: str, value: Any, kind: Any) -> Any:
    """``value`` if it is of the field's type, with int for float and a list for a tuple allowed."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == tuple[str, ...]:
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return tuple(value)
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    kind_name = getattr(kind, "__name__", str(kind))
    raise InvalidRequest(f"The request's {key} is {value!r}; expected {kind_name}.", "Mend request.json.")
