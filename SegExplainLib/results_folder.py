"""A finished run as a folder: report, tables, segments, voxel map, record, and last of all the manifest."""

import hashlib
import math
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.atomic import atomic_folder
from SegExplainLib.attribution import Attribution, Estimate, painted_natively
from SegExplainLib.baseline_record import BASELINE_NAME
from SegExplainLib.contract import ExplainRequest, InvalidRequest, ResultManifest
from SegExplainLib.game_record import RECORD_NAME, GameRecord
from SegExplainLib.gradient_record import GRADIENTS_NAME
from SegExplainLib.progress import Progress
from SegExplainLib.record_file import require_same_question
from SegExplainLib.report.answer import plain_answer
from SegExplainLib.report.findings import Findings
from SegExplainLib.report.folder import write_report
from SegExplainLib.report.tables import ANSWERS_CSV, PLAYERS_CSV, read_players_csv, write_answers_csv
from SegExplainLib.shapley.stopping import Ranking
from SegExplainLib.shapley.student_t import student_t_quantile
from SegExplainLib.shapley.value_function import ShapleyEstimate
from SegExplainLib.versions import installed_versions
from SegExplainLib.volume import Volume, resampled_nearest
from SegExplainLib.volume_io import write_nrrd

MANIFEST_NAME = "manifest.json"
ATTRIBUTION_NAME = "attribution.nrrd"
KEPT = {RECORD_NAME: "coalitions", GRADIENTS_NAME: "gradients", BASELINE_NAME: "baselines"}
"""What an interrupted run leaves in its folder: file -> what it holds."""
REPEATED = {"folds": "--fold", "reference_cts": "--reference-ct"}
"""Options that are given once for each item of a field."""


def refuse_finished(out: Path, *, resume: bool) -> None:
    """Keeps a run from overwriting another.

    Raises:
        InvalidRequest: ``out`` holds finished results, or an interrupted run's while ``resume`` is off, or is a file.
    """
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InvalidRequest(f"{existing} is not a folder that can be written to.", "Give another --out.")
    if (out / MANIFEST_NAME).exists():
        raise InvalidRequest(f"{out} already holds finished results.", "Give another --out, or delete the folder.")
    kept = kept_in(out)
    if kept and not resume:
        raise InvalidRequest(
            f"{out} holds the {kept} of an interrupted run.",
            "Go on with --resume, or give another --out, or delete the folder.",
        )


def refuse_other_method(request: ExplainRequest, out: Path) -> None:
    """Keeps a Shapley method from going on with, and then deleting, the gradients of an interrupted run.

    Raises:
        InvalidRequest: it would.
    """
    if not request.uses_gradients and (out / GRADIENTS_NAME).exists():
        require_same_question({"the method": request.method}, {}, holds=KEPT[GRADIENTS_NAME])


def kept_in(out: Path) -> str:
    """What an interrupted run left in ``out``; empty for nothing."""
    return " and ".join(holds for name, holds in KEPT.items() if (out / name).exists())


def write_results(
    out: Path,
    *,
    request: ExplainRequest,
    record: GameRecord,
    estimate: Estimate,
    answers: list[Attribution],
    ct: Volume,
    model_name: str,
    device: str,
    counts: dict[str, float],
    progress: Progress,
) -> ResultManifest:
    """Writes everything beside ``out``'s record; the manifest comes last, so that its presence means success.

    Args:
        out: Results folder.
        request: As served.
        record: The played game.
        estimate: Of the request's question.
        answers: All answers of the game, that of the request first.
        ct: On its native grid.
        model_name: For people.
        device: Where the network ran.
        counts: Of tiles and evaluations.
        progress: Its timings and warnings are recorded.
    """
    attribution = answers[0]
    findings = findings_of(request, estimate, model_name=model_name, device=device, counts=counts, progress=progress)
    channel = record.channel_of(request.target)
    for stale in out.glob(".part-*"):
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    predicted = _on_native(record, record.own_prediction[channel], ct)
    reference = _on_native(record, record.reference[channel], ct) if request.reference else None
    with atomic_folder(out, last=MANIFEST_NAME) as folder:
        write_report(
            folder,
            attribution,
            findings,
            ct=ct,
            predicted=predicted,
            roi=record.roi_native,
            reference=reference,
            check_cancelled=progress.check_cancelled,
        )
        progress.check_cancelled()
        write_nrrd(Volume(painted_natively(attribution, ct.grid), ct.grid), folder / ATTRIBUTION_NAME)
        write_answers_csv(
            folder / ANSWERS_CSV, _while_wanted(answers, progress), interval_factor=findings.interval_factor
        )
        progress.check_cancelled()
        record.save(folder / RECORD_NAME)
        manifest = ResultManifest(
            request=asdict(request),
            versions=dict(findings.versions),
            device=device,
            classes=list(record.class_names),
            answer=plain_answer(attribution, findings),
            estimate=estimate_summary(estimate, attribution),
            counts=dict(findings.counts),
            timings_s=dict(findings.timings_s),
            warnings=list(findings.warnings),
            files={file.name: sha256_of(file) for file in sorted(folder.iterdir())},
        )
        (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    for name in (GRADIENTS_NAME, BASELINE_NAME):  # the answer holds all that they were kept for
        (out / name).unlink(missing_ok=True)
    return manifest


def read_attribution(folder: Path) -> Attribution:
    """The attribution of a finished results folder, for instance for ``report.shap_export.shap_explanation``.

    Raises:
        InvalidRequest: the folder is not finished, or its files cannot be read.
    """
    manifest, record = ResultManifest.read(folder), GameRecord.load(folder / RECORD_NAME)
    rows = {row.name: row for row in read_players_csv(folder / PLAYERS_CSV)}
    missing = [name for name in record.partition.names if name not in rows]
    if missing:
        raise InvalidRequest(f"{folder / PLAYERS_CSV} lacks the unit {missing[0]!r}.", "Run the explanation again.")
    in_order = [rows[name] for name in record.partition.names]
    return Attribution(
        method=manifest.request["method"],
        partition=record.partition,
        player_values=np.array([row.value for row in in_order]),
        standard_errors=np.array([row.standard_error for row in in_order]),
        empty_value=math.nan if manifest.estimate["empty_value"] is None else manifest.estimate["empty_value"],
        full_value=manifest.estimate["full_value"],
        quantity=manifest.estimate["quantity"],
        unit=manifest.estimate["unit"],
        target=manifest.request["target"],
    )


def findings_of(
    request: ExplainRequest,
    estimate: Estimate,
    *,
    model_name: str,
    device: str,
    counts: dict[str, float],
    progress: Progress,
) -> Findings:
    """What the report tells beyond the importances."""
    asked = counts.get("n_region_tiles", 0.0)
    if asked:
        counts = counts | {"reuse_share": 1.0 - (counts["n_network_tiles"] - counts["n_unperturbed_tiles"]) / asked}
    return Findings(
        request=request,
        ct_name=Path(request.ct).name,
        model_name=model_name,
        stop_reason=estimate.stop_reason or "cancelled",
        n_evaluations=estimate.n_evaluations,
        relative_error=estimate.relative_error,
        device=device,
        interval_factor=interval_factor(estimate),
        ranking=asked_ranking(request, estimate),
        counts=counts,
        timings_s={name: round(seconds, 3) for name, seconds in progress.timings_s.items()},
        warnings=tuple(progress.warnings),
        versions=installed_versions(),
        command=command_of(request),
    )


def asked_ranking(request: ExplainRequest, estimate: Estimate) -> Ranking | None:
    """How far the ranking that the run was to settle is settled; None where it was to settle the values."""
    if not request.settle or not isinstance(estimate, ShapleyEstimate):
        return None
    return Ranking.of(estimate, top=request.settle, tolerance=request.tolerance)


def interval_factor(estimate: Estimate) -> float:
    """Half width of a 95 % interval in standard errors; the normal one where the method tells no errors at all."""
    freedom = estimate.degrees_of_freedom
    return student_t_quantile(0.975, freedom) if freedom > 0 else 1.96


def estimate_summary(estimate: Estimate, attribution: Attribution) -> dict[str, float | int | str | None]:
    """What the manifest keeps of an estimate; a number that is not known or not finite is None."""
    return {
        "stop_reason": estimate.stop_reason or "cancelled",
        "n_evaluations": estimate.n_evaluations,
        "n_players": attribution.partition.n_players,
        "relative_error": float(estimate.relative_error) if math.isfinite(estimate.relative_error) else None,
        "empty_value": attribution.empty_value if attribution.adds_up else None,
        "full_value": attribution.full_value,
        "quantity": attribution.quantity,
        "unit": attribution.unit,
    }


def sha256_of(path: Path) -> str:
    """A file's checksum as the manifest keeps it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def command_of(request: ExplainRequest) -> str:
    """The shell command that asks the same question."""
    default = ExplainRequest(ct="", model="", target="", roi="")
    words = ["segexplain", "explain", request.ct]
    for name, value in asdict(request).items():
        if name in ("ct", "schema_version") or value == getattr(default, name):
            continue
        option = REPEATED.get(name, f"--{name.replace('_', '-')}")
        if isinstance(value, tuple):
            words += [word for item in value for word in (option, item)]
        else:
            words += [option] if value is True else [option, str(value)]
    return shlex.join(words)


def _while_wanted(answers: Iterable[Attribution], progress: Progress) -> Iterator[Attribution]:
    """The answers, one after the other, until somebody asks to stop."""
    for answer in answers:
        progress.check_cancelled()
        yield answer


def _on_native(record: GameRecord, voxels: NDArray[np.bool_], ct: Volume) -> NDArray[np.bool_]:
    """bool (k, j, i) on the CT's grid from values over the ROI's voxels; False outside the ROI."""
    return resampled_nearest(Volume(record.painted_on_roi(voxels), record.partition.grid), ct.grid)
