"""The house holds its shape: imports only downwards, light parts light, numpy's island an island."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "SegExplainLib"

LEVELS = [
    ["__main__"],
    ["cli"],
    ["terminal"],
    [
        "worker",
        "demo",
        "doctor",
        "evaluate",
        "evaluated_maps",
        "evaluated_results",
        "evaluated_voxels",
        "evaluation_answer",
        "finished",
        "judging_games",
        "reopened",
        "voxel_games",
        "comparison",
        "job_folder",
        "preview",
        "forecast",
        "stability_plan",
        "stability_run",
        "progress_bar",
    ],
    ["pipeline"],
    ["play", "gradient_run", "partial_results", "baselines", "question", "question_keys", "results_folder"],
    ["answers"],
    ["report", "game_record", "gradient_record", "baseline_record", "rerun_record"],
    ["evaluation"],
    ["attribution", "game", "counterfactual"],
    ["gradients"],
    ["removal", "target"],
    ["case", "roi", "peer_shapley"],
    ["model", "players", "shapley", "organ_map"],
    ["volume_io"],
    ["images", "phantom"],
    ["volume", "warm", "record_file"],
    ["progress", "atomic", "versions", "requirements"],
    ["contract"],
]
LEVEL_OF = {name: depth for depth, names in enumerate(LEVELS) for name in names}
STDLIB_ONLY = ["SegExplainLib", "SegExplainLib.contract", "SegExplainLib.progress", "SegExplainLib.atomic"]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def unit_of(path: Path) -> str:
    """The file or folder right under the package that a module belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path, *, only_at_import: bool = False) -> set[str]:
    """Dotted names that a module imports, anywhere or only at module level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if only_at_import else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down_the_levels(path):
    own = unit_of(path)
    if own == "__init__":
        assert not imported(path)
        return
    assert own in LEVEL_OF, f"{own} has no level: give it one here and in docs/architecture.md"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "SegExplainLib" or len(parts) < 2 or parts[1] == own:
            continue
        assert LEVEL_OF[own] <= LEVEL_OF.get(parts[1], -1) or parts[1] == "__version__", f"{own} imports {name}"


def test_no_two_units_import_each_other():
    pairs = set()
    for path in modules():
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "SegExplainLib" and len(parts) > 1 and parts[1] != unit_of(path):
                pairs.add((unit_of(path), parts[1]))
    assert not {pair for pair in pairs if pair[::-1] in pairs}


@pytest.mark.parametrize("path", sorted((PACKAGE / "shapley").glob("*.py")), ids=lambda path: path.name)
def test_the_estimators_know_numpy_scipy_and_each_other_only(path):
    roots = {name if name.startswith("SegExplainLib.shapley") else name.split(".")[0] for name in imported(path)}
    foreign = {
        root
        for root in roots
        if root not in ("numpy", "scipy", "threadpoolctl")
        and root not in sys.stdlib_module_names
        and not root.startswith("SegExplainLib.shapley")
    }
    assert not foreign


def test_the_contract_needs_the_standard_library_only():
    code = (
        f"import sys; before = set(sys.modules); import {', '.join(STDLIB_ONLY)};"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - sys.stdlib_module_names - {'SegExplainLib'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_answers_for_help_without_loading_torch():
    code = "import sys; import SegExplainLib.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_nothing_of_slicer_is_imported_by_the_backend():
    for path in modules():
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & {"slicer", "qt", "ctk", "vtk"}, path


MODULE = ROOT / "SegExplain"
GUI = MODULE / "SegExplainGui"
GUI_LEVELS = [
    ["self_test"],
    ["console", "panel"],
    ["session", "views"],
    ["result_files"],
    ["run", "evaluation_run", "under_way"],
    ["scene_question"],
    ["scene", "setup"],
    ["worker"],
    ["services", "machine", "desktop"],
    ["shown_result", "parameters"],
]
GUI_LEVEL_OF = {name: depth for depth, names in enumerate(GUI_LEVELS) for name in names}
LIBRARY_IN_SLICER = {"contract", "progress", "atomic", "requirements", "model.totalsegmentator", "report.colours"}
HEAVY = {"torch", "monai", "SimpleITK", "scipy", "psutil", "requests"}
START_WORKER = GUI / "worker" / "start_worker.py"
"""The one file that runs in the worker's process."""


def gui_modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders or ("",) for path in (GUI / folder).rglob("*.py"))


def gui_unit_of(name: str) -> str:
    """``scene`` of ``SegExplainGui.scene.export``; empty where a name is no part of it."""
    parts = name.split(".")
    return parts[1] if parts[0] == "SegExplainGui" and len(parts) > 1 else ""


def of_library(name: str) -> str:
    """``report.colours`` of ``SegExplainLib.report.colours.diverging_rgb``."""
    parts = name.split(".")[1:]
    while parts and not PACKAGE.joinpath(*parts).with_suffix(".py").exists():
        parts = parts[:-1]
    return ".".join(parts)


def in_gui(path: Path) -> str:
    return str(path.relative_to(MODULE))


@pytest.mark.parametrize("path", gui_modules(), ids=in_gui)
def test_in_slicer_imports_only_go_down_the_levels(path):
    own = path.relative_to(GUI).parts[0].removesuffix(".py")
    for other in {gui_unit_of(name) for name in imported(path)} - {"", own}:
        assert GUI_LEVEL_OF[own] < GUI_LEVEL_OF[other], f"{in_gui(path)} imports {other}"


@pytest.mark.parametrize("path", [path for path in gui_modules() if path != START_WORKER], ids=in_gui)
def test_slicer_takes_from_the_library_only_what_slicers_python_can_import(path):
    names = {name for name in imported(path) if name.split(".")[0] == "SegExplainLib"}
    taken = {of_library(name) for name in names} - {""}
    assert taken <= LIBRARY_IN_SLICER, taken - LIBRARY_IN_SLICER


@pytest.mark.parametrize("path", gui_modules("worker"), ids=in_gui)
def test_the_way_to_the_worker_knows_neither_scene_nor_panel(path):
    names = imported(path)
    assert not {gui_unit_of(name) for name in names} & {"scene", "views", "setup"}
    roots = {name.split(".")[0] for name in names}
    assert "ctk" not in roots
    assert path.name == "qt_process.py" or "qt" not in roots


@pytest.mark.parametrize("path", gui_modules("scene"), ids=in_gui)
def test_scene_work_needs_no_window_and_no_slicer_util(path):
    assert not {name.split(".")[0] for name in imported(path)} & {"qt", "ctk"}
    assert "slicer.util" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", gui_modules("views"), ids=in_gui)
def test_views_ask_services_and_touch_neither_worker_nor_scene(path):
    assert not {gui_unit_of(name) for name in imported(path)} & {"scene", "worker", "setup", "session", "run"}


def test_slicer_reads_the_module_file_without_anything_but_slicer_and_the_standard_library():
    names = imported(MODULE / "SegExplain.py", only_at_import=True)
    assert {name.split(".")[0] for name in names} <= {"slicer", *sys.stdlib_module_names}


@pytest.mark.parametrize("path", sorted(MODULE.rglob("*.py")), ids=in_gui)
def test_nothing_that_a_lean_slicer_lacks_is_imported_with_a_file(path):
    assert not {name.split(".")[0] for name in imported(path, only_at_import=True)} & HEAVY
