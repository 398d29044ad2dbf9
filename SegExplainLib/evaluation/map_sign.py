"""Which side of a signed map is judged: what speaks for the label, what speaks against it, or both; or nothing."""

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest, nearest_names

SIGNS = ("positive", "negative", "absolute", "signed")
ROUNDING = 1e-6
"""Of the largest size: some units in the last place of single precision, in which maps are stored and interpolated."""


def of_sign(values: NDArray, *, sign: str) -> NDArray:
    """The side of ``values`` (any shape) that is judged, as floating-point numbers.

    "positive" is max(a, 0), what speaks for the label; "negative" is max(-a, 0), what speaks against it; "absolute" is
    |a|; "signed" leaves them as they are.

    Raises:
        InvalidRequest: there is no such sign, or a value is not finite.
    """
    if sign not in SIGNS:
        raise InvalidRequest(f"A map has no side {sign!r}.", nearest_names(sign, SIGNS))
    values = np.asarray(values)
    values = values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)
    if not np.isfinite(values).all():
        raise InvalidRequest(
            "The values to be judged are not all finite (NaN or infinite).", "Check the run that made them."
        )
    if sign == "positive":
        return np.maximum(values, 0)
    if sign == "negative":
        return np.maximum(-values, 0)
    return np.abs(values) if sign == "absolute" else values


def why_flat(judged: NDArray, *, sign: str) -> str:
    """A sentence why values of a side rank nothing: there are none, or all are equal; empty where they rank."""
    if not judged.any():
        return "All values are zero." if sign in ("absolute", "signed") else f"No value is {sign}."
    return "All values are equal." if is_flat(judged) else ""


def is_flat(values: NDArray) -> bool:
    """Whether finite values (any shape, not empty) are equal but for rounding, so that their order says nothing."""
    low, high = float(values.min()), float(values.max())
    return high - low <= ROUNDING * max(abs(low), abs(high))
