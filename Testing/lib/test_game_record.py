import errno
import os
import stat

import numpy as np
import pytest
from builders import block_partition, oblique_grid

from SegExplainLib.atomic import atomic_folder, atomic_path, require_free_space
from SegExplainLib.contract import InvalidRequest, OutOfDisk
from SegExplainLib.game import TallyTable
from SegExplainLib.game_record import GameRecord
from SegExplainLib.record_file import fingerprints_of


def a_record(*, n=5, seed=0, ct="one"):
    rng = np.random.default_rng(seed)
    partition = block_partition(oblique_grid())
    table = TallyTable(partition.n_players, 3)
    table.append(rng.random((n, partition.n_players)) < 0.5, rng.normal(size=(n, 3, 8)))
    roi = rng.random(partition.grid.shape_kji) < 0.2
    prediction = rng.random((3, roi.sum())) < 0.5
    return GameRecord(
        table,
        partition,
        roi,
        roi[:4],
        {"leber": 1, "näse": 2},
        prediction,
        ~prediction,
        "",
        fingerprints_of({"the CT": ct}),
    )


def test_a_record_comes_back_from_disk_as_it_was(tmp_path):
    record = a_record()
    record.save(tmp_path / "coalitions.npz")
    back = GameRecord.load(tmp_path / "coalitions.npz")
    np.testing.assert_array_equal(back.table.coalitions, record.table.coalitions)
    np.testing.assert_array_equal(back.table.tallies, record.table.tallies)
    np.testing.assert_array_equal(back.partition.labels, record.partition.labels)
    np.testing.assert_array_equal(back.partition.grid.ijk_to_ras, record.partition.grid.ijk_to_ras)
    np.testing.assert_array_equal(back.roi, record.roi)
    np.testing.assert_array_equal(back.reference, record.reference)
    assert back.partition.names == record.partition.names
    assert back.class_names == record.class_names
    assert back.fingerprints == record.fingerprints


def test_an_interrupted_run_of_the_same_game_is_taken_over(tmp_path):
    earlier, now = a_record(n=5), a_record(n=0)
    now.take_over(earlier)
    np.testing.assert_array_equal(now.table.tallies, earlier.table.tallies)


def test_an_interrupted_run_of_another_game_is_refused_and_the_difference_named():
    with pytest.raises(InvalidRequest, match="the CT differ"):
        a_record(ct="one").take_over(a_record(ct="other"))


def test_a_class_that_is_not_there_is_answered_with_near_names():
    with pytest.raises(InvalidRequest, match="leber"):
        a_record().channel_of("leba")


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_a_damaged_record_is_one_clear_error(tmp_path, damage):
    path = tmp_path / "coalitions.npz"
    a_record().save(path)
    path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        GameRecord.load(path)


def test_a_file_that_fails_half_way_leaves_nothing(tmp_path):
    def fail():
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_readable_for_whom_the_system_allows(tmp_path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    (tmp_path / "b.txt").write_text("plain")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "b.txt")}
    assert len(modes) == 1


def test_a_folder_gets_its_last_file_last(tmp_path, monkeypatch):
    order = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(os.path.basename(b)), replace(a, b)))
    with atomic_folder(tmp_path / "out", last="b") as temporary:
        for name in "abc":
            (temporary / name).write_text(name)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a", "b", "c"]


def test_a_full_disk_is_told_as_such(tmp_path):
    def fill():
        with atomic_path(tmp_path / "a.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutOfDisk, match="full"):
        fill()
    with pytest.raises(OutOfDisk, match="MiB free"):
        require_free_space(tmp_path / "not" / "yet", 2**60)
