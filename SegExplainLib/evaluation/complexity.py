"""How much a reader has to take in: whether few values carry an explanation, or all carry a little.

Plain is not faithful: one unit named alone is as simple as can be, whether it matters or not.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.map_sign import of_sign

LEAST_SHARE = 0.1
"""Of the largest size counts as effective: Agg2Exp's threshold."""


@dataclass(frozen=True)
class Complexity:
    """How values, by their sizes |a|, are spread over units or voxels.

    All but ``n_values`` are None where there are fewer than two values, or all are zero.

    Attributes:
        n_values: Units or voxels.
        n_effective: With a size above a share of the largest.
        effective_share: Of all values; lower is simpler.
        sparseness: Gini index of the sizes: 0 where all are equal, ``1 - 1 / n_values`` where one has everything.
        entropy: Of the sizes' shares, in nats: 0 where one has everything, ``log(n_values)`` where all are equal.
        relative_entropy: ``entropy / log(n_values)``, to compare kinds of units; 0 to 1.
        why_undefined: A sentence, where there are none.
    """

    n_values: int
    n_effective: int | None = None
    effective_share: float | None = None
    sparseness: float | None = None
    entropy: float | None = None
    relative_entropy: float | None = None
    why_undefined: str = ""


def complexity(values: NDArray, *, least_share: float = LEAST_SHARE) -> Complexity:
    """Effective complexity, sparseness and entropy of unit values, or of a voxel map in a domain.

    None of them depends on scale, on sign, or on the order of values. A voxel map has many more values than there are
    units: compare like with like.

    Args:
        values: Any shape, such as (n_players,) or ``voxel_map[within]``.
        least_share: Of the largest size, 0 or more and below 1.

    Raises:
        InvalidRequest: there is no value, one is not finite, or ``least_share`` is no such share.

    References:
        Nguyen & Martinez (2020), On quantitative aspects of model interpretability, for effective complexity, with the
        threshold on sizes of Chrabaszcz et al. (2025), Agg2Exp; Chalasani et al. (2020), Concise explanations of neural
        networks using adversarial training, for the Gini index; Bhatt et al. (2020), Evaluating and aggregating
        feature-based model explanations, for entropy.
    """
    if not 0.0 <= least_share < 1.0:
        raise InvalidRequest(f"A share of the largest value lies from 0 to below 1; found {least_share}.")
    sizes = np.sort(of_sign(values, sign="absolute"), axis=None).astype(np.float64)
    n = len(sizes)
    if n == 0:
        raise InvalidRequest("There is no value whose spread could be told.", "Check that the domain is not empty.")
    if n == 1:
        return Complexity(n, why_undefined="There is one value only.")
    if sizes[-1] == 0.0:
        return Complexity(n, why_undefined="All values are zero.")
    sizes /= sizes[-1]  # sums neither overflow nor vanish, whatever the scale
    shares = sizes / sizes.sum()
    n_effective = int((sizes > least_share).sum())
    entropy = max(0.0, float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()))
    return Complexity(
        n,
        n_effective,
        n_effective / n,
        sparseness=float(((2.0 * np.arange(1, n + 1) - n - 1) * shares).sum() / n),
        entropy=entropy,
        relative_entropy=entropy / math.log(n),
    )
