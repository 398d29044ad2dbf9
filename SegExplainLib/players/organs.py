"""Units that are whole organs, and the body that they lie in."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.players.partition import PlayerPartition, dense_ids, partition_from_ids, require_voxels
from SegExplainLib.volume import Volume, VoxelGrid

REST_OF_BODY = "rest of body"


def organ_players(
    organ_ids: NDArray[np.integer],
    names: dict[int, str],
    *,
    within: NDArray[np.bool_],
    body: NDArray[np.bool_],
    grid: VoxelGrid,
) -> PlayerPartition:
    """Whole organs, cut to the receptive-field crop, and one player for the rest of the body.

    The players cover exactly ``within & (body | organ_ids > 0)``: a voxel that has an organ is in the body whatever the
    mask says. Air around the body is context: to remove air from air does nothing, and any other removal would paint
    flesh into it. Tiny organs are kept as they are; an organ need not be connected.

    Args:
        organ_ids: int (k, j, i), 0 where no organ is.
        names: Name of each organ id that occurs.
        within: bool (k, j, i), the receptive-field crop.
        body: bool (k, j, i), e.g. ``body_mask`` brought to ``grid``.
        grid: Places all arrays in the patient.

    Returns:
        Players in ascending order of organ id, the rest of the body last.

    Raises:
        InvalidRequest: no voxel is left, an organ id is negative or has no name, or two organs have one name.
    """
    numbers, organ_names = numbered_organs(organ_ids, names, within=within, body=body)
    return partition_from_ids(numbers, dict(enumerate(organ_names, start=1)), within=within, grid=grid, kind="organs")


def numbered_organs(
    organ_ids: NDArray[np.integer], names: dict[int, str], *, within: NDArray[np.bool_], body: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], list[str]]:
    """int32 (k, j, i) organs from 1 to n inside ``within``, the rest of the body last, and their n names.

    Raises:
        InvalidRequest: as ``organ_players``.
    """
    if organ_ids.min() < 0:
        raise InvalidRequest(f"The organ map has the negative label {int(organ_ids.min())}.", "Use labels from 0 up.")
    require_voxels(within & (body | (organ_ids > 0)))
    rest = int(organ_ids.max()) + 1
    ids = np.where(within, np.where(organ_ids > 0, organ_ids, np.where(body, rest, 0)), 0)
    kept = [int(value) for value in np.unique(ids) if value > 0]
    nameless = [value for value in kept if value != rest and value not in names]
    if nameless:
        raise InvalidRequest(f"The organ map has the label {nameless[0]}, which has no name.", "Name every label.")
    organ_names = [REST_OF_BODY if value == rest else names[value] for value in kept]
    for name in organ_names:
        if organ_names.count(name) > 1:
            raise InvalidRequest(f"Two organs are named {name!r}.", "Give every label of the organ map its own name.")
    return dense_ids(ids), organ_names


# Between fat, the lightest tissue at about -100 HU, and lung, at about -850 HU.
SKIN_HU = -300.0
# Lung parenchyma lies above, air in the room below.
ROOM_AIR_HU = -930.0
WORKING_MM = 2.5
TABLE_HALF_THICKNESS_MM = 4.0
SMALLEST_PART = 0.05


def body_mask(ct: Volume) -> NDArray[np.bool_]:
    """bool (k, j, i) on the CT's own grid: the patient, with lungs and bowel gas, without table and room air.

    What is denser than fat, opened by a ball of 4 mm so that shells thinner than 8 mm (table, sheets, cables) fall off;
    then every part that has at least 5 % of the largest one's volume (two legs or an arm are parts too). Air is filled
    in where it is enclosed within an axial slice, and where it touches the side of the image but is lung by its median
    (a crop through the chest). Found at about 2.5 mm; the skin line itself is then drawn at full resolution.

    Not removed: a table part thicker than 8 mm, or pressed so flat against the skin that nothing lies between. Bowel
    gas cut by the side of the image counts as air. Our own procedure.

    Raises:
        InvalidRequest: nothing in the image is denser than fat.
    """
    steps = np.maximum(1, np.floor(WORKING_MM / ct.grid.spacing_kji_mm + 1e-6).astype(int))
    hu = ct.array[:: steps[0], :: steps[1], :: steps[2]]
    spacing = ct.grid.spacing_kji_mm * steps
    parts = _thick_parts(hu > SKIN_HU, spacing)
    if not parts.any():
        raise InvalidRequest(
            f"The CT holds no tissue above {SKIN_HU:g} HU.", "Check that its values are Hounsfield units."
        )
    axial = int(np.argmax(np.abs(ct.grid.ijk_to_ras[2, 2::-1]) / ct.grid.spacing_kji_mm))
    coarse = _filled(parts, hu, axial)
    if not (steps > 1).any():
        return coarse
    return _drawn_finely(coarse, ct.array > SKIN_HU, steps)


def _thick_parts(tissue: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tissue without shells and without parts that are small beside the largest one."""
    core = ndimage.distance_transform_edt(tissue, sampling=spacing) > TABLE_HALF_THICKNESS_MM
    parts, n_parts = ndimage.label(core)
    if n_parts == 0:
        return core
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    kept = (sizes >= SMALLEST_PART * sizes.max())[parts]
    kept &= parts > 0
    # The distance at which the opening cut is grown back, and a voxel's diagonal more for rounded edges.
    reach = TABLE_HALF_THICKNESS_MM + float(np.linalg.norm(spacing))
    return tissue & (ndimage.distance_transform_edt(~kept, sampling=spacing) <= reach)


def _filled(parts: NDArray[np.bool_], hu: NDArray, axial: int) -> NDArray[np.bool_]:
    """``parts`` with the air that belongs to the patient."""
    in_plane = np.array(ndimage.generate_binary_structure(3, 1))
    np.moveaxis(in_plane, axial, 0)[[0, 2]] = False
    holes, n_holes = ndimage.label(~parts, structure=in_plane)
    is_open = np.zeros(n_holes + 1, dtype=bool)
    for axis in {0, 1, 2} - {axial}:
        for side in (0, -1):
            is_open[np.take(holes, side, axis=axis)] = True
    filled = ~is_open[holes] | parts
    gaps, n_gaps = ndimage.label(~filled)
    medians = ndimage.median(hu, gaps, np.arange(1, n_gaps + 1))
    is_lung = np.concatenate([[True], np.atleast_1d(medians) > ROOM_AIR_HU])
    return filled | is_lung[gaps]


def _drawn_finely(coarse: NDArray[np.bool_], tissue: NDArray[np.bool_], steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The coarse mask at full resolution: within one coarse voxel of its surface, ``tissue`` decides."""
    ball = ndimage.generate_binary_structure(3, 1)
    inner = ndimage.binary_erosion(coarse, ball, border_value=1)
    outer = ndimage.binary_dilation(coarse, ball)
    # Sample c stands for the voxels nearest to it, which lie on both its sides.
    index = [
        np.minimum((np.arange(n) + step // 2) // step, size - 1)
        for n, step, size in zip(tissue.shape, steps, coarse.shape, strict=True)
    ]
    near = np.ix_(*index)
    return inner[near] | (outer[near] & tissue)
