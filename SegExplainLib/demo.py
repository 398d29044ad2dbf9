"""The demo: a synthetic torso, the bundled model, one question: why is this labelled a lesion?"""

from pathlib import Path

from SegExplainLib.contract import Cancelled, ExplainRequest, ResultManifest, UnusableModel
from SegExplainLib.organ_map import OrganMap, write_organ_map
from SegExplainLib.phantom import DEMO_SEED, make_torso
from SegExplainLib.pipeline import explain
from SegExplainLib.progress import Progress
from SegExplainLib.results_folder import refuse_finished
from SegExplainLib.volume import Volume
from SegExplainLib.volume_io import write_nrrd


def demo_model_folder() -> Path:
    """The bundled demo model: inside an installed package, or beside the package in a checkout.

    Raises:
        UnusableModel: neither is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "resources" / "demo_model", package.parent / "Resources" / "demo_model"):
        if (folder / "configs" / "inference.json").exists():
            return folder
    raise UnusableModel("The demo model is not part of this installation.", "Install the package again.")


def write_torso(out: Path, *, seed: int = DEMO_SEED) -> None:
    """Writes a synthetic torso to ``out``: ``ct.nrrd``, its organs as ``organs.nrrd``, their names as ``organs.json``.

    Raises:
        OutOfDisk: there is no room.
        InvalidRequest: ``seed`` is negative, or ``out`` cannot be written.
    """
    torso = make_torso(seed)
    organs = OrganMap(
        Volume(torso.labels.array.astype("int32"), torso.labels.grid),
        {label: name for label, name in torso.label_names.items() if label},
    )
    write_nrrd(torso.ct, out / "ct.nrrd")
    write_organ_map(organs, out / "organs.nrrd")


def run_demo(out: Path, *, progress: Progress) -> ResultManifest:
    """Writes the synthetic CT and its organ map to ``out``, and the explanation to ``out/results``."""
    refuse_finished(out / "results", resume=True)
    with progress.stage("make synthetic CT"):
        write_torso(out)
    request = ExplainRequest(
        ct=str(out / "ct.nrrd"),
        model=str(demo_model_folder()),
        target="lesion",
        roi="segment:lesion+10",
        units="hybrid",
        unit_mm=120.0,
        organs=str(out / "organs.nrrd"),
        tolerance=0.08,
    )
    try:
        return explain(request, out / "results", progress=progress, resume=True)
    except Cancelled as error:
        error.hint = "Run the demo again to go on."
        raise
