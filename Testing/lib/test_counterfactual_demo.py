"""The shipped autoencoder and the demo model: the demo's lesion leaves the CT, and little else changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from SegExplainLib.case import prepared_case
from SegExplainLib.counterfactual.hu_scale import hu_scale
from SegExplainLib.counterfactual.search import counterfactual_input
from SegExplainLib.demo import demo_model_folder
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.model.segmenter import class_named
from SegExplainLib.model.stitching import fused_logits
from SegExplainLib.phantom import DEMO_SEED, make_torso
from SegExplainLib.progress import Progress
from SegExplainLib.volume import Volume, resampled_nearest

TILE = 40
"""Voxels along each axis: the demo model's tile, so that the search is one tile a step."""
LIVER, LESION = 5, 13


@pytest.fixture(scope="module")
def the_lesion():
    """(segmenter, case, labels on the network's grid): a block of the demo torso around its lesion."""
    torso = make_torso(DEMO_SEED)
    labels = torso.labels.array
    start = np.argwhere(labels == LESION).mean(axis=0).astype(int) - TILE // 2
    start = np.clip(start, 0, np.array(labels.shape) - TILE)
    block, grid = tuple(slice(s, s + TILE) for s in start), torso.ct.grid.cropped(tuple(start), (TILE,) * 3)
    ct, labels = Volume(torso.ct.array[block].copy(), grid), labels[block]
    roi = ndimage.distance_transform_edt(labels != LESION, sampling=5.0) <= 10.0
    segmenter = load_segmenter(str(demo_model_folder()), device=torch.device("cpu"), trust=False)
    case = prepared_case(ct, roi, segmenter)
    return segmenter, case, resampled_nearest(Volume(labels, grid), case.network_input.grid)


@pytest.fixture(scope="module")
def the_answer_without(the_lesion):
    segmenter, case, _ = the_lesion
    return counterfactual_input(segmenter, case, target=class_named(segmenter, "lesion"), n_steps=20)


@pytest.fixture(scope="module")
def the_hu(the_lesion, the_answer_without):
    """HU of the CT and of the counterfactual, as the network sees them."""
    segmenter, case, _ = the_lesion
    scale = hu_scale(segmenter, case.network_input)
    images = case.network_input.array, the_answer_without.image
    return [((torch.from_numpy(image) - scale.intercept) / scale.slope)[0].numpy() for image in images]


def test_the_lesion_is_gone(the_answer_without):
    assert the_answer_without.validity > 0.9
    assert the_answer_without.target_before > 30  # ml


def test_the_segmenter_itself_says_the_same(the_lesion, the_answer_without):
    segmenter, case, _ = the_lesion
    lesion = class_named(segmenter, "lesion").channel
    edited = replace(case.network_input, array=the_answer_without.image)
    logits = fused_logits(segmenter, edited, Progress())
    expected_ml = float(torch.softmax(logits, 0)[lesion].double().numpy()[case.roi].sum()) * 0.125
    assert the_answer_without.target_after == pytest.approx(expected_ml, rel=1e-3)
    assert (logits.argmax(0).numpy() == lesion)[case.roi].sum() < 20  # of about 300 voxels


def test_where_the_lesion_was_there_is_liver(the_lesion, the_hu):
    labels = the_lesion[2]
    before, after = the_hu
    core = ndimage.binary_erosion(labels == LESION)
    liver_hu = before[labels == LIVER].mean()
    assert before[core].mean() < liver_hu - 40
    assert after[core].mean() == pytest.approx(liver_hu, abs=25)


def test_elsewhere_little_changes(the_lesion, the_hu, the_answer_without):
    labels = the_lesion[2]
    before, after = the_hu
    distance_mm = 5.0 * ndimage.distance_transform_edt(labels != LESION)
    edit = np.abs(after - before)
    assert edit[(distance_mm > 25) & (distance_mm < 60)].mean() < 0.1 * edit[labels == LESION].mean()
    assert the_answer_without.proximity_hu < 8
