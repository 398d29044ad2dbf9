import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from geometries import stored_otherwise

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.players.organs import REST_OF_BODY, body_mask, organ_players
from SegExplainLib.volume import LPS_FROM_RAS, Volume, VoxelGrid

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def options(shape=(4, 5, 6)):
    everywhere = np.ones(shape, dtype=bool)
    return {"within": everywhere, "body": everywhere, "grid": VoxelGrid(shape, np.eye(4))}


def test_players_are_the_organs_by_id_and_then_the_rest():
    organ_ids = np.zeros((4, 5, 6), dtype=np.uint8)
    organ_ids[0], organ_ids[1, 0, 0] = 9, 4
    partition = organ_players(organ_ids, {9: "liver", 4: "gallbladder", 200: "spleen"}, **options())
    assert partition.names == ("gallbladder", "liver", REST_OF_BODY)
    np.testing.assert_array_equal(partition.labels, np.where(organ_ids == 4, 1, np.where(organ_ids == 9, 2, 3)))


def test_an_organ_voxel_that_the_body_mask_misses_still_plays():
    organ_ids = np.zeros((4, 5, 6), dtype=np.int32)
    organ_ids[0, 0, 0] = 1
    given = options() | {"body": np.zeros((4, 5, 6), dtype=bool)}
    partition = organ_players(organ_ids, {1: "lung"}, **given)
    assert partition.names == ("lung",)
    np.testing.assert_array_equal(partition.labels, organ_ids)


def test_a_body_that_is_all_organ_has_no_rest():
    assert organ_players(np.ones((4, 5, 6), dtype=np.int32), {1: "liver"}, **options()).names == ("liver",)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [((1, 2), {1: "liver"}, "label 2"), ((1, 2), {1: "liver", 2: "liver"}, "Two organs"), ((-1, 1), {}, "negative")],
)
def test_organ_maps_that_cannot_be_read_are_refused(labels, names, message):
    organ_ids = np.zeros((4, 5, 6), dtype=np.int32)
    organ_ids[0, 0, :2] = labels
    with pytest.raises(InvalidRequest, match=message):
        organ_players(organ_ids, names, **options())


def a_torso(*, spacing=(3.0, 2.5, 2.5)):
    """A noisy torso on a table, with lungs and a trachea that the scan cuts, and what of it is the patient."""
    shape = (24, 72, 96)
    k, j, i = np.indices(shape)
    y, x = (j - 32) * spacing[1], (i - 48) * spacing[2]
    patient = (x / 100) ** 2 + (y / 68) ** 2 < 1
    lungs = ((np.abs(x) - 45) / 30) ** 2 + (y / 45) ** 2 < 1
    gas = (x**2 + (y + 40) ** 2 < 10**2) & (k > 3) & (k < 15)
    table = (y > 76) & (y < 76 + 2 * spacing[1]) & (np.abs(x) < 110)
    hu = np.where(patient, 40.0, -1000.0)
    hu[lungs & patient] = -850.0
    trachea = x**2 + (y - 10) ** 2 < 9**2
    hu[gas | trachea], hu[table] = -1000.0, 200.0
    hu += np.random.default_rng(0).normal(scale=15.0, size=shape)
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    return Volume(hu.astype(np.float32), VoxelGrid(shape, affine)), patient


def share_wrong(mask, truth) -> float:
    return float((mask != truth).sum() / truth.sum())


def test_the_body_has_its_lungs_and_gas_but_no_table():
    ct, patient = a_torso()
    assert share_wrong(body_mask(ct), patient) < 0.001


def test_the_skin_line_is_drawn_at_full_resolution():
    ct, patient = a_torso(spacing=(3.0, 2.5, 2.5))
    fine = ct.array.repeat(2, 1).repeat(3, 2)
    grid = ct.grid.mapped(fine.shape, np.diag([1, 1 / 2, 1 / 3]), [0, -1 / 4, -1 / 3])
    assert share_wrong(body_mask(Volume(fine, grid)), patient.repeat(2, 1).repeat(3, 2)) < 0.005


def test_lungs_that_the_crop_cuts_belong_to_the_body_and_room_air_does_not():
    ct, patient = a_torso()
    box = (slice(None), slice(0, 50), slice(24, 72))
    cropped = Volume(ct.array[box], ct.grid.cropped((0, 0, 24), (24, 50, 48)))
    assert share_wrong(body_mask(cropped), patient[box]) < 0.001


def test_both_legs_are_the_body():
    ct, patient = a_torso()
    two = np.concatenate([ct.array, ct.array[:, :, :80]], axis=2)
    mask = body_mask(Volume(two, VoxelGrid(two.shape, ct.grid.ijk_to_ras)))
    assert share_wrong(mask, np.concatenate([patient, patient[:, :, :80]], axis=2)) < 0.005


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_axial_direction_is_the_patients_and_not_the_arrays(order):
    ct, patient = a_torso()
    grid, store = stored_otherwise(ct.grid, order, (True, False, True))
    assert share_wrong(body_mask(Volume(store(ct.array), grid)), store(patient)) < 0.001


def test_an_image_without_tissue_is_refused():
    with pytest.raises(InvalidRequest, match="no tissue"):
        body_mask(Volume(np.full((5, 5, 5), -1000.0), VoxelGrid((5, 5, 5), np.eye(4))))


def read(path: Path) -> Volume:
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image), VoxelGrid(image.GetSize()[::-1], LPS_FROM_RAS @ affine))


@pytest.mark.skipif(not DATA.exists(), reason="the shared CT volumes are not here")
def test_the_organs_of_a_real_abdomen_lie_in_its_body_and_the_air_does_not():
    ct = read(DATA / "abdomen_pelvis" / "ct.nii.gz")
    organ_ids = read(DATA / "abdomen_pelvis" / "labels.nii.gz").array
    mask = body_mask(ct)
    assert mask[organ_ids > 0].mean() > 0.9999
    assert (ct.array[~mask] < -300).mean() > 0.97
    assert 0.55 < mask.mean() < 0.7
    names = {int(n): name for n, name in json.loads((DATA / "abdomen_pelvis" / "labels.json").read_text()).items()}
    partition = organ_players(organ_ids, names, within=np.ones_like(mask), body=mask, grid=ct.grid)
    assert partition.n_players == 62
    assert partition.volumes_ml[partition.names.index("liver")] == pytest.approx((organ_ids == 5).sum() * 0.027)


@pytest.mark.skipif(not DATA.exists(), reason="the shared CT volumes are not here")
def test_lungs_cut_by_the_side_of_a_real_chest_are_body():
    ct = read(DATA / "aortic_cta" / "ct.nii.gz")
    mask = body_mask(ct)
    lung = (ct.array > -900) & (ct.array < -600)
    assert mask[lung].mean() > 0.97
    assert mask[:100].all()
    assert not mask[-1, :8].any()
