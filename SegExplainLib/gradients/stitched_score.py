"""The explained number as a differentiable function of the network's input."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.function import once_differentiable

from SegExplainLib.case import PreparedCase
from SegExplainLib.contract import DIFFERENTIABLE_VALUES, InvalidRequest
from SegExplainLib.gradients.backward import OnGraph, StitchedNetwork
from SegExplainLib.model.segmenter import SegmentClass, Segmenter
from SegExplainLib.target import TargetScore, predicted_mask, region_tally, target_score

LINEAR = ("mean-logit",)
"""Quantities that are linear in the logits: their gradient needs no forward pass before it."""
ENTRIES_AT_ONCE = 2**19
"""Channels times voxels that are differentiated together: 2 MiB for each of a dozen intermediate results."""


@dataclass(frozen=True, eq=False)
class ExplainedNumber:
    """One quantity of one class, from the fused logits of the region's bounding box.

    Attributes:
        score: The quantity, checked against the unperturbed tally.
        channel: Of the class.
        voxels: int64 (n_voxels,), flat indices of the region in the box.
        reference: bool (n_channels, n_voxels), y of each channel.
        is_exclusive: Softmax over the channels, or a sigmoid for each.

    Raises:
        InvalidRequest: the quantity has no gradient.
    """

    score: TargetScore
    channel: int
    voxels: torch.Tensor
    reference: torch.Tensor
    is_exclusive: bool

    def __post_init__(self) -> None:
        require_differentiable(self.score.quantity)

    @property
    def is_linear(self) -> bool:
        """True when the number is linear in the logits."""
        return self.score.quantity in LINEAR

    def of(self, logits: torch.Tensor) -> torch.Tensor:
        """float64 (), differentiable, of fused logits (n_channels, k, j, i) of the box."""
        return torch.as_tensor(self.score.of(self._tally(logits.flatten(1)[:, self.voxels], self.reference)))

    def replace_by_derivative(self, logits: torch.Tensor) -> float:
        """The number; fused logits (n_channels, k, j, i) of the box become its derivative by them.

        In place and a few voxels at a time, since the logits of a large region weigh as much as a tile's graph.
        """
        flat = logits.view(len(logits), -1)
        n_at_once = max(1, ENTRIES_AT_ONCE // len(logits))
        blocks = list(zip(self.voxels.split(n_at_once), self.reference.split(n_at_once, dim=1), strict=True))
        with torch.inference_mode(False), torch.enable_grad():
            tally = sum(self._tally(flat[:, voxels], reference).detach() for voxels, reference in blocks)
            tally = torch.as_tensor(tally).requires_grad_()
            number = torch.as_tensor(self.score.of(tally))
            (by_tally,) = torch.autograd.grad(number, tally)
            for voxels, reference in blocks:
                leaf = flat[:, voxels].requires_grad_()
                (derivative,) = torch.autograd.grad(self._tally(leaf, reference), leaf, by_tally)
                flat[:, voxels] = derivative
        is_outside = torch.ones(flat.shape[1], dtype=torch.bool, device=flat.device)
        is_outside[self.voxels] = False
        flat[:, is_outside] = 0.0
        return number.item()

    def _tally(self, logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        return region_tally(logits, reference, is_exclusive=self.is_exclusive)[self.channel]


class StitchedScore(torch.nn.Module):
    """The explained number of one CT as a function of the network's input, cut to the reach of the region.

    A module from images (batch, channels, k, j, i) to numbers (batch,), for captum or any other library. It takes the
    gradient on the way forward, one image and one tile at a time, and keeps that instead of a graph. A number that is
    linear in the logits costs every tile one forward and one backward run; any other needs all fused logits before the
    first gradient, and so a second forward run of all tiles but ``network.kept_graphs``; not for the CT as it is, whose
    logits are known.

    Attributes:
        network: From images to fused logits.
        number: From fused logits to the number.
        image: float32 (channels, k, j, i), the CT as the network sees it, cut to the reach.
        full_logits: float32 (n_channels, k, j, i) of the region's box, fused, of the CT as it is.
        full_value: The number of the CT as it is.
    """

    def __init__(
        self,
        network: StitchedNetwork,
        number: ExplainedNumber,
        network_input: NDArray[np.float32],
        *,
        full_logits: torch.Tensor,
    ) -> None:
        """Takes the whole network input (channels, k, j, i) and its fused logits."""
        super().__init__()
        self.network = network
        self.number = number
        self.image = self.cut(network_input)
        self.full_logits = full_logits
        self.full_value = float(number.of(full_logits))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float64 (batch,) numbers of images (batch, channels, k, j, i) of the reach."""
        return _Scoring.apply(images, self)

    def value(self, image: torch.Tensor) -> float:
        """The number of one image (channels, k, j, i) of the reach, every tile run once."""
        return float(self.number.of(self.network.fused(image)))

    @torch.inference_mode(mode=False)
    def gradient(self, image: torch.Tensor, *, on_graph: OnGraph | None = None) -> tuple[float, torch.Tensor]:
        """The number of one image (channels, k, j, i) of the reach, and its derivative, float32 of the same shape.

        Args:
            image: Float32.
            on_graph: Is given the logits of each tile before its graph is followed back.

        Raises:
            UnusableModel: the network cannot be differentiated, or gives what is not finite.
            OutOfMemory: one tile does not fit.
        """
        if self.number.is_linear or torch.equal(image, self.image):
            cotangent = self.full_cotangent()
            product, gradient = self.network.pulled_back(image, cotangent, on_graph=on_graph)
            return product if self.number.is_linear else self.full_value, gradient
        return self.network.differentiated(image, self.number.replace_by_derivative, on_graph=on_graph)

    @torch.inference_mode(mode=False)
    def full_cotangent(self) -> torch.Tensor:
        """float32 (n_channels, k, j, i) of the box: the number's derivative by the logits of the CT as it is."""
        cotangent = self.full_logits.clone()
        self.number.replace_by_derivative(cotangent)
        return cotangent

    def cut(self, network_input: NDArray[np.float32]) -> torch.Tensor:
        """float32 (channels, k, j, i): the part of a whole network input that lies in the reach."""
        return torch.from_numpy(np.ascontiguousarray(network_input[:, *self.network.reach], dtype=np.float32))

    def on_grid(self, voxel_map: torch.Tensor) -> NDArray[np.float32]:
        """float32 (k, j, i) on the network's grid, 0 outside the reach, from a map (k, j, i) of the reach."""
        whole = np.zeros(self.network.image_shape, dtype=np.float32)
        whole[self.network.reach] = voxel_map.cpu().numpy()
        return whole


@torch.inference_mode(mode=False)
def stitched_score(
    network: StitchedNetwork,
    case: PreparedCase,
    segmenter: Segmenter,
    *,
    target: SegmentClass,
    quantity: str,
    reference: torch.Tensor | None = None,
    full_logits: torch.Tensor | None = None,
) -> StitchedScore:
    """The number of a class in a case, checked against the unperturbed prediction.

    Args:
        network: Of the case's region.
        case: The CT and the region.
        segmenter: The network's.
        target: The class.
        quantity: One of ``contract.DIFFERENTIABLE_VALUES``.
        reference: bool (n_channels, n_voxels), y over the region's voxels in C order; None takes the unperturbed
            prediction of every channel.
        full_logits: float32 (n_channels, k, j, i) of the region's box, unperturbed; None runs every tile for them.

    Raises:
        InvalidRequest: the quantity has no gradient, or is undefined here.
    """
    require_differentiable(quantity)
    voxels = torch.from_numpy(np.flatnonzero(case.region.mask)).to(segmenter.device)
    if full_logits is None:
        image = np.ascontiguousarray(case.network_input.array[:, *network.reach])
        full_logits = network.fused(torch.from_numpy(image))
    at_voxels = full_logits.flatten(1)[:, voxels]
    is_exclusive = segmenter.is_exclusive
    if reference is None:
        reference = predicted_mask(at_voxels, is_exclusive=is_exclusive)
    tally = region_tally(at_voxels, reference, is_exclusive=is_exclusive)[target.channel].cpu().numpy()
    volume_ml = case.network_input.grid.voxel_volume_ml
    score = target_score(quantity, tally, voxel_volume_ml=volume_ml, name=target.name)
    number = ExplainedNumber(score, target.channel, voxels, reference, is_exclusive)
    return StitchedScore(network, number, case.network_input.array, full_logits=full_logits)


def require_differentiable(quantity: str) -> None:
    """Raises:
    InvalidRequest: the quantity counts voxels.
    """
    if quantity not in DIFFERENTIABLE_VALUES:
        raise InvalidRequest(
            f"The value {quantity} counts labelled voxels: it moves in steps and has no gradient.",
            f"For a gradient method choose --value as one of {', '.join(DIFFERENTIABLE_VALUES)}.",
        )


class _Scoring(torch.autograd.Function):
    """Forward takes the gradient at once, so that no graph waits for the way back."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, score: StitchedScore) -> torch.Tensor:
        is_needed, images = ctx.needs_input_grad[0], images.detach()
        if not is_needed:
            return torch.tensor([score.value(image) for image in images], dtype=torch.float64, device=images.device)
        numbers, gradients = zip(*(score.gradient(image) for image in images), strict=True)
        ctx.save_for_backward(torch.stack(gradients))
        return torch.tensor(numbers, dtype=torch.float64, device=images.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangents: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradients,) = ctx.saved_tensors
        return gradients * cotangents.reshape(-1, 1, 1, 1, 1).to(gradients.dtype), None
