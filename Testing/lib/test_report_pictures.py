import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.text import Text
from report_builders import (
    TORSO_IDS,
    bars_partition,
    block_mask,
    gradient_attribution,
    make_attribution,
    organ_partition,
    torso_attribution,
    torso_ct,
    torso_grid,
    torso_organ_ids,
)

from SegExplainLib.report.maps import BONE, LUNG, SOFT_TISSUE, draw_plane, grey_window, plane_pictures, write_maps
from SegExplainLib.report.planes import (
    PLANES,
    bounds_to_show,
    centre_voxel_ras,
    picture_of_importances,
    plane_through,
    sampled,
)
from SegExplainLib.report.ranking import draw_ranking, ranking_bars, write_ranking
from SegExplainLib.report.shown import map_limit
from SegExplainLib.volume import VoxelGrid

KINDS = ("plain", "flipped", "oblique")
TORSO_BOX = np.array([[-130.0, -100, -90], [130, 100, 90]])
REGION = ((20, -40, -20), (110, 60, 60))


def ball(grid, centre_ras, radius_mm):
    ras = grid.ras_of(np.stack(np.indices(grid.shape_kji), axis=-1))
    return ((ras - np.array(centre_ras)) ** 2).sum(axis=-1) <= radius_mm**2


def torso_pictures(kind, **changes):
    grid = torso_grid(kind)
    predicted, roi = torso_organ_ids(grid) == TORSO_IDS["liver"], block_mask(grid, *REGION)
    return plane_pictures(torso_attribution(), torso_ct(grid), **{"predicted": predicted, "roi": roi, **changes})


def assert_nothing_is_cut_off(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = figure.bbox
    for text in figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible() and artist.get_text()):
        box = text.get_window_extent(canvas.get_renderer())
        assert page.x0 <= box.x0, text
        assert box.x1 <= page.x1, text
        assert page.y0 <= box.y0, text
        assert box.y1 <= page.y1, text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLANES)
def test_patient_right_front_and_head_are_where_a_radiologist_looks_for_them(name, kind):
    grid, centre = torso_grid(kind), np.array([70.0, 45.0, 40.0])  # right, anterior, superior
    plane = plane_through(centre, name, bounds_ras=TORSO_BOX)
    shown = sampled(ball(grid, centre, 15), grid, plane, is_smooth=True, outside=0.0) > 0.5
    row, column = np.argwhere(shown).mean(axis=0)
    left, top = {"axial": ("R", "A"), "coronal": ("R", "S"), "sagittal": ("A", "S")}[name]
    assert (plane.letters["left"], plane.letters["top"]) == (left, top)
    assert {plane.letters["left"], plane.letters["right"]} in ({"R", "L"}, {"A", "P"})
    assert row < 0.4 * plane.shape[0]
    assert column < 0.4 * plane.shape[1]
    np.testing.assert_allclose(plane.ras[shown].mean(axis=0), centre, atol=1.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLANES)
def test_a_ball_stays_round_on_voxels_that_are_not_cubes(name, kind):
    grid = torso_grid(kind)
    plane = plane_through(np.zeros(3), name, bounds_ras=TORSO_BOX)
    shown = sampled(ball(grid, np.zeros(3), 40), grid, plane, is_smooth=True) > 0.5
    rows, columns = (np.ptp(np.flatnonzero(shown.any(axis=axis))) * plane.pixel_mm for axis in (1, 0))
    assert rows == pytest.approx(80, abs=4.5)
    assert columns == pytest.approx(80, abs=4.5)


@pytest.mark.parametrize("name", PLANES)
def test_a_plane_parallel_to_the_grid_shows_one_slice_unblurred(name):
    grid = torso_grid("flipped")
    ct = torso_ct(grid)
    roi = block_mask(grid, *REGION)
    point = centre_voxel_ras(grid, roi, roi)
    plane = plane_through(point, name, bounds_ras=TORSO_BOX)
    k, j, i = np.rint(grid.kji_of(point)).astype(int)
    expected = {"axial": ct.array[k], "coronal": ct.array[:, j], "sagittal": ct.array[:, :, i]}[name]
    shown = sampled(ct.array, grid, plane, is_smooth=False)
    assert np.isin(shown[np.isfinite(shown)], expected).all()
    smooth = sampled(ct.array, grid, plane, is_smooth=True)
    at_centres = np.abs(grid.kji_of(plane.ras) - np.rint(grid.kji_of(plane.ras))).max(axis=-1) < 0.03
    np.testing.assert_allclose(smooth[at_centres], shown[at_centres], atol=80)
    assert at_centres.any()


@pytest.mark.parametrize("is_smooth", [True, False])
def test_the_picture_ends_half_a_voxel_beyond_the_last_centres(is_smooth):
    grid = VoxelGrid((4, 4, 4), np.diag([10.0, 10, 10, 1]))
    plane = plane_through(np.array([10.0, 10, 10]), "axial", bounds_ras=np.array([[-25.0] * 3, [55.0] * 3]))
    shown = np.isfinite(sampled(np.ones((4, 4, 4)), grid, plane, is_smooth=is_smooth))
    assert shown.sum() * plane.pixel_mm**2 == pytest.approx(40.0**2, rel=0.02)


def test_positions_are_written_as_slicer_does():
    written = [plane_through(np.array([-3.25, 12.5, -40.0]), name, bounds_ras=TORSO_BOX).position for name in PLANES]
    assert written == ["I 40.0 mm", "A 12.5 mm", "L 3.2 mm"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_pixel_has_the_importance_of_its_unit(kind):
    attribution = torso_attribution()
    for pictures in torso_pictures(kind):
        expected = np.append(attribution.player_values, 0.0).astype(np.float32)
        assert np.isin(pictures.importances, expected).all()
        kji = np.rint(attribution.partition.grid.kji_of(pictures.plane.ras)).astype(int)
        ids = attribution.partition.labels[tuple(np.clip(kji, 0, np.array(attribution.partition.labels.shape) - 1).T)].T
        liver = ids == TORSO_IDS["liver"]
        assert liver.any()
        assert np.mean(pictures.importances[liver] == np.float32(0.563)) > 0.99


def test_outside_of_the_units_there_is_no_importance():
    attribution = torso_attribution()
    far = plane_through(np.array([0.0, 0, 400]), "axial", bounds_ras=TORSO_BOX)
    assert not picture_of_importances(attribution, far).any()


def test_the_planes_go_through_the_target_even_where_it_is_bent():
    grid = torso_grid()
    ring = ball(grid, (0, 0, 0), 60) & ~ball(grid, (0, 0, 0), 40)
    point = centre_voxel_ras(grid, ring, np.ones(grid.shape_kji, dtype=bool))
    k, j, i = np.rint(grid.kji_of(point)).astype(int)
    assert ring[k, j, i]


def test_a_region_without_the_target_is_shown_at_its_own_centre():
    grid = torso_grid()
    roi = block_mask(grid, (-110, -70, 0), (-60, -10, 50))
    point = centre_voxel_ras(grid, np.zeros_like(roi), roi)
    np.testing.assert_allclose(point, [-85, -40, 25], atol=4)


@pytest.mark.parametrize("kind", KINDS)
def test_all_units_and_the_region_are_in_sight_but_nothing_beyond_the_ct(kind):
    grid, attribution = torso_grid(kind), torso_attribution()
    lower, upper = bounds_to_show(attribution, grid, block_mask(grid, *REGION))
    partition = attribution.partition
    ras = partition.grid.ras_of(np.argwhere(partition.labels > 0))
    corners = grid.ras_of(np.array([[k, j, i] for k in (0, 1) for j in (0, 1) for i in (0, 1)]) * grid.shape_kji)
    assert (lower >= corners.min(axis=0) - 5).all()
    assert (upper <= corners.max(axis=0) + 5).all()
    assert (lower <= np.maximum(ras.min(axis=0), corners.min(axis=0))).all()
    assert (upper >= np.minimum(ras.max(axis=0), corners.max(axis=0) - 5)).all()


def test_masks_are_known_inside_the_region_only_and_their_border_with_it_is_no_contour():
    everything = np.ones(torso_grid().shape_kji, dtype=bool)
    for pictures in torso_pictures("plain", predicted=everything & block_mask(torso_grid(), *REGION)):
        known = np.isfinite(pictures.predicted)
        assert known.any()
        assert (pictures.roi[known] == 1).all()
        assert (pictures.predicted[known] > 0.5).all()
        assert pictures.reference is None


@pytest.mark.parametrize(("middle_hu", "window"), [(60, SOFT_TISSUE), (-800, LUNG), (500, BONE)])
def test_the_window_fits_what_is_in_the_region(middle_hu, window):
    assert grey_window(np.random.default_rng(0).normal(middle_hu, 50, 1000)) == window


def test_an_empty_region_gets_the_soft_tissue_window():
    assert grey_window(np.array([])) == SOFT_TISSUE
    assert SOFT_TISSUE.limits == (-160, 240)


def test_the_written_pictures_show_the_liver_in_red_on_the_patients_right(tmp_path):
    grid = torso_grid("flipped")
    ct, predicted, roi = torso_ct(grid), torso_organ_ids(grid) == 1, block_mask(grid, *REGION)
    maps = write_maps(tmp_path, torso_attribution(), ct, predicted=predicted, roi=roi, reference=predicted)
    assert [picture.path.name for picture in maps] == ["map_axial.png", "map_coronal.png", "map_sagittal.png"]
    image = imread(maps[0].path)[..., :3]
    assert image.shape[1] == pytest.approx(2 * maps[0].css_width, abs=2)
    right_panel = image[:, int(0.45 * image.shape[1]) : int(0.88 * image.shape[1])]
    strong_red = (right_panel[..., 0] > 0.6) & (right_panel[..., 1:] < 0.35).all(axis=-1)
    assert strong_red.sum() > 10_000
    assert np.argwhere(strong_red)[:, 1].mean() < 0.5 * right_panel.shape[1]
    assert "red positive, blue negative" in maps[0].alt
    assert "reference contour" in maps[0].alt


@pytest.mark.parametrize("box", [(300.0, 120.0, 12.0), (40.0, 60.0, 420.0)])
def test_no_word_of_a_map_is_cut_off_however_thin_it_is(box):
    grid = VoxelGrid((40, 40, 40), np.diag([*(np.array(box) / 40), 1.0]))
    predicted = ball(grid, np.array(box) / 2, 30)
    partition = bars_partition(["one", "two", "three"])
    attribution = make_attribution(
        [-41234.0, 512.0, 77.0], 12.0, partition=partition, quantity="fp", unit="voxels", target="a_very_long_name" * 9
    )
    ct = torso_ct(grid)
    for pictures in plane_pictures(attribution, ct, predicted=predicted, roi=predicted, reference=predicted):
        assert_nothing_is_cut_off(draw_plane(pictures, attribution, limit=41234.0, window=SOFT_TISSUE))


@pytest.mark.filterwarnings("error")
def test_a_region_of_one_voxel_without_the_target_has_pictures(tmp_path):
    grid = torso_grid()
    roi = np.zeros(grid.shape_kji, dtype=bool)
    roi[25, 40, 60] = True
    maps = write_maps(tmp_path, torso_attribution(), torso_ct(grid), predicted=np.zeros_like(roi), roi=roi)
    assert maps[0].caption.endswith("through the centre of the region.")


def test_the_ranking_shows_the_strongest_units_and_the_sum_of_all_others():
    values = np.array([0.5, -0.4, *np.linspace(0.3, 0.01, 30)])
    bars = ranking_bars(make_attribution(values, 0.02))
    assert [bar.value for bar in bars[:3]] == [0.5, -0.4, 0.3]
    assert len(bars) == 16
    assert bars[-1].name == "17 others, sum"
    assert sum(bar.value for bar in bars) == pytest.approx(values.sum())
    assert [bar.is_clear for bar in bars[:3]] == [True, True, True]
    assert not np.isfinite(bars[-1].half_width)


def test_the_bars_and_whiskers_have_the_lengths_of_the_numbers():
    attribution = make_attribution([0.5, -0.3], [0.05, 0.2])
    axes = draw_ranking(attribution, interval_factor=2.0).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5, -0.3]
    whiskers = [container[2][0].get_segments()[0][:, 0] for container in axes.containers if len(container) == 3]
    np.testing.assert_allclose(whiskers, [[0.4, 0.6], [-0.7, 0.1]])
    reds = [bar.get_facecolor()[0] > bar.get_facecolor()[2] for bar in axes.patches]
    assert reds == [True, False]
    assert [bar.get_alpha() for bar in axes.patches] == [1.0, 0.32]


@pytest.mark.parametrize("errors", [0.0, 30.0, np.nan])
def test_no_word_of_the_ranking_is_cut_off(errors):
    names = [f"lobus_superior_pulmonis_sinistri_segmentum_apicoposterius_{n}" for n in range(80)]
    values = np.random.default_rng(3).normal(0, 20000, 80)
    attribution = make_attribution(values, errors, partition=bars_partition(names), quantity="fn", unit="voxels")
    figure = draw_ranking(attribution)
    assert len(figure.axes[0].patches) == 16
    assert_nothing_is_cut_off(figure)


def test_a_ranking_of_zeros_is_drawn(tmp_path):
    picture = write_ranking(tmp_path / "ranking.png", make_attribution([0.0, 0.0]))
    assert picture.path.stat().st_size > 1000


def test_units_on_another_grid_than_the_ct_are_drawn_in_their_place():
    coarse = make_attribution(torso_attribution().player_values, 0.01, partition=organ_partition(9.0))
    plane = plane_through(np.array([60.0, 10, 20]), "axial", bounds_ras=TORSO_BOX)
    fine, rough = (picture_of_importances(a, plane) for a in (torso_attribution(), coarse))
    assert np.mean(fine == rough) > 0.85


BLOB = (60.0, 10.0, 20.0)


def blob_attribution(method, *, is_negative=False):
    """The torso's organs with a map that is bright in one place, and one voxel that is brighter than all."""
    partition = organ_partition()
    voxel_map = ball(partition.grid, BLOB, 20).astype(np.float32) * 1e-5
    k, j, i = np.argwhere(voxel_map > 0)[0]
    voxel_map[k, j, i] = 1.0
    sign = -1 if is_negative else 1
    values = np.linspace(1, 0.1, 7)
    return gradient_attribution(method, values, partition=partition, voxel_map=sign * voxel_map)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLANES)
def test_a_voxel_map_is_shown_where_it_lies_and_inside_the_units_only(name, kind):
    attribution = blob_attribution("saliency")
    plane = plane_through(np.array(BLOB), name, bounds_ras=TORSO_BOX)
    shown = picture_of_importances(attribution, plane)
    bright = plane.ras[shown > 0.5e-5]
    np.testing.assert_allclose(bright.mean(axis=0), BLOB, atol=2.5)
    far = np.linalg.norm(plane.ras - np.array(BLOB), axis=-1) > 30
    assert not shown[far].any()
    outside = replace(attribution, voxel_map=np.ones_like(attribution.voxel_map))
    ids = sampled(attribution.partition.labels, attribution.partition.grid, plane, is_smooth=False, outside=0.0)
    np.testing.assert_array_equal(picture_of_importances(outside, plane) > 0, ids > 0)


def test_one_voxel_beyond_all_others_does_not_empty_the_picture():
    assert map_limit(blob_attribution("saliency")) == pytest.approx(1e-5)
    assert map_limit(torso_attribution()) == 0.563


@pytest.mark.parametrize(
    ("method", "is_negative", "channel"), [("saliency", False, 0), ("smoothgrad", False, 0), ("smoothgrad", True, 2)]
)
def test_the_written_overlay_shows_a_bright_blob_over_the_grey_ct(tmp_path, method, is_negative, channel):
    grid = torso_grid()
    ct, predicted, roi = torso_ct(grid), torso_organ_ids(grid) == TORSO_IDS["liver"], block_mask(grid, *REGION)
    attribution = blob_attribution(method, is_negative=is_negative)
    maps = write_maps(tmp_path, attribution, ct, predicted=predicted, roi=roi)
    image = imread(maps[0].path)[..., :3]
    right_panel = image[:, int(0.45 * image.shape[1]) : int(0.88 * image.shape[1])]
    coloured = (right_panel[..., channel] - right_panel[..., 2 - channel] > 0.3) & (np.ptp(right_panel, axis=-1) < 0.85)
    left_panel = image[:, : int(0.43 * image.shape[1])]
    assert coloured.sum() > 3000
    assert np.argwhere(coloured)[:, 1].mean() < 0.5 * right_panel.shape[1]
    assert (np.ptp(left_panel, axis=-1) > 0.3).sum() < coloured.sum()
    assert "of each voxel" in maps[0].alt
    assert ("purple to orange" in maps[0].alt) == (method == "saliency")


@pytest.mark.parametrize("method", ["saliency", "smoothgrad", "integrated-gradients"])
def test_no_word_beside_a_voxel_map_is_cut_off(method):
    grid = torso_grid()
    masks = {"predicted": torso_organ_ids(grid) == 1, "roi": block_mask(grid, *REGION)}
    attribution = replace(blob_attribution(method), quantity="soft-volume")
    if method == "integrated-gradients":
        attribution = replace(attribution, unit="ml")
    for pictures in plane_pictures(attribution, torso_ct(grid), **masks):
        assert_nothing_is_cut_off(draw_plane(pictures, attribution, limit=map_limit(attribution), window=SOFT_TISSUE))


def test_the_report_needs_neither_torch_nor_pyplot():
    code = "import sys, SegExplainLib.report.folder; print({'torch', 'matplotlib.pyplot'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
