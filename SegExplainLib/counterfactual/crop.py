"""A cube of the patient around the target, and the way of an edit from there to the network's grid."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from SegExplainLib.volume import Volume, VoxelGrid

Slices = tuple[slice, slice, slice]

# i to the patient's left, j to the back, k to the head: how the autoencoder's training volumes lie.
LPS_AXES = np.diag([-1.0, -1.0, 1.0])
FWHM_PER_SIGMA = 2.3548


def cube_grid(centre_ras: NDArray[np.float64], *, edge_voxels: int, voxel_mm: float) -> VoxelGrid:
    """A cube of voxels along the patient's axes around a point, whatever the CT's axes are."""
    affine = np.eye(4)
    affine[:3, :3] = voxel_mm * LPS_AXES
    affine[:3, 3] = centre_ras - affine[:3, :3] @ np.full(3, (edge_voxels - 1) / 2)
    return VoxelGrid((edge_voxels,) * 3, affine)


def sampled_hu(ct: Volume, grid: VoxelGrid) -> NDArray[np.float32]:
    """(k, j, i) HU of a CT at the voxel centres of a grid, trilinear; beyond the CT its outermost voxels go on.

    Where the grid is coarser than the CT, the CT is smoothed to the grid's resolution first, so that nothing finer
    than a voxel turns into noise.
    """
    matrix, offset = grid.kji_to(ct.grid)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape_kji], indexing="ij")).reshape(3, -1).T
    reached = corners @ matrix.T + offset
    resolution_mm = float(grid.spacing_kji_mm.prod() ** (1 / 3))
    excess_mm2 = np.maximum(resolution_mm**2 - ct.grid.spacing_kji_mm**2, 0.0)
    sigma = np.sqrt(excess_mm2) / FWHM_PER_SIGMA / ct.grid.spacing_kji_mm
    margin = np.ceil(4 * sigma).astype(int) + 1
    last = np.array(ct.array.shape) - 1
    start = np.clip(np.floor(reached.min(axis=0)).astype(int) - margin, 0, last)
    stop = np.clip(np.ceil(reached.max(axis=0)).astype(int) + margin, 0, last) + 1
    block = ct.array[tuple(map(slice, start, stop))].astype(np.float32)
    if sigma.any():
        block = ndimage.gaussian_filter(block, sigma, mode="nearest")
    return ndimage.affine_transform(
        block, matrix, offset - start, output_shape=grid.shape_kji, order=1, mode="nearest", prefilter=False
    )


@dataclass(frozen=True, eq=False)
class EditPlace:
    """Where an edit made in a cube goes on another grid.

    Attributes:
        block: The part (k, j, i) of the other grid that holds the cube.
        sampling: float32 (1, k, j, i, 3), for `torch.nn.functional.grid_sample`: the block's voxels in the cube.
        weight: float32 (k, j, i) of the block: 1 in the cube's core, falling smoothly to 0 at its faces, 0 outside and
            where nothing may change.
    """

    block: Slices
    sampling: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def of(
        cls,
        cube: VoxelGrid,
        grid: VoxelGrid,
        *,
        taper_mm: float,
        is_fixed: NDArray[np.bool_] | None,
        device: torch.device,
    ) -> "EditPlace":
        """The place of a cube on a grid with any axes.

        Args:
            cube: Where the edit is made.
            grid: Where it goes.
            taper_mm: How far from the cube's faces the edit has its full strength.
            is_fixed: bool (k, j, i) of the grid: voxels that stay as they are; None for none.
            device: Where the edit is made.
        """
        block = _block_holding(cube, grid)
        start = np.array([axis.start for axis in block])
        indices = np.indices([axis.stop - axis.start for axis in block]).reshape(3, -1).T + start
        matrix, offset = grid.kji_to(cube)
        in_cube = indices @ matrix.T + offset
        last = np.array(cube.shape_kji) - 1
        depth_mm = np.minimum(in_cube, last - in_cube) * cube.spacing_kji_mm
        weight = _smoothstep(depth_mm / taper_mm).prod(axis=1).reshape([axis.stop - axis.start for axis in block])
        if is_fixed is not None:
            weight[is_fixed[block]] = 0.0
        sampling = (2.0 * in_cube / last - 1.0)[:, ::-1].reshape(1, *weight.shape, 3)
        return cls(
            block,
            torch.tensor(sampling.copy(), dtype=torch.float32, device=device),
            torch.tensor(weight, dtype=torch.float32, device=device),
        )

    def placed(self, edit: torch.Tensor) -> torch.Tensor:
        """float32 (k, j, i) of the block, trilinear, faded to 0 at the cube's faces, of an edit (k, j, i) of the cube.

        Differentiable, and linear in the edit.
        """
        sampled = torch.nn.functional.grid_sample(edit[None, None], self.sampling, align_corners=True)
        return sampled[0, 0] * self.weight


def _block_holding(cube: VoxelGrid, grid: VoxelGrid) -> Slices:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in cube.shape_kji], indexing="ij")).reshape(3, -1).T
    reached = grid.kji_of(cube.ras_of(corners))
    last = np.array(grid.shape_kji) - 1
    start = np.clip(np.ceil(reached.min(axis=0) - 1e-6).astype(int), 0, last)
    stop = np.clip(np.floor(reached.max(axis=0) + 1e-6).astype(int), 0, last) + 1
    k, j, i = (slice(int(low), max(int(high), int(low) + 1)) for low, high in zip(start, stop, strict=True))
    return k, j, i


def _smoothstep(share: NDArray[np.float64]) -> NDArray[np.float64]:
    share = np.clip(share, 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
