"""The code in the documents runs, and what they link to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize(
    "block", [pytest.param(block, id=f"block {n}") for n, block in enumerate(python_blocks(ROOT / "docs/extending.md"))]
)
def test_the_examples_for_extending_run(block):
    exec(compile(block, "docs/extending.md", "exec"), {})  # its own asserts judge it


def test_the_readmes_python_example_runs_on_the_small_torso(a_question, tmp_path, monkeypatch, capsys):
    (block,) = python_blocks(ROOT / "README.md")
    given = f"ct={a_question.ct!r}, model={a_question.model!r}, target='kidney_right', roi='segment:kidney_right', "
    given += f"organs={a_question.organs!r}, value='soft-volume', budget=36"
    asked = 'ct="ct.nii.gz", model="model", target="liver", roi="segment:liver+10"'
    assert asked in block
    monkeypatch.chdir(tmp_path)
    exec(compile(block.replace(asked, given), "README.md", "exec"), {})
    assert "kidney" in capsys.readouterr().out
    assert (tmp_path / "why-liver" / "manifest.json").exists()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(path):
    for link in re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / link).exists(), link
