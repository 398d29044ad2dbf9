"""Importances as orders: which unit goes first."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SegExplainLib.contract import InvalidRequest, nearest_names
from SegExplainLib.evaluation.map_sign import is_flat

ORDERS = ("value", "absolute", "value-per-ml", "absolute-per-ml", "volume", "random")
"""What makes a unit important:

- value: what raises the number most goes first. The order for curves that should fall: a unit with a negative value
  speaks against the number, and its removal raises it.
- absolute: what moves the number most, up or down.
- value-per-ml, absolute-per-ml: the same by millilitre, for curves over the removed volume.
- volume: the largest unit first. Knows nothing of the network; an explanation should do better.
- random: knows nothing at all.
"""

TIES = 1
"""Stream of the draws: by the seed alone ties would fall as the first random order that they are held against."""


def unit_order(kind: str, importances: ArrayLike, *, volumes_ml: ArrayLike, seed: int = 0) -> NDArray[np.int64]:
    """(n_units,) unit numbers, most important first; reversed, it is the order by least important first.

    Units of equal importance stand in random order, so that how units are numbered favours nobody.

    Args:
        kind: One of ``ORDERS``.
        importances: (n_units,), finite; for "volume" and "random" only their number matters.
        volumes_ml: (n_units,), positive.
        seed: Of ties and of "random".

    Raises:
        InvalidRequest: the kind is unknown, an importance is not finite, a volume not positive, or lengths differ.
    """
    keys = _keys(kind, importances, volumes_ml)
    shuffled = np.random.default_rng([seed, TIES]).permutation(len(keys))
    return shuffled[np.argsort(-keys[shuffled], kind="stable")]


def why_unranked(kind: str, importances: ArrayLike, *, volumes_ml: ArrayLike) -> str:
    """Why a kind of order says nothing of these units; empty where it does rank them, and for "random"."""
    keys = _keys(kind, importances, volumes_ml)
    if len(keys) == 1:
        return "There is one unit only: nothing to rank."
    if is_flat(keys) and kind != "random":
        return "All units are equally important: nothing to rank."
    return ""


def _keys(kind: str, importances: ArrayLike, volumes_ml: ArrayLike) -> NDArray[np.float64]:
    """(n_units,), largest for the most important."""
    values = finite_importances(importances)
    volumes = positive_volumes(volumes_ml, n_units=len(values))
    keys = {
        "value": values,
        "absolute": np.abs(values),
        "value-per-ml": values / volumes,
        "absolute-per-ml": np.abs(values) / volumes,
        "volume": volumes,
        "random": np.zeros(len(values)),
    }
    if kind not in keys:
        raise InvalidRequest(f"There is no order of units named {kind!r}.", nearest_names(kind, ORDERS))
    return keys[kind]


def finite_importances(importances: ArrayLike) -> NDArray[np.float64]:
    """float64 (n_units,).

    Raises:
        InvalidRequest: they are not a row of finite numbers, or there are none.
    """
    values = np.asarray(importances, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise InvalidRequest(f"Importances must be one number for each unit, got an array of shape {values.shape}.")
    if not np.isfinite(values).all():
        raise InvalidRequest(
            f"{np.count_nonzero(~np.isfinite(values))} of {len(values)} importances are not finite.",
            "Evaluate a finished result.",
        )
    return values


def positive_volumes(volumes_ml: ArrayLike, *, n_units: int) -> NDArray[np.float64]:
    """float64 (n_units,).

    Raises:
        InvalidRequest: they are not ``n_units`` positive numbers.
    """
    volumes = np.asarray(volumes_ml, dtype=np.float64)
    if volumes.shape != (n_units,):
        raise InvalidRequest(f"There must be one volume for each of {n_units} units, got shape {volumes.shape}.")
    if not (np.isfinite(volumes).all() and (volumes > 0).all()):
        raise InvalidRequest("Every unit must have a positive volume.")
    return volumes


def checked_order(order: Sequence[int] | NDArray[np.int64], *, n_units: int) -> NDArray[np.int64]:
    """int64 (n_units,).

    Raises:
        InvalidRequest: it does not name each of ``n_units`` units once.
    """
    numbers = np.asarray(order)
    if numbers.shape != (n_units,) or not np.array_equal(np.sort(numbers), np.arange(n_units)):
        raise InvalidRequest(f"An order must name each of {n_units} units once, got {numbers.tolist()}.")
    return numbers.astype(np.int64)
