"""What a change of HU does to the network's input."""

from dataclasses import dataclass

import numpy as np
import torch

from SegExplainLib.contract import UnusableModel
from SegExplainLib.model.segmenter import NetworkInput, Segmenter

# Off the round numbers, because some normalisations treat 0 HU as "no image".
PROBES_HU = np.arange(-1100.0, 3100.0, 25.0) + 0.37
# Float32 input values of a line differ from it by less than this share of their range.
ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class HuScale:
    """The network's intensity normalisation: a line between two clips.

    Attributes:
        slope: float32 (channels, 1, 1, 1), input per HU.
        intercept: float32 (channels, 1, 1, 1), input at 0 HU, were it not clipped.
        low: float32 (channels, 1, 1, 1), smallest input that a CT can give.
        high: float32 (channels, 1, 1, 1), largest.
    """

    slope: torch.Tensor
    intercept: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    def input_of(self, hu: torch.Tensor) -> torch.Tensor:
        """(channels, k, j, i) of HU (k, j, i). Differentiable between the clips."""
        return torch.clamp(self.slope * hu + self.intercept, min=self.low, max=self.high)

    def edited(self, network_input: torch.Tensor, *, hu: torch.Tensor, edit_hu: torch.Tensor) -> torch.Tensor:
        """The network's input after a change of HU, clipped as the network's preprocessing clips.

        Exactly the input where the edit is 0, or where CT and edited CT are beyond the same clip.

        Args:
            network_input: float32 (channels, k, j, i).
            hu: float32 (k, j, i), the CT on the same grid; only decides what is beyond a clip.
            edit_hu: float32 (k, j, i).
        """
        changed = network_input + (self.input_of(hu + edit_hu) - self.input_of(hu))
        low, high = torch.minimum(self.low, network_input), torch.maximum(self.high, network_input)
        return torch.clamp(changed, min=low, max=high)


def hu_scale(segmenter: Segmenter, prepared: NetworkInput) -> HuScale:
    """The scale of a case, found from what the segmenter says of single intensities.

    Raises:
        UnusableModel: the normalisation is no line between two clips.
    """
    values = np.stack([segmenter.input_value(float(hu), prepared) for hu in PROBES_HU]).astype(np.float64)
    low, high = values.min(axis=0), values.max(axis=0)
    lines = [_line(column, segmenter.name) for column in values.T]
    slope, intercept = np.array(lines).T
    fitted = np.clip(slope * PROBES_HU[:, None] + intercept, low, high)
    if (np.abs(fitted - values).max(axis=0) > ROUNDING * (high - low)).any():
        raise _no_line(segmenter.name)

    def per_channel(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=segmenter.device).reshape(-1, 1, 1, 1)

    return HuScale(per_channel(slope), per_channel(intercept), per_channel(low), per_channel(high))


def _line(values: np.ndarray, name: str) -> tuple[float, float]:
    """Slope and intercept by least squares over the probes between the clips."""
    margin = ROUNDING * (values.max() - values.min())
    is_between = (values > values.min() + margin) & (values < values.max() - margin)
    if is_between.sum() < 2:
        raise _no_line(name)
    slope, intercept = np.polyfit(PROBES_HU[is_between], values[is_between], 1)
    return float(slope), float(intercept)


def _no_line(name: str) -> UnusableModel:
    return UnusableModel(
        f"The intensity normalisation of {name} is not a line between two clips; a change of HU cannot be carried to "
        "the network's input.",
        "Choose a removal other than counterfactual.",
    )
