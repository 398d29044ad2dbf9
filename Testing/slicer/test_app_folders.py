"""What SegExplain keeps on the disk, and that deleting it touches nothing else."""

import os
import stat
from pathlib import Path

import pytest
from SegExplainGui.setup.app_folders import (
    cache_folders,
    data_folder,
    delete_downloads,
    new_job_folder,
    private_folder,
    samples_folder,
)

from SegExplainLib.contract import SegExplainError


@pytest.fixture
def a_used_folder(tmp_path):
    """A data folder with 60 bytes in it, and the user's own results beside it."""
    data = tmp_path / "SegExplain"
    for folder, n_bytes in (
        (private_folder(data) / "shap", 10),
        (new_job_folder(data), 20),
        (samples_folder(data), 30),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file").write_bytes(bytes(n_bytes))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "report.html").write_text("mine", encoding="utf-8")
    (data / "notes.txt").write_text("mine too", encoding="utf-8")
    return data


def test_each_folder_is_listed_with_its_size(a_used_folder):
    listed = cache_folders(a_used_folder)
    assert [folder.n_bytes for folder in listed] == [10, 20, 30]
    assert all(folder.purpose for folder in listed)


def test_deleting_frees_what_was_listed_and_leaves_what_is_not_ours(a_used_folder):
    assert delete_downloads(a_used_folder) == 60
    assert sorted(path.name for path in a_used_folder.iterdir()) == ["notes.txt"]
    assert (a_used_folder.parent / "results" / "report.html").read_text(encoding="utf-8") == "mine"
    assert delete_downloads(a_used_folder) == 0


def test_a_job_in_use_is_kept(a_used_folder):
    job = next((a_used_folder / "jobs").iterdir())
    assert delete_downloads(a_used_folder, keep=[job]) == 40
    assert (job / "file").exists()


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_what_a_link_points_to_is_not_deleted(a_used_folder, tmp_path):
    results = tmp_path / "results"
    (samples_folder(a_used_folder) / "folder").symlink_to(results)
    (samples_folder(a_used_folder) / "report").symlink_to(results / "report.html")
    (samples_folder(a_used_folder) / "nowhere").symlink_to(tmp_path / "gone")
    delete_downloads(a_used_folder)
    assert not samples_folder(a_used_folder).exists()
    assert (results / "report.html").exists()


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_whole_folder_that_is_a_link_loses_the_link_only(tmp_path):
    data, elsewhere = tmp_path / "SegExplain", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    (elsewhere / "mine").write_bytes(b"mine")
    samples_folder(data).symlink_to(elsewhere)
    delete_downloads(data)
    assert (elsewhere / "mine").exists()
    assert not samples_folder(data).is_symlink()


def test_what_cannot_be_deleted_is_told_and_the_rest_goes(a_used_folder, monkeypatch):
    unlink = Path.unlink

    def refuse_samples(path):
        if samples_folder(a_used_folder) in path.parents:
            raise PermissionError(13, "in use by another program")
        unlink(path)

    monkeypatch.setattr(Path, "unlink", refuse_samples)
    with pytest.raises(SegExplainError, match="in use by another program"):
        delete_downloads(a_used_folder)
    assert not private_folder(a_used_folder).exists()
    assert (samples_folder(a_used_folder) / "file").exists()


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
def test_only_the_user_can_read_a_job(tmp_path):
    assert stat.S_IMODE(new_job_folder(tmp_path).stat().st_mode) == 0o700


def test_two_jobs_never_share_a_folder(tmp_path):
    assert new_job_folder(tmp_path) != new_job_folder(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SegExplainError, match="cannot be written") as caught:
        new_job_folder(tmp_path / "file")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, Path.home() / ".local/share/SegExplain"),
        ("linux", {"XDG_DATA_HOME": "/scratch/data"}, Path("/scratch/data/SegExplain")),
        ("darwin", {}, Path.home() / "Library/Application Support/SegExplain"),
        ("win32", {"LOCALAPPDATA": "D:/local"}, Path("D:/local/SegExplain")),
    ],
)
def test_everything_lies_where_the_system_keeps_such_things(platform, environment, expected):
    assert data_folder(environment, platform) == expected
