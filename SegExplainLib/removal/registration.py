"""Where the places of one patient's CT lie in another patient's: an affine registration on a coarse grid."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from SegExplainLib.contract import GeometryMismatch
from SegExplainLib.players.organs import body_mask
from SegExplainLib.volume import Volume, VoxelGrid, resampled_linear, resampled_nearest

WORKING_MM = 4.0
RIM_MM = 16.0
"""So much of the air around the patient is looked at, too: it tells where the skin is."""
LOW_HU, HIGH_HU = -500.0, 300.0
AIR_HU = -1024.0
NOT_MEASURED_HU = -1500.0
"""Below lies what scanners write outside their field of view (-2000, -3024), not the noise of air."""
LEAST_VOXELS = 8
LEAST_COVERED = 0.5
MOST_STRETCH = 1.5
LEAST_CORRELATION = 0.25
MOST_STEPS = 40
LEAST_GAIN = 1e-4
LONGEST_STEP_MM = 12.0
ARM_MM = 100.0
"""Makes a turn and a stretch as large as the shift of a voxel this far from the centre."""

HINT = "Give a CT of the same part of the body, in Hounsfield units."


@dataclass(frozen=True, eq=False)
class CoarseCT:
    """A CT at 4 mm, on a grid along R, A, S.

    Attributes:
        hu: float32 (k, j, i), air where nothing was measured.
        body: bool (k, j, i): the patient.
        is_measured: bool (k, j, i): inside the scanner's field of view.
        grid: Places all three in the patient.
    """

    hu: NDArray[np.float32]
    body: NDArray[np.bool_]
    is_measured: NDArray[np.bool_]
    grid: VoxelGrid

    @property
    def window(self) -> NDArray[np.float32]:
        """(k, j, i) HU clipped to soft tissue: lung and air alike below it, bone and contrast above."""
        return np.clip(self.hu, LOW_HU, HIGH_HU)


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where each place of a fixed CT lies in a moving one.

    Attributes:
        ras_to_ras: (4, 4) float64, RAS in mm of the fixed CT -> RAS in mm of the moving one.
        correlation: Pearson's, of the HU of both, clipped to soft tissue, in the needed part where both have a patient.
    """

    ras_to_ras: NDArray[np.float64]
    correlation: float

    def seen_from(self, grid: VoxelGrid) -> VoxelGrid:
        """A grid of the fixed CT, placed in the moving one."""
        return VoxelGrid(grid.shape_kji, self.ras_to_ras @ grid.ijk_to_ras)


def coarse_ct(ct: Volume) -> CoarseCT:
    """A CT as the registration sees it: means of blocks of voxels, and linear interpolation between them.

    Raises:
        InvalidRequest: nothing in the image is denser than fat.
    """
    steps = np.clip(np.floor(WORKING_MM / ct.grid.spacing_kji_mm + 1e-6).astype(int), 1, ct.array.shape)
    is_measured = ct.array > NOT_MEASURED_HU
    means = _block_means(np.where(is_measured, ct.array, AIR_HU).clip(min=AIR_HU).astype(np.float32), steps)
    blocks = ct.grid.mapped(means.shape, np.diag(steps), (steps - 1) / 2)
    grid = _upright_grid(blocks)
    is_inside = resampled_nearest(Volume(_block_means(is_measured.astype(np.float32), steps) > 0.5, blocks), grid)
    hu = np.where(is_inside, resampled_linear(Volume(means, blocks), grid), np.float32(AIR_HU))
    return CoarseCT(hu, body_mask(Volume(hu, grid)), is_inside, grid)


def aligned(
    fixed: CoarseCT, moving: CoarseCT, *, needed: NDArray[np.bool_], check_cancelled: Callable[[], None] = lambda: None
) -> Alignment:
    """The affine map under which the moving CT looks most like the fixed one.

    First every shift by a multiple of 8 mm is tried under which the moving scan covers at least half of ``needed``:
    the one with the largest correlation begins. Then all twelve numbers of an affine map climb to a larger correlation,
    on images smoothed to 8 mm, then as they are. Looked at is the fixed patient and 16 mm of air around. Patients are
    taken to lie as their files say: a wrong orientation is not found. Nothing is drawn: the same CTs give the same map.

    Args:
        fixed: The CT on whose grid the other is wanted.
        moving: The other.
        needed: bool (k, j, i) on the fixed grid: where the moving CT is needed.
        check_cancelled: Is asked again and again.

    Raises:
        GeometryMismatch: the two cannot be brought together: one is thinner than 32 mm, no shift covers half of
            ``needed``, the map stretches some direction by more than 1.5, or the CTs do not look alike under it.

    References:
        Padfield (2012), Masked object registration in the Fourier domain, IEEE Trans. Image Processing 21(5), for the
        search; Evangelidis, Psarakis (2008), Parametric image alignment using enhanced correlation coefficient
        maximization, IEEE Trans. PAMI 30(10), for the climb. Window, sampling and limits are our own.
    """
    if min(*fixed.hu.shape, *moving.hu.shape) < LEAST_VOXELS:
        raise GeometryMismatch(
            f"One of the CTs is too thin to be registered; expected {LEAST_VOXELS * WORKING_MM:g} mm along each axis.",
            HINT,
        )
    looked_at = fixed.is_measured & (ndimage.distance_transform_edt(~fixed.body, sampling=WORKING_MM) <= RIM_MM)
    shift = _best_shift(fixed, moving, looked_at=looked_at, needed=needed)
    check_cancelled()
    ras_to_ras = _refined(fixed, moving, shift, looked_at=looked_at, check_cancelled=check_cancelled)
    stretches = np.linalg.svd(ras_to_ras[:3, :3], compute_uv=False)
    if stretches.max() > MOST_STRETCH or stretches.min() < 1 / MOST_STRETCH or np.linalg.det(ras_to_ras) < 0:
        raise GeometryMismatch(
            f"It fits the CT only when stretched by {stretches.min():.2f} to {stretches.max():.2f}; expected "
            f"{1 / MOST_STRETCH:.2f} to {MOST_STRETCH:.2f}.",
            HINT,
        )
    correlation = _correlation(fixed, moving, Alignment(ras_to_ras, np.nan), needed=needed)
    if not correlation >= LEAST_CORRELATION:
        raise GeometryMismatch(
            f"Registered to the CT it does not look like it: their HU correlate with {correlation:.2f}; expected at "
            f"least {LEAST_CORRELATION:g}.",
            HINT,
        )
    return Alignment(ras_to_ras, correlation)


def _best_shift(
    fixed: CoarseCT, moving: CoarseCT, *, looked_at: NDArray[np.bool_], needed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(3,) mm along R, A, S from the fixed CT to the moving one, of the largest masked correlation at 8 mm.

    Raises:
        GeometryMismatch: under no shift does the moving scan cover half of ``needed``.
    """
    twice = np.array([2, 2, 2])
    seen = ((ct.window - LOW_HU) / (HIGH_HU - LOW_HU) for ct in (fixed, moving))
    masks = (mask.astype(np.float64) for mask in (looked_at, moving.is_measured, needed))
    x, y, in_x, in_y, need = (_block_means(array, twice).astype(np.float64) for array in (*seen, *masks))
    shape = [fft.next_fast_len(n + m - 1, real=True) for n, m in zip(x.shape, y.shape, strict=True)]

    def over_shifts(here: NDArray[np.float64], there: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over places p of here(p) there(p + shift), for each shift."""
        return fft.irfftn(np.conj(fft.rfftn(here, shape)) * fft.rfftn(there, shape), shape)

    n = np.maximum(over_shifts(in_x, in_y), 1e-6)
    sum_x, sum_y = over_shifts(x * in_x, in_y), over_shifts(in_x, y * in_y)
    spread_x = over_shifts(x**2 * in_x, in_y) - sum_x**2 / n
    spread_y = over_shifts(in_x, y**2 * in_y) - sum_y**2 / n
    together = over_shifts(x * in_x, y * in_y) - sum_x * sum_y / n
    correlation = together / np.sqrt(np.maximum(spread_x, 1e-6 * n) * np.maximum(spread_y, 1e-6 * n))
    covered = over_shifts(need, in_y) / max(float(need.sum()), 1e-6)
    if covered.max() < LEAST_COVERED:
        raise GeometryMismatch(
            f"Wherever it is laid, it covers at most {covered.max():.0%} of the units; expected {LEAST_COVERED:.0%}.",
            "Give a CT that shows as much of the body as the units do.",
        )
    at = np.unravel_index(np.argmax(np.where(covered >= LEAST_COVERED, correlation, -1.0)), covered.shape)
    kji = np.array([int(s) if s < m else int(s) - size for s, m, size in zip(at, y.shape, shape, strict=True)])
    return moving.grid.ras_of(2.0 * kji + 0.5) - fixed.grid.ras_of(np.full(3, 0.5))


def _refined(
    fixed: CoarseCT,
    moving: CoarseCT,
    shift: NDArray[np.float64],
    *,
    looked_at: NDArray[np.bool_],
    check_cancelled: Callable[[], None],
) -> NDArray[np.float64]:
    """(4, 4) RAS -> RAS of the largest correlation near a shift: on images smoothed to 8 mm, then as they are."""
    places = fixed.grid.ras_of(np.argwhere(looked_at))
    ras_to_ras = np.eye(4)
    ras_to_ras[:3, 3] = shift
    for smoothing_mm, stride in ((2 * WORKING_MM, 16), (0.0, 8)):
        sigma = smoothing_mm / WORKING_MM
        x = ndimage.gaussian_filter(fixed.window, sigma)[looked_at][::stride]
        y = ndimage.gaussian_filter(moving.window, sigma)
        climb = _Climb(x.astype(np.float64), places[::stride], y, moving)
        ras_to_ras = climb.from_(ras_to_ras, check_cancelled=check_cancelled)
    return ras_to_ras


class _Climb:
    """Steps of the enhanced correlation coefficient's maximisation, at sampled places of the fixed CT."""

    def __init__(
        self,
        x: NDArray[np.float64],
        places: NDArray[np.float64],
        y: NDArray[np.float32],
        moving: CoarseCT,
    ) -> None:
        self._x = x
        self._places = places
        self._arms = (places - places.mean(axis=0)) / ARM_MM
        # Gradients along R, A, S are those along i, j, k: the coarse grid is upright.
        self._images = [y, *reversed(np.gradient(y, WORKING_MM))]
        self._is_measured = moving.is_measured.astype(np.float32)
        self._grid = moving.grid

    def from_(self, ras_to_ras: NDArray[np.float64], *, check_cancelled: Callable[[], None]) -> NDArray[np.float64]:
        """The best map found from a first one on; never a worse one."""
        best, best_correlation = ras_to_ras, -np.inf
        for _ in range(MOST_STEPS):
            check_cancelled()
            correlation, step = self._step(ras_to_ras)
            if not correlation > best_correlation + LEAST_GAIN:
                break
            best, best_correlation = ras_to_ras, correlation
            ras_to_ras = ras_to_ras + step
        return best

    def _step(self, ras_to_ras: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The correlation under a map, and the change (4, 4) of the map that the linearised image asks for."""
        there = self._grid.kji_of(self._places @ ras_to_ras[:3, :3].T + ras_to_ras[:3, 3])
        seen = ndimage.map_coordinates(self._is_measured, there.T, order=1) > 1 - 1e-4
        if seen.sum() < 100:
            return -np.inf, np.zeros((4, 4))
        values = [ndimage.map_coordinates(image, there[seen].T, order=1) for image in self._images]
        x, y = (array - array.mean() for array in (self._x[seen], values[0].astype(np.float64)))
        gradient = np.stack(values[1:], axis=1).astype(np.float64)
        arms = np.concatenate([self._arms[seen], np.ones((len(x), 1))], axis=1)
        slopes = (gradient[:, :, None] * arms[:, None, :]).reshape(len(x), 12)
        slopes -= slopes.mean(axis=0)
        normal = slopes.T @ slopes
        normal += 1e-6 * np.trace(normal) * np.eye(12)
        to_x, to_y = slopes.T @ x, slopes.T @ y
        # How bright x would have to be for what is left of it to be what is left of y.
        bottom = float(x @ y - to_x @ np.linalg.solve(normal, to_y))
        top = float(y @ y - to_y @ np.linalg.solve(normal, to_y))
        gain = top / bottom if bottom > 0 else float(np.sqrt((y @ y) / (x @ x)))
        change = np.linalg.solve(normal, gain * to_x - to_y).reshape(3, 4)
        longest = np.linalg.norm(arms @ change.T, axis=1).max()
        change *= min(1.0, LONGEST_STEP_MM / longest) if longest > 0 else 1.0
        step = np.zeros((4, 4))
        step[:3, :3] = change[:, :3] / ARM_MM
        step[:3, 3] = change[:, 3] - step[:3, :3] @ self._places.mean(axis=0)
        return float(x @ y / np.sqrt((x @ x) * (y @ y))), step


def _correlation(fixed: CoarseCT, moving: CoarseCT, alignment: Alignment, *, needed: NDArray[np.bool_]) -> float:
    """Pearson's; nan where fewer than two voxels, or voxels of one value, are compared."""
    there = alignment.seen_from(fixed.grid)
    both = needed & fixed.body & fixed.is_measured
    both &= resampled_nearest(Volume(moving.body & moving.is_measured, moving.grid), there)
    x, y = fixed.window[both], resampled_linear(Volume(moving.window, moving.grid), there)[both]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _block_means(array: NDArray[np.floating], steps: NDArray[np.int64]) -> NDArray[np.floating]:
    """(k, j, i) means of blocks of ``steps`` voxels; what is left over at the far ends is dropped."""
    for axis, step in enumerate(int(step) for step in steps):
        n = array.shape[axis] // step
        whole = np.moveaxis(array, axis, 0)[: n * step]
        array = np.moveaxis(whole.reshape(n, step, *whole.shape[1:]).mean(axis=1), 0, axis)
    return array


def _upright_grid(grid: VoxelGrid) -> VoxelGrid:
    """Voxels of 4 mm along R, A, S that cover ``grid``."""
    corners = np.array(list(product(*[(-0.5, n - 0.5) for n in grid.shape_kji])))
    low, high = (getattr(grid.ras_of(corners), end)(axis=0) for end in ("min", "max"))
    i, j, k = (max(1, int(np.ceil(mm / WORKING_MM - 1e-6))) for mm in high - low)
    affine = np.diag([WORKING_MM, WORKING_MM, WORKING_MM, 1.0])
    affine[:3, 3] = (low + high) / 2 - (np.array([i, j, k]) - 1) / 2 * WORKING_MM
    return VoxelGrid((k, j, i), affine)
