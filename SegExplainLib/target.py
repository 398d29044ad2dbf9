"""What number is explained: sums over the region's voxels for every class, and the quantities that follow from them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.contract import VALUES, InvalidRequest, nearest_names

SUMS = ("tp", "fp", "fn", "p", "p_y", "p_p", "logit", "logit_y")
"""Columns of a tally, for y the reference, s the predicted mask, p the probability, all over the region's voxels:
counts of s and y, s without y, y without s; sums of p, p*y, p^2, logit, logit*y."""

UNITS = {
    "tp": "voxels",
    "tp-share": "share",
    "dice": "share",
    "soft-dice": "share",
    "fp": "voxels",
    "fp-share": "share",
    "fp-relative": "share",
    "fn": "voxels",
    "mean-logit": "logit",
    "soft-volume": "ml",
}


def predicted_mask(logits: torch.Tensor, *, is_exclusive: bool) -> torch.Tensor:
    """bool, the shape of ``logits`` (..., n_channels, n_voxels): which channels label a voxel.

    Exclusive channels: the one with the largest logit, the first of equals. Others: sigmoid above one half.
    """
    if not is_exclusive:
        return torch.sigmoid(logits) > 0.5
    best = logits.argmax(dim=-2, keepdim=True)
    return torch.zeros_like(logits, dtype=torch.bool).scatter_(-2, best, True)


def region_tally(logits: torch.Tensor, reference: torch.Tensor, *, is_exclusive: bool) -> torch.Tensor:
    """float64 (n, n_channels, 8): the sums ``SUMS`` over the region's voxels, for every channel at once.

    Differentiable in ``logits`` where the quantity is (the columns p, p_y, p_p, logit, logit_y).

    Args:
        logits: float32 (n, n_channels, n_voxels), fused.
        reference: bool (n_channels, n_voxels), y of each channel.
        is_exclusive: Softmax over the channels, or a sigmoid for each.
    """
    mask = predicted_mask(logits, is_exclusive=is_exclusive)
    probability = torch.softmax(logits, dim=-2) if is_exclusive else torch.sigmoid(logits)
    y = reference.to(logits.dtype)
    columns = (
        (mask & reference).sum(-1),
        (mask & ~reference).sum(-1),
        (~mask & reference).sum(-1),
        probability.sum(-1, dtype=torch.float64),
        (probability * y).sum(-1, dtype=torch.float64),
        (probability * probability).sum(-1, dtype=torch.float64),
        logits.sum(-1, dtype=torch.float64),
        (logits * y).sum(-1, dtype=torch.float64),
    )
    return torch.stack([column.to(torch.float64) for column in columns], dim=-1)


@dataclass(frozen=True)
class TargetScore:
    """A quantity of one class, computed from tallies.

    With y the reference and s, p the predicted mask and probability under a coalition, over the region's voxels:
    tp, fp, fn count voxels; tp-share is TP / sum y; fp-share is FP / sum s (0 where s is empty); fp-relative is FP
    over the FP of the unperturbed CT; dice is 2 TP / (sum s + sum y); soft-dice is 2 sum p y / (sum p + sum y);
    mean-logit is the mean logit over y; soft-volume is sum p in ml. The paper (arXiv 2604.11775) names TP, Dice, soft
    Dice, FP and normalised forms without equations that we know of: these are our reconstruction.

    Attributes:
        quantity: One of ``contract.VALUES``.
        voxel_volume_ml: Of the network's grid, on which voxels are counted.
        full_fp: False positives of the unperturbed CT, for fp-relative.
    """

    quantity: str
    voxel_volume_ml: float
    full_fp: float = 0.0

    def __post_init__(self) -> None:
        if self.quantity not in VALUES:
            raise InvalidRequest(f"There is no value {self.quantity!r}.", nearest_names(self.quantity, VALUES))

    @property
    def unit(self) -> str:
        """Unit of the explained number."""
        return UNITS[self.quantity]

    def of(self, tally: NDArray | torch.Tensor) -> NDArray | torch.Tensor:
        """The quantity (...) of tallies (..., 8), numpy arrays or tensors alike."""
        tp, fp, fn, p, p_y, _, _, logit_y = (tally[..., column] for column in range(len(SUMS)))
        y = tp + fn
        match self.quantity:
            case "tp":
                return tp
            case "tp-share":
                return tp / y
            case "dice":
                return 2 * tp / (2 * tp + fp + fn)
            case "soft-dice":
                return 2 * p_y / (p + y)
            case "fp":
                return fp
            case "fp-share":
                s = tp + fp
                return fp / (s + (s == 0))
            case "fp-relative":
                return fp / self.full_fp
            case "fn":
                return fn
            case "mean-logit":
                return logit_y / y
            case _:
                return p * self.voxel_volume_ml


def target_score(quantity: str, full_tally: NDArray[np.float64], *, voxel_volume_ml: float, name: str) -> TargetScore:
    """The quantity for one class, checked against its unperturbed tally (8,).

    Raises:
        InvalidRequest: the quantity is undefined or constant here: the region holds no voxel of the class.
    """
    tp, fp, fn = full_tally[:3]
    score = TargetScore(quantity, voxel_volume_ml, full_fp=float(fp))
    if quantity == "fp-relative" and fp == 0:
        raise InvalidRequest(
            f"The unperturbed prediction has no false positive of {name!r} in the ROI, so fp-relative is undefined.",
            "Give a reference mask that differs from the prediction, or use --value fp.",
        )
    if tp + fn == 0 and not quantity.startswith("fp") and quantity != "soft-volume":
        raise InvalidRequest(
            f"The ROI holds no voxel of {name!r} in the reference.",
            "Move or enlarge the ROI, or give the missing structure as --reference MASK.",
        )
    if tp + fp + fn == 0:
        raise InvalidRequest(
            f"The ROI holds no voxel of {name!r}, neither predicted nor in the reference.",
            "Move or enlarge the ROI, or choose another class.",
        )
    return score
