"""On which scale and in which colours values are shown: in their unit or in percent, with a sign or without."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.colours import (
    NEGATIVE_HEX,
    POSITIVE_HEX,
    ROBUST_SHARE,
    SEQUENTIAL_HEX,
    diverging_rgb,
    diverging_rgba,
    sequential_rgb,
    sequential_rgba,
    symmetric_limit,
)
from SegExplainLib.report.methods import method_words, uses_gradients
from SegExplainLib.report.wording import story_words

RELATIVE = "relative"
PERCENT = "percent"
"""Of the largest absolute value of a unit: how values are shown of which only ratios mean something."""


def as_shown(attribution: Attribution) -> Attribution:
    """The attribution with values and errors as people see them; the voxel map and the tables' values stay."""
    if attribution.unit != RELATIVE:
        return attribution
    factor = 100.0 / symmetric_limit(attribution.player_values)
    return replace(
        attribution,
        player_values=attribution.player_values * factor,
        standard_errors=attribution.standard_errors * factor,
        unit=PERCENT,
    )


def shares_out_difference(attribution: Attribution) -> bool:
    """Whether the values are parts of a difference between two numbers, in that number's unit."""
    return attribution.adds_up and attribution.unit not in (RELATIVE, PERCENT)


def mean_per_ml(attribution: Attribution) -> float:
    """The size of the values of all units over their volume together: what a unit's value per ml is compared with."""
    return float(np.abs(attribution.player_values).sum() / attribution.partition.volumes_ml.sum())


def is_unsampled(attribution: Attribution) -> bool:
    """Whether there are no standard errors because nothing was left to chance."""
    is_without = bool(np.isnan(attribution.standard_errors).all())
    return is_without and uses_gradients(attribution.method) and not method_words(attribution.method).is_sampled


def map_limit(attribution: Attribution) -> float:
    """Where the colours of the pictures end: the largest value of a unit; of a voxel map a high quantile of its size.

    A gradient has a few voxels far beyond all others, which would leave the picture empty.
    """
    if attribution.voxel_map is None:
        return symmetric_limit(attribution.player_values)
    sizes = np.abs(attribution.voxel_map[attribution.partition.labels > 0])
    sizes = sizes[np.isfinite(sizes)]
    robust = float(np.quantile(sizes, ROBUST_SHARE)) if sizes.size else 0.0
    return robust or symmetric_limit(sizes)


def picture_rgba(attribution: Attribution, values: ArrayLike, *, limit: float) -> NDArray[np.float64]:
    """(..., 4) in 0..1: translucent colours of values (...) for pictures over the CT."""
    colours = diverging_rgba if method_words(attribution.method).is_signed else sequential_rgba
    return colours(values, limit=limit)


def unit_rgb(attribution: Attribution, values: ArrayLike, *, limit: float) -> NDArray[np.float64]:
    """(..., 3) in 0..1: opaque colours of the values (...) of units."""
    colours = diverging_rgb if method_words(attribution.method).is_signed else sequential_rgb
    return colours(values, limit=limit)


def bar_hex(attribution: Attribution, value: float) -> str:
    """``#rrggbb`` of a bar, by the sign of its value where values have signs."""
    if not method_words(attribution.method).is_signed:
        return SEQUENTIAL_HEX
    return POSITIVE_HEX if value > 0 else NEGATIVE_HEX


def sign_words(attribution: Attribution) -> tuple[str, str]:
    """What positive and what negative values mean, in a few words; empty for values that cannot be negative."""
    words = method_words(attribution.method)
    if not words.is_signed:
        return "", ""
    story = story_words(attribution.quantity)
    return words.raised or story.raised, words.lowered or story.lowered
