"""The edit that removes the target: gradient descent over the latents of an autoencoder."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from SegExplainLib.case import PreparedCase
from SegExplainLib.counterfactual.autoencoder import (
    DOWNSAMPLING,
    VOXEL_MM,
    Autoencoder,
    trained_autoencoder,
)
from SegExplainLib.counterfactual.edit_space import EditSpace, cube_around_target
from SegExplainLib.gradients.backward import StitchedNetwork
from SegExplainLib.gradients.stitched_score import stitched_score
from SegExplainLib.model.segmenter import SegmentClass, Segmenter

N_STEPS = 40
LEARNING_RATE = 0.2
WISHED_VALIDITY = 0.95
DISCOUNT = 0.25
"""Share of its cost that an edit pays while it is not valid: first away from the target, then back to the CT. At full
price the search would stay where a little less target costs more than it brings."""
PATIENCE_STEPS = 8
SETTLED = 0.01
"""The search ends when the lowest loss of a valid edit fell by less than this in that many steps."""


@dataclass(frozen=True)
class LossWeights:
    """What an edit costs, against 1 for the whole target.

    Attributes:
        per_hu: For an edit whose sum of |HU| is 1 HU over the volume of the target.
        per_latent: For a squared latent step of 1 in each latent, over the latents that the target's volume fills.
    """

    per_hu: float = 0.003
    per_latent: float = 0.005

    def cost(self, edit_hu: torch.Tensor, latent_step: torch.Tensor, *, target_ml: float) -> torch.Tensor:
        """float32 (), differentiable, of an edit (k, j, i) of the cube and the latents' way from the CT's."""
        hu_ml = edit_hu.abs().sum() * VOXEL_MM**3 / 1000
        latents_ml = (latent_step**2).sum() / latent_step.shape[1] * (DOWNSAMPLING * VOXEL_MM) ** 3 / 1000
        return (self.per_hu * hu_ml + self.per_latent * latents_ml) / target_ml


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """A CT near the given one in which the network no longer sees the target in the region, as far as was reached.

    Attributes:
        image: float32 (channels, k, j, i), the whole network input; the CT's bit for bit outside the edited cube.
        target_before: Expected volume of the class in the region in ml (the sum of its probability), of the CT.
        target_after: The same of ``image``, by the same stitched prediction.
        proximity_hu: Mean absolute edit in HU over the edited cube.
        largest_edit_hu: Largest absolute edit in HU.
        edge_mm: Edge of the cube that could be edited, along the patient's axes.
        n_steps: Gradients that were taken.
        stop_reason: "settled" once valid and no longer changing, else "budget".
    """

    image: NDArray[np.float32] = field(repr=False)
    target_before: float
    target_after: float
    proximity_hu: float
    largest_edit_hu: float
    edge_mm: float
    n_steps: int
    stop_reason: str

    @property
    def validity(self) -> float:
        """Share of the target that is gone: 1 for a counterfactual without it, 0 or less where nothing was reached."""
        return 1.0 - self.target_after / self.target_before


@torch.inference_mode(mode=False)
@torch.enable_grad()
def counterfactual_input(
    segmenter: Segmenter,
    case: PreparedCase,
    *,
    target: SegmentClass,
    is_fixed: NDArray[np.bool_] | None = None,
    full_logits: torch.Tensor | None = None,
    n_steps: int = N_STEPS,
    on_step: Callable[[int, int], None] | None = None,
    on_tile: Callable[[], None] | None = None,
    autoencoder: Autoencoder | None = None,
    weights: LossWeights | None = None,
) -> Counterfactual:
    """A counterfactual of a CT for one class in one region, with what it costs and how far it goes.

    Adam over the latents z of an autoencoder (E, D) of a cube of CT around the predicted target, started at E(x),
    minimises

        v(z) / v(x)  +  a * |edit|_1 / V  +  b * |z - E(x)|^2 / V      with edit = D(z) - D(E(x)) in HU,

    where v is the expected volume of the class in the region by the real stitched prediction, and V the volume of the
    target, so that the weights a and b mean the same for a small and a large one. Until 95 % of the target is gone, a
    and b count a quarter. Of all edits that were met, the answer is the cheapest that removes 95 %, else the one that
    leaves least. The image is x + edit: what the autoencoder cannot draw stays as it is in the CT. The edit fades to 0
    at the cube's faces.

    There is nothing random in it: on a CPU the same question has the same answer, bit for bit.

    The idea is Geiger et al. (2025), arXiv 2508.14482; search and loss are our reconstruction. It costs each step two
    forward and one backward run of every tile that meets the region.

    Args:
        segmenter: The network.
        case: CT and region.
        target: The class to remove.
        is_fixed: bool (k, j, i) on the network's grid: voxels that stay as they are; None for none but padding.
        full_logits: float32 (n_channels, k, j, i) of the region's box, unperturbed; None runs every tile for them.
        n_steps: Most gradients to take.
        on_step: Is told (done, total) after each step; may raise ``Cancelled``.
        on_tile: Is called after each run of a tile; may raise ``Cancelled``.
        autoencoder: None takes the one that is shipped, which knows synthetic torsos only.
        weights: What an edit costs; None for the defaults.

    Raises:
        InvalidRequest: the network predicts nothing of the class in the region, or more than fits into the largest
            cube, or nothing around it may change.
        UnusableModel: the autoencoder's weights are missing or damaged; or the network has no gradient, or its
            normalisation is no line.
        OutOfMemory: one tile does not fit.
    """
    network = StitchedNetwork(segmenter, case.region, on_tile=on_tile)
    score = stitched_score(network, case, segmenter, target=target, quantity="soft-volume", full_logits=full_logits)
    cube = cube_around_target(score, case, target)
    autoencoder = autoencoder or trained_autoencoder(device=segmenter.device)
    space = EditSpace.of(cube, case, segmenter, score, autoencoder, is_fixed=is_fixed)
    found, n_taken, stop_reason = _searched(space, weights or LossWeights(), n_steps=n_steps, on_step=on_step)
    image = case.network_input.array.copy()
    image[:, *space.place.block] = space.block(found.edit_hu).cpu().numpy()
    placed_hu = space.place.placed(found.edit_hu).abs()
    is_in_cube = space.place.weight > 0
    return Counterfactual(
        image,
        target_before=score.full_value,
        target_after=found.after_ml,
        proximity_hu=float(placed_hu[is_in_cube].mean()),
        largest_edit_hu=float(placed_hu.max()),
        edge_mm=cube.shape_kji[0] * VOXEL_MM,
        n_steps=n_taken,
        stop_reason=stop_reason,
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """An edit that was met on the way.

    Attributes:
        edit_hu: float32 (k, j, i) of the cube.
        after_ml: Expected volume of the target with it.
        is_valid: Enough of the target is gone.
        loss: Target and costs.
    """

    edit_hu: torch.Tensor
    after_ml: float
    is_valid: bool
    loss: float

    def is_better_than(self, other: Self) -> bool:
        """A valid edit beats any other, a cheaper one a dearer; while none is valid, the one that leaves less."""
        if self.is_valid != other.is_valid:
            return self.is_valid
        return self.loss < other.loss if self.is_valid else self.after_ml < other.after_ml


def _searched(
    space: EditSpace, weights: LossWeights, *, n_steps: int, on_step: Callable[[int, int], None] | None
) -> tuple[_Found, int, str]:
    """The best edit that was met on the way down, the steps taken, and why the search stopped."""
    before_ml = space.score.full_value
    latents = space.start.clone().requires_grad_()
    optimizer = torch.optim.Adam([latents], lr=LEARNING_RATE)
    best = _Found(torch.zeros_like(space.start_hu), before_ml, is_valid=False, loss=1.0)
    valid_losses: list[float] = []
    for step in range(1, n_steps + 1):
        edit = space.edit_hu(latents)
        after_ml = space.target_ml(edit)
        left, cost = after_ml / before_ml, weights.cost(edit, latents - space.start, target_ml=before_ml)
        is_valid = left.item() <= 1 - WISHED_VALIDITY
        met = _Found(edit.detach(), after_ml.item(), is_valid, (left + cost).item())
        best = met if met.is_better_than(best) else best
        if on_step is not None:
            on_step(step, n_steps)
        if best.is_valid:
            valid_losses.append(best.loss)
        if len(valid_losses) > PATIENCE_STEPS and valid_losses[-1 - PATIENCE_STEPS] - best.loss < SETTLED:
            return best, step, "settled"
        optimizer.zero_grad()
        (left + (1.0 if is_valid else DISCOUNT) * cost).backward()
        optimizer.step()
    return best, n_steps, "budget"
