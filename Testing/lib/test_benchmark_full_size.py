"""The benchmark of a full-size network, end to end on a tiny one."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks.full_size.__main__ import DEFAULT_METHOD, main
from benchmarks.full_size.clocks import peak_memory
from benchmarks.full_size.explained import explained
from benchmarks.full_size.growth import growth
from benchmarks.full_size.opened import opened
from benchmarks.full_size.sizes import FULL, REDUCED, Size

TINY = Size(
    name="tiny",
    features=(4, 8),
    tile=16,
    ct_mm=8.0,
    height=64,
    roi_start_kji=(24, 16, 24),
    roi_edge=4,
    unit_mm=100.0,
)
HOW = {"seed": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def a_question():
    with opened(TINY, n_classes=5, volume_scale=1.0, **HOW) as there:
        yield there


@pytest.fixture(scope="module")
def a_run(a_question):
    return explained(a_question, method="leverage-shap", tolerance=0.0, budget=60)


@pytest.fixture(scope="module")
def grown():
    return [
        growth(TINY, n_classes=n_classes, volume_scale=scale, n_coalitions=20, **HOW)
        for n_classes, scale in ((3, 1.0), (5, 1.0), (40, 1.0), (5, 2.0))
    ]


def test_the_tiles_that_the_engine_counts_are_those_that_the_network_is_given(a_run):
    assert a_run.n_run == a_run.n_seen
    assert 0 < a_run.n_seen <= a_run.n_asked


def test_every_coalition_asks_for_every_tile_of_the_region(a_run, a_question):
    n_tiles = a_question.question.case.region.n_tiles
    assert n_tiles > 1
    assert a_run.n_asked % n_tiles == 0
    assert a_run.n_asked <= 60 * n_tiles


def test_the_network_takes_some_of_the_time_and_not_all_of_it(a_run):
    assert 0 < a_run.outside_share < 1
    assert 0 < a_run.network_s < a_run.answer_s


def test_another_run_of_a_question_starts_from_nothing(a_run, a_question):
    elsewhere = replace(a_question, folder=a_question.folder / "again")
    again = explained(elsewhere, method="leverage-shap", tolerance=0.0, budget=60)
    assert (again.n_seen, again.n_coalitions) == (a_run.n_seen, a_run.n_coalitions)
    assert again.relative_error == a_run.relative_error


def test_what_is_explained_is_the_class_that_most_of_the_region_is_given(a_question):
    question, request = a_question.question, a_question.request
    case, segmenter = question.case, question.segmenter
    total = torch.zeros((segmenter.n_channels, *case.tiles.image_shape))
    for tile in range(case.tiles.n_tiles):
        where = case.tiles.slices(tile)
        image = torch.from_numpy(case.network_input.array[:, *where])
        total[:, *where] += segmenter.tile_logits(image[None])[0] * case.tiles.weights
    counts = torch.bincount(total.argmax(dim=0)[torch.from_numpy(case.roi)], minlength=segmenter.n_channels)
    assert request.target == f"class {1 + int(counts[1:].argmax())}"
    assert a_question.n_target_voxels == int(counts[1:].max()) > 0


def test_the_region_has_its_size_on_the_grid_of_the_network(a_question):
    case = a_question.question.case
    assert case.region.mask.shape == (TINY.roi_edge,) * 3
    assert tuple(box.start for box in case.region.box) == TINY.roi_start_kji
    assert case.network_input.grid.spacing_kji_mm == pytest.approx([TINY.network_mm] * 3)
    assert case.tiles.image_shape[0] == TINY.height


def test_tiles_do_not_grow_with_classes_nor_with_the_volume(grown):
    assert {row.n_classes for row in grown} == {3, 5, 40}
    assert grown[-1].image_shape[0] == 2 * grown[0].image_shape[0]
    assert grown[-1].n_image_tiles > grown[0].n_image_tiles
    assert len({(row.n_units, row.n_region_tiles, row.n_asked, row.n_run) for row in grown}) == 1


def test_full_and_reduced_volumes_are_whole_numbers_of_half_tiles_with_the_region_below_the_last():
    for size in (FULL, REDUCED, TINY):
        assert size.height % (size.tile // 2) == 0
        assert size.roi_start_kji[0] + size.roi_edge <= size.height - size.tile // 2
        assert not any(start % 4 for start in (*size.roi_start_kji, size.roi_edge))
        assert size.tile % 2 ** (len(size.features) - 1) == 0


def test_the_memory_of_a_block_shows_in_its_peak():
    with peak_memory(torch.device("cpu")) as idle:
        pass
    with peak_memory(torch.device("cpu")) as busy:
        held = torch.ones(64 * 2**20)  # float32: 256 MiB
    assert busy.gib - idle.gib == pytest.approx(held.numel() * 4 / 2**30, abs=0.1)


def test_the_tables_are_printed_and_written_and_no_file_is_left(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("benchmarks.full_size.__main__.GROWN", ((3, 1.0), (3, 2.0)))
    out = tmp_path / "figures.json"
    options = ["--device", "cpu", "--classes", "4", "--budget", "60", "--growth", "--growth-coalitions", "3"]
    main([*options, "--method", "permutation", "--json", str(out)], size=TINY)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("tiny (no CUDA device) on a CPU")
    (methods,) = [line.split()[1:] for line in lines if line.startswith("method")]
    figures = json.loads(out.read_text())
    assert methods == [run["method"] for run in figures["explanations"]] == [DEFAULT_METHOD, "permutation"]
    assert len({row["n_asked"] for row in figures["growth"]}) == 1
    assert list(tmp_path.iterdir()) == [out]
