"""Fixtures with articles: a torso that is small enough to explain in seconds, its question, its results."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from SegExplainLib.contract import ExplainRequest
from SegExplainLib.demo import demo_model_folder
from SegExplainLib.organ_map import OrganMap, read_organ_map, write_organ_map
from SegExplainLib.phantom import make_torso
from SegExplainLib.pipeline import explain
from SegExplainLib.progress import Progress
from SegExplainLib.volume import Volume
from SegExplainLib.volume_io import write_nrrd

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Waiting threads make small tensors slow on a busy machine; what runs side by side has its own tests."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def the_shared_data():
    """Folder of real CTs and models that lies beside the checkout on some machines."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real CTs beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def a_small_torso(tmp_path_factory):
    """Folder with ct.nrrd and organs.nrrd: a slab of a synthetic torso at the kidneys, four tiles in all."""
    folder = tmp_path_factory.mktemp("torso")
    torso = make_torso(77)
    centre = np.argwhere(torso.labels.array == 8).mean(axis=0).astype(int)
    shape = tuple(min(n, most) for n, most in zip(torso.ct.array.shape, (40, 56, 56)))
    start = [int(np.clip(c - n // 2, 0, full - n)) for c, n, full in zip(centre, shape, torso.ct.array.shape)]
    block = tuple(slice(s, s + n) for s, n in zip(start, shape))
    grid = torso.ct.grid.cropped(start, shape)
    write_nrrd(Volume(torso.ct.array[block].copy(), grid), folder / "ct.nrrd")
    names = {label: name for label, name in torso.label_names.items() if label}
    write_organ_map(OrganMap(Volume(torso.labels.array[block].astype(np.int32), grid), names), folder / "organs.nrrd")
    return folder


@pytest.fixture(scope="session")
def a_question(a_small_torso):
    """Why is this labelled kidney? Whole organs, a small budget."""
    return ExplainRequest(
        ct=str(a_small_torso / "ct.nrrd"),
        model=str(demo_model_folder()),
        target="kidney_right",
        roi="segment:kidney_right+5",
        organs=str(a_small_torso / "organs.nrrd"),
        value="soft-volume",
        removal="air",
        budget=40,
        tolerance=0.0,
    )


@pytest.fixture(scope="session")
def the_answer(a_question, tmp_path_factory):
    """(results folder, manifest, progress) of a finished run of the question."""
    out = tmp_path_factory.mktemp("answer") / "results"
    progress = Progress()
    return out, explain(a_question, out, progress=progress), progress


@pytest.fixture(scope="session")
def a_question_of_few_units(a_question, a_small_torso, tmp_path_factory):
    """(names) -> the question with these organs and the rest of the body as units: all coalitions can be known."""

    def asked(*names: str) -> ExplainRequest:
        organs = read_organ_map(a_small_torso / "organs.nrrd")
        kept = {label: name for label, name in organs.names.items() if name in names}
        labels = np.where(np.isin(organs.labels.array, list(kept)), organs.labels.array, 0).astype(np.int32)
        path = tmp_path_factory.mktemp("few units") / "organs.nrrd"
        write_organ_map(OrganMap(Volume(labels, organs.labels.grid), kept), path)
        return replace(a_question, organs=str(path), method="exact", budget=0)

    return asked
