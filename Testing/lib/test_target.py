import numpy as np
import pytest
import torch
from oracles import tally_by_voxel

from SegExplainLib.contract import VALUES, InvalidRequest
from SegExplainLib.target import TargetScore, region_tally, target_score


def random_logits(*, n=2, n_channels=4, n_voxels=60, seed=0):
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, n_channels, n_voxels)).astype(np.float32)
    reference = rng.random((n_channels, n_voxels)) < 0.4
    return logits, reference


@pytest.mark.parametrize("is_exclusive", [True, False])
def test_tallies_equal_a_loop_over_voxels(is_exclusive):
    logits, reference = random_logits()
    tallies = region_tally(torch.from_numpy(logits), torch.from_numpy(reference), is_exclusive=is_exclusive)
    for row in range(len(logits)):
        np.testing.assert_allclose(tallies[row], tally_by_voxel(logits[row], reference, is_exclusive), rtol=1e-5)


def test_every_quantity_follows_its_definition():
    logits, reference = random_logits(n=1)
    tally = region_tally(torch.from_numpy(logits), torch.from_numpy(reference), is_exclusive=True)[0, 1].numpy()
    z, y = logits[0].astype(np.float64), reference[1]
    p = (np.exp(z) / np.exp(z).sum(0))[1]
    s = z.argmax(0) == 1
    expected = {
        "tp": (s & y).sum(),
        "tp-share": (s & y).sum() / y.sum(),
        "dice": 2 * (s & y).sum() / (s.sum() + y.sum()),
        "soft-dice": 2 * p[y].sum() / (p.sum() + y.sum()),
        "fp": (s & ~y).sum(),
        "fp-share": (s & ~y).sum() / s.sum(),
        "fp-relative": (s & ~y).sum() / 7.0,
        "fn": (y & ~s).sum(),
        "mean-logit": z[1][y].mean(),
        "soft-volume": p.sum() * 0.027,
    }
    assert set(expected) == set(VALUES)
    for quantity, value in expected.items():
        score = TargetScore(quantity, 0.027, full_fp=7.0)
        assert score.of(tally) == pytest.approx(value, rel=1e-5), quantity


def test_an_empty_prediction_has_no_false_positive_share():
    assert TargetScore("fp-share", 1.0).of(np.array([0, 0, 5.0, 0, 0, 0, 0, 0])) == 0


@pytest.mark.parametrize("quantity", ["tp", "tp-share", "dice", "soft-dice", "fn", "mean-logit"])
def test_a_region_without_the_class_is_refused(quantity):
    with pytest.raises(InvalidRequest, match="no voxel of 'liver'"):
        target_score(quantity, np.array([0, 3.0, 0, 1, 0, 1, 1, 0]), voxel_volume_ml=1.0, name="liver")


def test_a_region_where_nothing_is_labelled_is_refused_for_false_positives_too():
    with pytest.raises(InvalidRequest, match="neither predicted nor"):
        target_score("fp", np.zeros(8), voxel_volume_ml=1.0, name="liver")


def test_relative_false_positives_need_some():
    with pytest.raises(InvalidRequest, match="undefined"):
        target_score("fp-relative", np.array([4.0, 0, 0, 4, 4, 4, 4, 4]), voxel_volume_ml=1.0, name="liver")


def test_soft_quantities_can_be_differentiated():
    logits, reference = random_logits(n=1)
    z = torch.from_numpy(logits).double().requires_grad_()
    y = torch.from_numpy(reference)
    for quantity in ("soft-dice", "mean-logit", "soft-volume"):
        score = TargetScore(quantity, 1.0)
        assert torch.autograd.gradcheck(
            lambda x, score=score: score.of(region_tally(x, y, is_exclusive=True)[:, 1]), z, atol=1e-4
        )
