"""Voxels with a place in the patient: grids, volumes, and moving labels from one grid to another.

Arrays are (k, j, i). A grid maps index (i, j, k) to RAS in mm. Only this module, ``volume_io`` and ``images`` know of
LPS.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SegExplainLib.contract import GeometryMismatch, InvalidRequest

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Grids whose voxel centres agree within this share of a voxel differ by the rounding of file headers alone.
ROUNDING_VOXELS = 1e-3
# Nearest labels do not move under a shift below this, such as a scanner's file and another program's copy have.
SAME_GRID_VOXELS = 0.05
# Centres halfway between two voxels are common (3 mm on 1.5 mm); the nudge sends all of them to the higher index, where
# the rounding of a matrix product would scatter them.
TIE_NUDGE_VOXELS = 1e-6


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """Where the voxels of an array (k, j, i) lie in the patient.

    Attributes:
        shape_kji: Number of voxels along k, j, i.
        ijk_to_ras: (4, 4) float64, index (i, j, k, 1) of a voxel's centre -> RAS in mm. Any invertible affine:
            oblique, flipped and permuted axes included.
    """

    shape_kji: tuple[int, int, int]
    ijk_to_ras: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.array(self.ijk_to_ras, dtype=np.float64)
        if len(self.shape_kji) != 3 or min(self.shape_kji) < 1:
            raise InvalidRequest(f"A volume needs three axes with voxels; found shape {tuple(self.shape_kji)}.")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], [0, 0, 0, 1]):
            raise InvalidRequest("The index-to-patient matrix is not a finite 4x4 affine.", "Export the image again.")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise InvalidRequest("The voxel spacing is zero along some axis.", "Correct the image's spacing.")
        affine.setflags(write=False)
        object.__setattr__(self, "shape_kji", tuple(int(n) for n in self.shape_kji))
        object.__setattr__(self, "ijk_to_ras", affine)

    @cached_property
    def spacing_kji_mm(self) -> NDArray[np.float64]:
        """(3,) distance in mm between neighbours along k, j, i."""
        return np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)[::-1]

    @cached_property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000.0

    @cached_property
    def shear(self) -> float:
        """Largest |cosine| between two of the axes: 0 when they are at right angles, as most file formats demand."""
        axes = self.ijk_to_ras[:3, :3] / np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(np.abs(axes.T @ axes - np.eye(3)).max())

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape_kji))

    def ras_of(self, kji: NDArray) -> NDArray[np.float64]:
        """(..., 3) indices (k, j, i), fractions allowed -> (..., 3) RAS in mm."""
        ijk = np.asarray(kji, dtype=np.float64)[..., ::-1]
        return ijk @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]

    def kji_of(self, ras: NDArray) -> NDArray[np.float64]:
        """(..., 3) RAS in mm -> (..., 3) fractional indices (k, j, i)."""
        inverse = np.linalg.inv(self.ijk_to_ras)
        ijk = np.asarray(ras, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        return ijk[..., ::-1]

    def kji_to(self, other: "VoxelGrid") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The affine (matrix (3, 3), offset (3,)) that takes (k, j, i) here to (k, j, i) of ``other``."""
        ijk_to_ijk = np.linalg.inv(other.ijk_to_ras) @ self.ijk_to_ras
        return ijk_to_ijk[2::-1, 2::-1], ijk_to_ijk[2::-1, 3]

    def largest_gap_voxels(self, other: "VoxelGrid") -> float:
        """How far the two places of one index are apart at most, in voxels of ``other``; inf for different shapes."""
        if self.shape_kji != other.shape_kji:
            return float("inf")
        # The gap is affine in the index, so that it is largest in a corner.
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape_kji], indexing="ij")).reshape(3, -1).T
        matrix, offset = self.kji_to(other)
        return float(np.abs(corners @ matrix.T + offset - corners).max())

    def is_same_as(self, other: "VoxelGrid", *, tolerance_voxels: float = ROUNDING_VOXELS) -> bool:
        """True when both have one shape and every voxel centre agrees within a share of a voxel."""
        return self.largest_gap_voxels(other) <= tolerance_voxels

    def mapped(self, shape_kji: tuple[int, int, int], kji_from_new: NDArray, offset_kji: NDArray) -> Self:
        """The grid of an array whose index (k, j, i) is at ``kji_from_new @ kji + offset_kji`` of this one."""
        step = np.eye(4)
        step[:3, :3] = np.asarray(kji_from_new, dtype=np.float64)[::-1, ::-1]
        step[:3, 3] = np.asarray(offset_kji, dtype=np.float64)[::-1]
        return type(self)(shape_kji, self.ijk_to_ras @ step)

    def cropped(self, start_kji: tuple[int, ...], shape_kji: tuple[int, int, int]) -> Self:
        """The grid of a block that begins at ``start_kji``; negative starts mean padding."""
        return self.mapped(shape_kji, np.eye(3), np.asarray(start_kji))


@dataclass(frozen=True, eq=False)
class Volume:
    """An array (k, j, i) and the grid that places it in the patient."""

    array: NDArray
    grid: VoxelGrid

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape_kji:
            raise GeometryMismatch(f"An array of shape {self.array.shape} lies on a grid of {self.grid.shape_kji}.")


def resampled_nearest(volume: Volume, grid: VoxelGrid, *, fill: int = 0) -> NDArray:
    """(k, j, i) values of ``volume`` at the voxel centres of ``grid``, each of the voxel that holds the centre.

    ``fill`` outside, that is farther than half a voxel from the outermost centres. A centre on the border of two voxels
    takes the one of the higher index. Meant for labels and masks. Grids with parallel axes take a fast way.
    """
    if grid.is_same_as(volume.grid, tolerance_voxels=TIE_NUDGE_VOXELS):
        return volume.array.copy()
    matrix, offset = grid.kji_to(volume.grid)
    offset = offset + TIE_NUDGE_VOXELS
    driver = np.abs(matrix).argmax(axis=1)
    off_axis = np.abs(matrix)
    off_axis[np.arange(3), driver] = 0.0
    if len(set(driver)) == 3 and (off_axis @ (np.array(grid.shape_kji) - 1)).max() < ROUNDING_VOXELS:
        return _picked(volume.array, matrix, offset, driver, grid.shape_kji, fill)
    # One voxel of padding keeps the outer half of the border voxels, which scipy's "constant" mode cuts off.
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    padded = np.pad(array, 1, constant_values=fill)
    moved = ndimage.affine_transform(
        padded, matrix, offset + 1.0, output_shape=grid.shape_kji, order=0, mode="constant", cval=fill
    )
    return moved.astype(volume.array.dtype)


def _picked(
    array: NDArray, matrix: NDArray, offset: NDArray, driver: NDArray, shape_kji: tuple[int, int, int], fill: int
) -> NDArray:
    """Nearest voxels when the source's axis s runs along the new grid's axis ``driver[s]`` alone."""
    rows = []
    for axis, along in enumerate(driver):
        index = np.floor(matrix[axis, along] * np.arange(shape_kji[along]) + offset[axis] + 0.5)
        is_inside = (index >= 0) & (index < array.shape[axis])
        rows.append(np.where(is_inside, index, array.shape[axis]).astype(np.intp))
    padded = np.pad(array, (0, 1), constant_values=fill)
    return np.ascontiguousarray(padded[np.ix_(*rows)].transpose(np.argsort(driver)))


def resampled_linear(volume: Volume, grid: VoxelGrid) -> NDArray[np.float32]:
    """float32 (k, j, i) values of ``volume`` at the voxel centres of ``grid``, by trilinear interpolation.

    Within half a voxel outside the outermost centres the border's value; farther out 0. Meant for maps. Only the part
    of ``grid`` to which the values reach is worked on.
    """
    values = volume.array.astype(np.float32)
    out = np.zeros(grid.shape_kji, dtype=np.float32)
    boxes = ndimage.find_objects((values != 0).astype(np.uint8))
    if not boxes:
        return out
    low, high = (np.array([getattr(s, end) for s in boxes[0]], dtype=np.float64) for end in ("start", "stop"))
    back, shift = volume.grid.kji_to(grid)
    # Interpolation reaches one voxel farther than the values do.
    corners = np.array(list(product(*zip(low - 1.0, high, strict=True)))) @ back.T + shift
    first = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, grid.shape_kji)
    last = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, first, grid.shape_kji)
    if (last == first).any():
        return out  # the values lie beside the grid
    matrix, offset = grid.kji_to(volume.grid)
    part = ndimage.affine_transform(
        values, matrix, offset + matrix @ first, output_shape=tuple(last - first), order=1, mode="nearest"
    )
    k, j, i = (int(n) for n in last - first)
    is_inside = resampled_nearest(
        Volume(np.ones(values.shape, dtype=bool), volume.grid), grid.cropped(tuple(first), (k, j, i))
    )
    out[tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))] = part * is_inside
    return out


def share_inside(grid: VoxelGrid, other: VoxelGrid) -> float:
    """Share of the voxel centres of ``grid``'s 8 x 8 x 8 subsample that lie inside ``other``."""
    samples = np.meshgrid(*[np.linspace(0, n - 1, min(n, 8)) for n in grid.shape_kji], indexing="ij")
    kji = other.kji_of(grid.ras_of(np.stack(samples, axis=-1)))
    inside = (kji >= -0.5) & (kji <= np.array(other.shape_kji) - 0.5)
    return float(inside.all(axis=-1).mean())
