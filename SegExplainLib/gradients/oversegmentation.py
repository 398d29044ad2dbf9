"""A CT cut into small segments that follow its edges, at several sizes: the first half of XRAI."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.players.merging import merged_fragments
from SegExplainLib.players.partition import dense_ids
from SegExplainLib.volume import VoxelGrid

SIZES_MM = (12.0, 17.0, 23.0, 32.0, 44.0, 60.0)
"""From a vessel or a small lesion to an organ, in equal ratios: six, as the paper has."""
LEAST_SHARE = 1 / 3
"""Of a size's cube is the least volume of a segment; the paper's 50 new pixels are a third of its smallest segment."""
COMPACTNESS = 0.1
"""Share of the intensity range that weighs as much as a distance of one segment size."""
PERCENTILES = (1.0, 99.0)
SMOOTHING_MM = 2.0
"""Standard deviation: takes the noise of a CT out of the borders; the paper smooths by 0.8 pixels."""
N_ITERATIONS = 5


def oversegmentations(
    image: NDArray[np.float32],
    *,
    within: NDArray[np.bool_],
    grid: VoxelGrid,
    sizes_mm: Sequence[float] = SIZES_MM,
) -> Iterator[NDArray[np.int32]]:
    """int32 label volumes (k, j, i), one after the other for each size: segments 1 to n in ``within``, 0 elsewhere.

    Segments of one volume are disjoint, cover ``within``, and are connected through faces. They are clusters of place
    and intensity (SLIC) around seeds that lie one size apart in mm along each axis, whatever the spacing. What the
    border of ``within`` cuts off joins the neighbour with the largest shared border while it is below ``LEAST_SHARE``
    of the size's cube; only an island of ``within`` may be smaller. Nothing is drawn, and the outcome does not depend
    on the number of threads. Seeds count from the array's first voxel: a flipped array has segments of the same kind,
    but not the same ones.

    The paper takes Felzenszwalb's segments of a photograph, and dilates each by 5 pixels so that it holds its own
    edge, where gradients are. There is no such code for volumes, and segments that overlap are no label volume.
    Without dilation an edge's attribution goes to the segments on either side, each with its own part; our own.

    Args:
        image: (channels, k, j, i), in any unit: each channel is cut to its 1st to 99th percentile in ``within``.
        within: bool (k, j, i).
        grid: Of the voxels.
        sizes_mm: Those that come to the same number of voxels are made once.

    Raises:
        InvalidRequest: ``within`` is empty, or a size is not a positive number.

    References:
        Achanta et al. (2012), SLIC superpixels compared to state-of-the-art superpixel methods; Lowekamp et al. (2018),
        Scalable simple linear iterative clustering.
    """
    if not within.any():
        raise InvalidRequest("There is no voxel to segment.", "Check that the units cover a part of the CT.")
    if not all(0.0 < size < math.inf for size in sizes_mm):
        raise InvalidRequest(f"Segment sizes must be positive lengths in mm; found {tuple(sizes_mm)}.")
    (box,) = ndimage.find_objects(within.astype(np.uint8))
    inside = within[box]
    cut = grid.cropped(tuple(axis.start for axis in box), inside.shape)
    scaled = _as_itk(_scaled(image[:, *box], inside, cut))
    islands = sitk.GetArrayFromImage(sitk.ConnectedComponent(_as_itk(inside.astype(np.uint8)[None])))
    sizes = {_steps(size, cut): size for size in sizes_mm}
    for steps, size in sizes.items():
        fragments = _fragments(_clusters(scaled, steps), inside)
        volume = np.zeros(within.shape, dtype=np.int32)
        volume[box] = _without_small(fragments, islands, grid=cut, floor_ml=LEAST_SHARE * size**3 / 1000.0)
        yield volume


def _scaled(image: NDArray[np.float32], inside: NDArray[np.bool_], grid: VoxelGrid) -> NDArray[np.float32]:
    """Each channel from 0 to 1 between its percentiles, then smoothed."""
    scaled = np.empty(image.shape, dtype=np.float32)
    for channel, found in zip(scaled, image, strict=True):
        low, high = np.percentile(found[inside], PERCENTILES)
        cut = (np.clip(found, low, high) - low) / ((high - low) or 1.0)
        ndimage.gaussian_filter(cut, SMOOTHING_MM / grid.spacing_kji_mm, output=channel)
    return scaled


def _steps(size_mm: float, grid: VoxelGrid) -> tuple[int, ...]:
    """(k, j, i) voxels from seed to seed; one voxel alone is no segment."""
    wished = np.rint(size_mm / grid.spacing_kji_mm).astype(int)
    return tuple(np.minimum(np.maximum(wished, 2), grid.shape_kji).tolist())


def _clusters(scaled: sitk.Image, steps: tuple[int, ...]) -> NDArray[np.uint32]:
    """(k, j, i) numbers of clusters, which may have stray parts."""
    clustering = sitk.SLICImageFilter()
    clustering.SetSuperGridSize(steps[::-1])
    clustering.SetSpatialProximityWeight(COMPACTNESS)
    clustering.SetMaximumNumberOfIterations(N_ITERATIONS)
    clustering.SetNumberOfThreads(1)  # threads add up in an order of their own
    return sitk.GetArrayFromImage(clustering.Execute(scaled))


def _fragments(clusters: NDArray[np.uint32], inside: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Connected parts of clusters, 1 to n without gaps, 0 outside."""
    connecting = sitk.ScalarConnectedComponentImageFilter()
    connecting.SetDistanceThreshold(0.0)
    connecting.SetFullyConnected(False)
    parts = connecting.Execute(_as_itk(clusters[None]), _as_itk(inside.astype(np.uint8)[None]))
    return dense_ids(sitk.GetArrayFromImage(parts).astype(np.int64))


def _without_small(
    fragments: NDArray[np.int32], islands: NDArray, *, grid: VoxelGrid, floor_ml: float
) -> NDArray[np.int32]:
    """Small ones joined to a neighbour: never across a gap, so that the outcome is connected."""
    island_of = np.zeros(int(fragments.max()) + 1, dtype=np.int64)
    island_of[fragments.ravel()] = islands.ravel()
    return dense_ids(merged_fragments(fragments, group_of=island_of, grid=grid, floor_ml=floor_ml)[fragments])


def _as_itk(image: NDArray) -> sitk.Image:
    """(channels, k, j, i) without a place."""
    if len(image) == 1:
        return sitk.GetImageFromArray(image[0])
    return sitk.GetImageFromArray(np.moveaxis(image, 0, -1), isVector=True)
