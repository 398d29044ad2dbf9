"""The command line: ``segexplain explain | predict | revalue | compare | evaluate | demo | phantom | ... | serve``."""

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from SegExplainLib.contract import (
    DIFFERENTIABLE_VALUES,
    GRADIENT_METHODS,
    REMOVALS,
    SHAPLEY_METHODS,
    SINGLE_REMOVALS,
    VALUES,
    ExplainRequest,
)
from SegExplainLib.terminal import tell_answer, tell_comparison, tell_evaluation, told

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Why did the network label this here? Shapley explanations of 3D segmentation networks on CT.",
)

Batch = Annotated[str, typer.Option(help="Tiles in one network call: a number or auto.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Fold = Annotated[list[str] | None, typer.Option("--fold", help="Fold of an nnU-Net; repeat for several. Default: all.")]
Mirroring = Annotated[str, typer.Option(help="Test-time flips of an nnU-Net: model (as trained) or off.")]
Model = Annotated[str, typer.Option(help="nnU-Net v2 results folder, MONAI bundle, or totalsegmentator:TASK_ID.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted run left in --out.")]
Trust = Annotated[
    bool, typer.Option("--trust-model", help="Open a model file that can execute code. Only for models you trust.")
]

DEFAULT = ExplainRequest(ct="", model="", target="", roi="")


@app.command()
def explain(
    ct: Annotated[str, typer.Argument(help="CT: NIfTI, NRRD, MHA, or a folder with one DICOM series.")],
    model: Model,
    target: Annotated[str, typer.Option(help="Class to explain, by name.")],
    roi: Annotated[
        str, typer.Option(help="ijk:i0,i1,j0,j1,k0,k1 | ras:x0,x1,y0,y1,z0,z1 | mask:PATH | segment:NAME+MM")
    ],
    units: Annotated[str, typer.Option(help="organs, fcc or hybrid.")] = DEFAULT.units,
    organs: Annotated[str, typer.Option(help="Organ label map; default: the model's own prediction.")] = "",
    unit_mm: Annotated[float, typer.Option(help="Size of FCC supervoxels in mm.")] = DEFAULT.unit_mm,
    reference: Annotated[str, typer.Option(help="Mask taken as the truth; default: the model's prediction.")] = "",
    removal: Annotated[
        str,
        typer.Option(
            "--removal",
            "--baseline",
            help="What an absent unit looks like, and with every unit absent the baseline that a path starts from: "
            f"{', '.join(REMOVALS)}.",
        ),
    ] = DEFAULT.removal,
    reference_ct: Annotated[
        list[str] | None, typer.Option(help="CT for the removal references; repeat for several.")
    ] = None,
    value: Annotated[
        str,
        typer.Option(help=f"The explained number: {', '.join(VALUES)}."),
    ] = DEFAULT.value,
    method: Annotated[
        str,
        typer.Option(
            help=f"By coalitions: {', '.join(SHAPLEY_METHODS)}. By gradients, for the values "
            f"{', '.join(DIFFERENTIABLE_VALUES)}: {', '.join(GRADIENT_METHODS)}."
        ),
    ] = DEFAULT.method,
    budget: Annotated[
        int, typer.Option(help="Most coalitions to evaluate, or gradients to take; 0: automatic.", min=0)
    ] = 0,
    tolerance: Annotated[
        float, typer.Option(help="Stop at this largest standard error over the range of the values; 0: never.")
    ] = DEFAULT.tolerance,
    stop_at: Annotated[
        str,
        typer.Option(
            help="What to settle: values (all, to the tolerance), or ranking: end as well once the --top units and "
            "their signs are settled, ties up to the tolerance."
        ),
    ] = DEFAULT.stop_at,
    top: Annotated[int, typer.Option(help="Units that --stop-at ranking settles.", min=1)] = DEFAULT.top,
    noise: Annotated[
        float, typer.Option(help="SmoothGrad's noise: standard deviation over the range of intensities.")
    ] = DEFAULT.noise,
    layer: Annotated[str, typer.Option(help="Layer for seg-grad-cam, by name; default: the bottleneck.")] = "",
    float32: Annotated[
        bool, typer.Option("--float32", help="Gradients in float32 where the network would run in mixed precision.")
    ] = False,
    xrai_fast: Annotated[
        bool, typer.Option("--xrai-fast", help="Rank xrai's segments once, by their own mean.")
    ] = False,
    xrai_units: Annotated[bool, typer.Option("--xrai-units", help="The units are segments of xrai, too.")] = False,
    seed: Annotated[int, typer.Option(help="Of every random choice.", min=0)] = 0,
    device: Device = "auto",
    batch: Batch = "auto",
    out: Annotated[Path | None, typer.Option(help="Results folder; default: named after CT and target.")] = None,
    resume: Resume = False,
    mirroring: Mirroring = "model",
    fold: Fold = None,
    trust_model: Trust = False,
) -> None:
    """Explain why a network labels a region of a CT as it does."""
    request = ExplainRequest(
        ct=ct,
        model=model,
        target=target,
        roi=roi,
        units=units,
        organs=organs,
        unit_mm=unit_mm,
        reference=reference,
        removal=removal,
        reference_cts=tuple(reference_ct or ()),
        value=value,
        method=method,
        budget=budget,
        tolerance=tolerance,
        stop_at=stop_at,
        top=top,
        noise=noise,
        layer=layer,
        float32=float32,
        xrai_fast=xrai_fast,
        xrai_units=xrai_units,
        seed=seed,
        device=device,
        batch=_batch(batch),
        mirroring=mirroring,
        folds=tuple(fold or ()),
        trust_model=trust_model,
    )
    out = out or Path(_file_name("segexplain", Path(ct).resolve().name.split(".")[0], target, units))
    with told() as progress:
        from SegExplainLib.pipeline import explain as run

        manifest = run(request, out, progress=progress, resume=resume)
    tell_answer(manifest.answer, out)


@app.command()
def predict(
    ct: Annotated[str, typer.Argument(help="CT: NIfTI, NRRD, MHA, or a folder with one DICOM series.")],
    model: Model,
    out: Annotated[Path, typer.Option(help="Label map to write: .nii.gz, .nrrd or .mha.")],
    device: Device = "auto",
    mirroring: Mirroring = "model",
    fold: Fold = None,
    trust_model: Trust = False,
) -> None:
    """Write the model's own segmentation of a CT, computed by our tiles."""
    with told() as progress:
        from SegExplainLib.pipeline import predict as run

        run(
            ct,
            model,
            out,
            device=device,
            mirroring=mirroring,
            folds=tuple(fold or ()),
            trust_model=trust_model,
            progress=progress,
        )
    Console().print(f"Written: {escape(str(out))}")


@app.command()
def revalue(
    results: Annotated[Path, typer.Argument(help="Results folder of a finished run.")],
    target: Annotated[str, typer.Option(help="Class to explain, by name.")],
    value: Annotated[str, typer.Option(help="The explained number, as in explain.")] = DEFAULT.value,
    out: Annotated[Path | None, typer.Option(help="Folder for the new results.")] = None,
) -> None:
    """Explain another class or value function from the coalitions of a finished run, without the network."""
    results = results.resolve()
    out = out or results.with_name(_file_name(results.name, target, value))
    with told() as progress:
        from SegExplainLib.pipeline import revalue as run

        manifest = run(results, out, target=target, value=value, progress=progress)
    tell_answer(manifest.answer, out)


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(help="Results folders of finished runs on one question.")],
    out: Annotated[Path, typer.Option(help="Table to write.")] = Path("comparison.csv"),
) -> None:
    """Put several methods' answers to one question side by side: values, shares and ranks of each unit."""
    with told():
        from SegExplainLib.comparison import compared, write_comparison

        comparison = compared(results)
        write_comparison(out, comparison)
    tell_comparison(comparison, out)


@app.command()
def evaluate(
    results: Annotated[list[Path], typer.Argument(help="Results folders of finished runs on one question.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to make; default: the first results' name-evaluation.")
    ] = None,
    mask: Annotated[
        str, typer.Option(help="What maps should agree with; default: the predicted target in the region.")
    ] = "",
    removal: Annotated[
        str,
        typer.Option(
            help="How units are removed to judge: one of "
            f"{', '.join(SINGLE_REMOVALS)}. Default: as in the first result that removes units."
        ),
    ] = "",
    budget: Annotated[int, typer.Option(help="Most new coalitions of units to evaluate; 0: automatic.", min=0)] = 0,
    voxel_steps: Annotated[
        int, typer.Option(help="Steps of the curves over voxels, where a result tells voxels apart; 0: none.", min=0)
    ] = 40,
    stability: Annotated[
        str,
        typer.Option(
            help="Run each result's method again: all, none, or of noise, seeds, weights, removals with commas between."
        ),
    ] = "none",
    repeats: Annotated[int, typer.Option(help="Runs under noise, and with other seeds.", min=1)] = 3,
    noise_hu: Annotated[float, typer.Option(help="Bound of the noise in HU, either way.", min=0)] = 20.0,
    seed: Annotated[int, typer.Option(help="Of every random choice.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; default: as in the results.")] = "",
    trust_model: Trust = False,
) -> None:
    """Say how far results can be trusted: faithfulness, agreement with a mask, stability."""
    first = results[0].resolve()
    out = out or first.with_name(f"{first.name}-evaluation")
    with told() as progress:
        from SegExplainLib.evaluate import evaluate as run

        evaluation = run(
            results,
            out,
            mask=mask,
            removal=removal,
            budget=budget,
            voxel_steps=voxel_steps,
            stability=_kinds(stability),
            n_repeats=repeats,
            noise_hu=noise_hu,
            seed=seed,
            device=device,
            trust_model=trust_model,
            progress=progress,
            on_plan=lambda words: Console(stderr=True).print(escape(words), soft_wrap=True),
        )
    tell_evaluation(evaluation, out)


def _kinds(stability: str) -> tuple[str, ...]:
    """Kinds of re-runs from their names with commas between."""
    from SegExplainLib.stability_plan import KINDS

    if stability in ("", "none"):
        return ()
    return KINDS if stability == "all" else tuple(name.strip() for name in stability.split(","))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the CT and the results.")] = Path("segexplain-demo"),
) -> None:
    """Explain the bundled demo model on a synthetic torso CT."""
    with told() as progress:
        from SegExplainLib.demo import run_demo

        manifest = run_demo(out, progress=progress)
    tell_answer(manifest.answer, out / "results")


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder for ct.nrrd, organs.nrrd and organs.json.")],
    seed: Annotated[int | None, typer.Option(help="Of the random torso; default: the demo's.", min=0)] = None,
) -> None:
    """Write the demo's synthetic torso CT and its organ map, or another one."""
    with told():
        from SegExplainLib.demo import DEMO_SEED, write_torso

        write_torso(out, seed=DEMO_SEED if seed is None else seed)
    Console().print(f"Written: {escape(str(out))}")


@app.command()
def doctor() -> None:
    """Say what this installation can do: versions, devices, memory, optional parts, a test of the demo model."""
    from SegExplainLib.doctor import findings

    console = Console()
    has_failed = False
    for finding in findings():
        mark = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "fault": "[red]fault[/]"}[finding.state]
        console.print(f"{mark:>18}  {escape(finding.text)}")
        has_failed |= finding.state == "fault"
    raise typer.Exit(1 if has_failed else 0)


@app.command(name="run")
def run_job_folder(
    job: Annotated[Path, typer.Argument(help="Folder with request.json.")],
    resume: Resume = False,
) -> None:
    """Run a job folder: request.json in, events.jsonl and results/ out."""
    with told() as progress:
        from SegExplainLib.job_folder import run_job

        manifest = run_job(job, listener=progress.listener, progress=progress, resume=resume)
    tell_answer(manifest.answer, job / "results")


@app.command()
def serve() -> None:
    """Serve commands, one a line of JSON on standard input, with events, one a line on standard output."""
    from SegExplainLib.worker import serve as run

    run()


def _file_name(*words: str) -> str:
    """A name that any file system takes."""
    return "-".join(re.sub(r"[^\w.]+", "_", word) for word in words if word)


def _batch(text: str) -> int:
    if text == "auto":
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither auto nor a positive number", param_hint="--batch")
    return int(text)


def main() -> None:
    """Entry point of the ``segexplain`` command."""
    app()
