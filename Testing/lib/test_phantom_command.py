"""``segexplain phantom``: the sample data of the Slicer module."""

import numpy as np
from typer.testing import CliRunner

from SegExplainLib.cli import app
from SegExplainLib.organ_map import read_organ_map
from SegExplainLib.phantom import DEMO_SEED, make_torso
from SegExplainLib.volume_io import read_ct


def write(*words):
    return CliRunner().invoke(app, ["phantom", *map(str, words)])


def test_the_torso_of_the_demo_comes_back_from_its_files_with_its_organs_by_name(tmp_path):
    assert write(tmp_path).exit_code == 0
    torso = make_torso(DEMO_SEED)
    ct, organs = read_ct(tmp_path / "ct.nrrd"), read_organ_map(tmp_path / "organs.nrrd")
    np.testing.assert_allclose(ct.array, torso.ct.array, atol=0.51)
    np.testing.assert_allclose(ct.grid.ijk_to_ras, torso.ct.grid.ijk_to_ras, atol=1e-6)
    np.testing.assert_array_equal(organs.labels.array, torso.labels.array)
    assert organs.names == {label: name for label, name in torso.label_names.items() if label}


def test_another_seed_gives_another_torso(tmp_path):
    assert write(tmp_path / "a", "--seed", 1).exit_code == 0
    assert write(tmp_path / "b", "--seed", 2).exit_code == 0
    assert (tmp_path / "a/ct.nrrd").read_bytes() != (tmp_path / "b/ct.nrrd").read_bytes()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    result = write(tmp_path / "file")
    assert result.exit_code == 1
    assert "cannot be written" in " ".join(result.stderr.split())
