"""What a MONAI preprocessing does to one intensity: the composition of its pointwise steps, in the order they run."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    MapTransform,
    NormalizeIntensityd,
    ScaleIntensityd,
    ScaleIntensityRanged,
    ShiftIntensityd,
    ThresholdIntensityd,
)

from SegExplainLib.contract import UnusableModel

# The same for every case.
FIXED_STEPS = (ScaleIntensityRanged, ThresholdIntensityd, ShiftIntensityd)
# Affine, with statistics of the case unless both constants are given.
CASE_STEPS = (NormalizeIntensityd, ScaleIntensityd)


@dataclass
class IntensityMap:
    """HU -> network input, as it was for one case.

    Attributes:
        steps: Each takes a value to the next.
        is_centred: True when the last step subtracts the mean, so that 0 stands for it.
    """

    steps: list[Callable[[float], float]] = field(default_factory=list)
    is_centred: bool = False

    def __call__(self, hu: float) -> float:
        """The value of a voxel of ``hu``.

        Raises:
            UnusableModel: a step is not pointwise, or not known to be.
        """
        value = float(hu)
        for step in self.steps:
            value = step(value)
        return value


def run_recorded(
    preprocessing: Compose, data: dict[Hashable, Any], *, key: Hashable
) -> tuple[dict[Hashable, Any], IntensityMap]:
    """The preprocessed data, and what the preprocessing did to each intensity of this case.

    Args:
        preprocessing: Transforms of dictionaries, without the reading of files.
        data: ``key`` holds the CT as a MetaTensor (1, i, j, k).
        key: Where the image is.
    """
    if preprocessing.lazy:
        # Lazy transforms are fused into one resampling, which step by step would undo.
        return preprocessing(data), IntensityMap([_unknown("lazy resampling")])
    record = IntensityMap()
    flat = preprocessing.flatten()
    for number, transform in enumerate(flat.transforms):
        before = data[key].clone() if _needs_case(transform) else None
        data = flat(data, start=number, end=number + 1)
        step = _step(transform, key, before, data[key])
        if step is not None:
            record.steps.append(step)
            record.is_centred = isinstance(transform, NormalizeIntensityd)
    return data, record


def _needs_case(transform: Any) -> bool:
    if isinstance(transform, NormalizeIntensityd):
        normalizer = transform.normalizer
        return normalizer.subtrahend is None or normalizer.divisor is None
    return isinstance(transform, ScaleIntensityd)


def _step(
    transform: Any, key: Hashable, before: MetaTensor | None, after: MetaTensor
) -> Callable[[float], float] | None:
    """The pointwise map of one transform; None when it moves voxels but leaves values."""
    if before is not None:
        return _affine_step(before, after, keeps_zero=getattr(getattr(transform, "normalizer", None), "nonzero", False))
    if isinstance(transform, (*FIXED_STEPS, NormalizeIntensityd)):
        return _fixed_step(transform, key)
    module = type(transform).__module__
    if module.startswith(("monai.transforms.spatial.", "monai.transforms.croppad.", "monai.transforms.utility.")):
        return None
    return _unknown(type(transform).__name__)


def _affine_step(before: MetaTensor, after: MetaTensor, *, keeps_zero: bool) -> Callable[[float], float]:
    """y = slope * x + offset, recovered from the darkest and the brightest voxel that the transform changed."""
    x, y = before.as_tensor().flatten().double(), after.as_tensor().flatten().double()
    if keeps_zero:
        x, y = x[x != 0], y[x != 0]
    low, high = int(x.argmin()), int(x.argmax())
    width = float(x[high] - x[low])
    slope = float(y[high] - y[low]) / width if width else 0.0
    offset = float(y[low]) - slope * float(x[low])
    return lambda value: 0.0 if keeps_zero and value == 0 else slope * value + offset


def _fixed_step(transform: MapTransform, key: Hashable) -> Callable[[float], float]:
    def step(value: float) -> float:
        one_voxel = MetaTensor(torch.full((1, 1, 1, 1), value, dtype=torch.float32))
        return float(transform({key: one_voxel})[key].as_tensor().flatten()[0])

    return step


def _unknown(what: str) -> Callable[[float], float]:
    def step(value: float) -> float:
        raise UnusableModel(
            f"What an intensity of {value:g} becomes cannot be told: the bundle's preprocessing has {what}, "
            "which is not a known map of single intensities.",
            "Choose a removal that needs no HU value, or a bundle with "
            f"{', '.join(kind.__name__ for kind in known_steps())} alone.",
        )

    return step


def known_steps() -> Sequence[type]:
    """The intensity transforms whose map is known."""
    return (*FIXED_STEPS, *CASE_STEPS)


def mean_of(array: np.ndarray, is_padding: np.ndarray | None) -> float:
    """The mean of (k, j, i) without padding, summed in float64."""
    values = array if is_padding is None else array[~is_padding]
    return float(values.mean(dtype=np.float64))
