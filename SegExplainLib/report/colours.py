"""Colour scales for voxels, segments, bars and the page. Needs numpy alone.

Values of either sign get one diverging scale about zero: red (warm) is positive, blue is negative, of like lightness;
the pair stays apart under every common colour blindness. Values that cannot be negative get a sequential one, from dark
purple to orange, which grows lighter in even steps, so that it reads without colours too; it ends short of the yellow
and the white of the contours.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

POSITIVE_HEX = "#d7301f"
NEGATIVE_HEX = "#1f6fd6"
NEUTRAL_HEX = "#ececec"

MAX_OPACITY = 0.75
"""Of the strongest value on a picture: the CT must stay readable underneath."""

ROBUST_SHARE = 0.999
"""Of voxels: those that the colours of a voxel map tell apart; the few beyond look like the last. In Slicer, too."""

_STOPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
_STOP_HEX = (NEGATIVE_HEX, "#7fb0ee", NEUTRAL_HEX, "#f19a82", POSITIVE_HEX)
_STOP_RGB = np.array([[int(code[at : at + 2], 16) / 255 for at in (1, 3, 5)] for code in _STOP_HEX])

# Of matplotlib's plasma (CC0), perceptually even: every tenth from 0.1 to 0.8.
_SEQUENTIAL_HEX = ("#41049d", "#6a00a8", "#8f0da4", "#b12a90", "#cc4778", "#e16462", "#f2844b", "#fca636")
_SEQUENTIAL_RGB = np.array([[int(code[at : at + 2], 16) / 255 for at in (1, 3, 5)] for code in _SEQUENTIAL_HEX])
SEQUENTIAL_HEX = _SEQUENTIAL_HEX[3]
"""Of bars whose length already tells the value."""


def symmetric_limit(values: ArrayLike) -> float:
    """The largest finite absolute value: the scale runs from minus to plus this. 1 when there is none."""
    finite = np.abs(np.asarray(values, dtype=np.float64))
    finite = finite[np.isfinite(finite)]
    largest = float(finite.max(initial=0.0))
    return largest if largest > 0 else 1.0


def diverging_rgb(values: ArrayLike, *, limit: float) -> NDArray[np.float64]:
    """(..., 3) in 0..1: opaque colours of ``values`` (...). Beyond ``limit`` as at the limit; nan is neutral."""
    scaled = np.nan_to_num(np.clip(np.asarray(values, dtype=np.float64) / limit, -1.0, 1.0))
    return np.stack([np.interp(scaled, _STOPS, channel) for channel in _STOP_RGB.T], axis=-1)


def diverging_rgba(values: ArrayLike, *, limit: float) -> NDArray[np.float64]:
    """(..., 4) in 0..1: `diverging_rgb` with an opacity that rises with the magnitude, and is 0 at zero."""
    strength = np.nan_to_num(np.clip(np.abs(np.asarray(values, dtype=np.float64)) / limit, 0.0, 1.0))
    # Hue must speak already where the opacity is low, hence full colours and a root: 10 % of the limit gets 0.25.
    hue = diverging_rgb(np.sign(values) * (0.6 + 0.4 * strength), limit=1.0)
    return np.concatenate([hue, (MAX_OPACITY * np.sqrt(strength))[..., np.newaxis]], axis=-1)


def sequential_rgb(values: ArrayLike, *, limit: float) -> NDArray[np.float64]:
    """(..., 3) in 0..1: opaque colours of ``values`` (...) from 0 to ``limit``; beyond as at the ends, nan as 0."""
    scaled = np.nan_to_num(np.clip(np.asarray(values, dtype=np.float64) / limit, 0.0, 1.0))
    stops = np.linspace(0.0, 1.0, len(_SEQUENTIAL_RGB))
    return np.stack([np.interp(scaled, stops, channel) for channel in _SEQUENTIAL_RGB.T], axis=-1)


def sequential_rgba(values: ArrayLike, *, limit: float) -> NDArray[np.float64]:
    """(..., 4) in 0..1: `sequential_rgb` with an opacity that rises with the value, and is 0 at zero."""
    strength = np.nan_to_num(np.clip(np.asarray(values, dtype=np.float64) / limit, 0.0, 1.0))
    opacity = MAX_OPACITY * np.sqrt(strength)
    return np.concatenate([sequential_rgb(values, limit=limit), opacity[..., np.newaxis]], axis=-1)


def hex_of(rgb: ArrayLike) -> str:
    """``#rrggbb`` of a colour (3,) in 0..1."""
    return "#" + "".join(f"{round(255 * float(channel)):02x}" for channel in np.asarray(rgb))
