"""Methods run again on variants of a small question: against the pipeline's own answers, replays and plain torch."""

import copy
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from builders import block_partition, oblique_grid
from scipy import ndimage
from scipy.stats import spearmanr
from tiny_models import bundle_config, scale_intensity_range, write_bundle

from SegExplainLib.answers import asked_question, attribution_of
from SegExplainLib.baselines import baselines_for
from SegExplainLib.case import body_on_input, prepared_case
from SegExplainLib.contract import Cancelled, ExplainRequest, InvalidRequest
from SegExplainLib.evaluation.stability import ANCHOR, FAMILIES
from SegExplainLib.finished import finished_results
from SegExplainLib.game import RegionGame
from SegExplainLib.model.random_weights import layers_from_output, randomise
from SegExplainLib.model.stitching import fused_logits
from SegExplainLib.pipeline import ESTIMATORS, explain
from SegExplainLib.progress import Progress
from SegExplainLib.question import Opening, Question
from SegExplainLib.question_keys import QuestionKeys
from SegExplainLib.rerun_record import RERUNS_NAME, RerunRecord
from SegExplainLib.stability_plan import KINDS, planned_reruns
from SegExplainLib.stability_run import _Runs, measured_stability, noisy_question
from SegExplainLib.volume import Volume
from SegExplainLib.volume_io import write_nrrd
from SegExplainLib.warm import WarmState

TARGET, CHANNEL = "spleen", 2


@pytest.fixture(scope="module")
def a_tiny_question(tmp_path_factory):
    """Six units, four tiles, a network of random weights, an oblique CT with flipped axes."""
    folder = tmp_path_factory.mktemp("tiny")
    grid = oblique_grid((26, 24, 22), spacing_ijk_mm=(3.0, 3.0, 4.0))
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=grid.shape_kji), 2)
    write_nrrd(Volume((smooth / smooth.std() * 150 + 40).astype(np.int16), grid), folder / "ct.nrrd")
    mask = np.zeros(grid.shape_kji, np.uint8)
    mask[4:8, 7:12, 6:14] = 1
    write_nrrd(Volume(mask, grid), folder / "mask.nrrd")
    intensity = [scale_intensity_range(a_min=-500, a_max=500)]
    write_bundle(folder / "model", bundle_config(pixdim=None, axcodes=None, intensity=intensity))
    return ExplainRequest(
        ct=str(folder / "ct.nrrd"),
        model=str(folder / "model"),
        target=TARGET,
        roi="ijk:6,14,6,14,2,9",
        units="fcc",
        unit_mm=56.0,
        value="soft-volume",
        removal="air",
        method="exact",
        tolerance=0.0,
    )


@pytest.fixture(scope="module")
def explained(a_tiny_question, tmp_path_factory):
    """Makes (result, question, folder) of the question asked otherwise; each answer once."""
    made = {}

    def of(**changes):
        key = json.dumps(changes, sort_keys=True)
        if key not in made:
            out = tmp_path_factory.mktemp("results") / "out"
            explain(replace(a_tiny_question, **changes), out)
            (result,) = finished_results([out])
            made[key] = result, opened(result), out
        return made[key]

    return of


def opened(result):
    """The question as an evaluation opens it."""
    opening = Opening(result.request, QuestionKeys.of(result.request), WarmState(), Progress())
    segmenter = opening.segmenter()
    ct, network_input = opening.ct_and_input(segmenter)
    body = body_on_input(ct, network_input)
    case = prepared_case(ct, result.record.roi_native, segmenter, network_input=network_input, body=body)
    return Question(segmenter, case, result.record.partition, opening.keys)


def replayed(result, **changes):
    """The answer to another question from the coalitions of the result, all of which are known."""
    request = replace(result.request, **changes)
    name, score = asked_question(request, result.record)
    game = RegionGame(result.record.table, [(result.record.channel_of(name), score)])
    *_, estimate = ESTIMATORS[request.method](game, budget=request.budget, tolerance=0.0, seed=request.seed)
    attribution = attribution_of(request, result.record, estimate, (name, score))
    facts = result.manifest.estimate | {"n_evaluations": estimate.n_evaluations}
    manifest = replace(result.manifest, estimate=facts)
    return replace(result, request=request, attribution=attribution, manifest=manifest)


def measured(result, question, kept, *kinds, progress=None, **options):
    return measured_stability(result, question, kinds=kinds, kept=kept, progress=progress or Progress(), **options)


def values(scores, kind):
    return {metric.name: metric.value for metric in scores.metrics[FAMILIES[kind]]}


def rerun(scores, name):
    return next(score for score in scores.reruns if score.name == name)


def kept_amounts(kept, name):
    entries = json.loads((kept / RERUNS_NAME).read_text())["reruns"].values()
    return np.array(next(entry["amounts"] for entry in entries if entry["name"] == name))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def soft_volume(segmenter, case, network_input):
    """ml, by the whole prediction rather than by the tiles of the region."""
    probability = torch.softmax(fused_logits(segmenter, network_input, Progress()), dim=0)[CHANNEL].numpy()
    return probability[case.roi].sum(dtype=np.float64) * network_input.grid.voxel_volume_ml


def forbid_the_network(question, monkeypatch):
    def refuse(*_ignored, **_named):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(question.segmenter, "tile_logits", refuse)
    monkeypatch.setattr(question.segmenter.network, "forward", refuse)


@pytest.fixture(scope="module")
def of_exact(explained, tmp_path_factory):
    """(scores, result, folder of what is kept) of exact Shapley values, all kinds."""
    result, question, _ = explained()
    kept = tmp_path_factory.mktemp("kept")
    return measured(result, question, kept, *KINDS, n_repeats=2), result, kept


@pytest.fixture(scope="module")
def of_path(explained, tmp_path_factory):
    """The same of integrated gradients that stopped before their budget was spent."""
    result, question, _ = explained(method="integrated-gradients", tolerance=0.9)
    assert result.manifest.estimate["stop_reason"] == "tolerance"
    kept = tmp_path_factory.mktemp("kept")
    return measured(result, question, kept, *KINDS, n_repeats=2), result, kept


def test_the_anchor_is_the_finished_result(of_exact, of_path):
    for scores, *_ in (of_exact, of_path):
        anchor = scores.reruns[0]
        assert anchor.kind == ANCHOR
        assert anchor.relative_change.value < 1e-5
        assert anchor.number_change.value < 1e-6
        assert anchor.rank_correlation.value == pytest.approx(1.0)


def test_another_removal_gives_what_the_pipeline_gives_with_it(of_exact, explained):
    scores, result, kept = of_exact
    other, _, _ = explained(removal="blur")
    np.testing.assert_allclose(kept_amounts(kept, "blur"), other.amounts, rtol=1e-4, atol=1e-5)
    expected = spearmanr(result.amounts, other.amounts).statistic
    assert values(scores, "removals")["rank-correlation, blur"] == pytest.approx(expected)
    change = np.linalg.norm(other.amounts - result.amounts) / np.linalg.norm(result.amounts)
    assert rerun(scores, "blur").relative_change.value == pytest.approx(change, rel=1e-3)


def test_removals_that_give_the_same_image_are_asked_once(of_exact):
    names = [score.name for score in of_exact[0].reruns if score.kind == "removals"]
    assert names == ["mean", "local-mean", "blur", "inpaint", "zero"]
    answers = [kept_amounts(of_exact[2], name) for name in names if rerun(of_exact[0], name).explained_number]
    for place, one in enumerate(answers):
        assert not any(np.array_equal(one, other) for other in answers[:place])


def test_the_number_under_noise_is_that_of_the_noisy_cts_own_prediction(of_exact, explained):
    scores, result, _ = of_exact
    _, question, _ = explained()
    for draw in range(2):
        noise = 40 * np.random.default_rng((0, draw)).random(question.case.ct.array.shape, dtype=np.float32) - 20
        noisy = Volume((question.case.ct.array + noise).astype(np.float32), question.case.ct.grid)
        expected = soft_volume(question.segmenter, question.case, question.segmenter.prepared(noisy))
        found = rerun(scores, f"draw {draw + 1}")
        assert found.explained_number == pytest.approx(expected, rel=1e-5)
        own = result.attribution.full_value
        assert found.number_change.value == pytest.approx(abs(expected - own) / own, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("removal", ["air", "blur"])
def test_amounts_under_noise_add_up_to_what_removing_every_unit_from_the_noisy_ct_changes(removal, explained, tmp_path):
    result, question, _ = explained(**({} if removal == "air" else {"removal": removal}))
    scores = measured(result, question, tmp_path, "noise", noise_hu=200.0, n_repeats=1)
    noisy = noisy_question(question, noise_hu=200.0, draw=(0, 0))
    filled = baselines_for(result.request, noisy, Progress()).images[0]
    seen = noisy.case.network_input
    emptied = replace(seen, array=np.where(question.partition.labels > 0, filled, seen.array))
    change = rerun(scores, "draw 1").explained_number - soft_volume(question.segmenter, question.case, emptied)
    assert kept_amounts(tmp_path, "draw 1").sum() == pytest.approx(change, rel=1e-4)


def test_noise_is_uniform_in_its_bounds_and_everything_else_stays(explained):
    _, question, _ = explained()
    noisy = noisy_question(question, noise_hu=20.0, draw=(3, 1))
    noise = noisy.case.ct.array - question.case.ct.array
    assert 19.0 < np.abs(noise).max() <= 20.0
    assert np.std(noise) == pytest.approx(20 / 3**0.5, rel=0.02)
    assert noisy.partition is question.partition
    assert noisy.case.roi is question.case.roi
    assert not np.array_equal(noisy.case.network_input.array, question.case.network_input.array)
    again = noisy_question(question, noise_hu=20.0, draw=(3, 1))
    np.testing.assert_array_equal(again.case.ct.array, noisy.case.ct.array)


def test_no_noise_changes_nothing(explained, tmp_path):
    for changes in ({}, {"method": "saliency"}):
        result, question, _ = explained(**changes)
        of = values(measured(result, question, tmp_path, "noise", noise_hu=0.0, n_repeats=1), "noise")
        assert of["max-sensitivity"] == pytest.approx(0.0, abs=1e-5)
        assert of["rank-correlation-least"] == pytest.approx(1.0)
        assert of["explained-number-change"] == pytest.approx(0.0, abs=1e-6)
    assert of["voxel-rank-correlation-mean"] == pytest.approx(1.0)


def test_the_reference_stays_that_of_the_ct_without_noise(explained, tmp_path):
    result, question, _ = explained()
    of_dice = replayed(result, value="dice")
    scores = measured(of_dice, question, tmp_path, "noise", noise_hu=200.0, n_repeats=1)
    own = result.record.reference[CHANNEL]
    noisy = noisy_question(question, noise_hu=200.0, draw=(0, 0)).case
    logits = fused_logits(question.segmenter, noisy.network_input, Progress())
    mask = (logits.argmax(0) == CHANNEL).numpy()[noisy.roi]
    expected = 2 * (own & mask).sum() / (own.sum() + mask.sum())
    assert rerun(scores, "draw 1").explained_number == pytest.approx(expected) != 1.0
    assert scores.reruns[0].explained_number == 1.0

    result, question, _ = explained(method="saliency")
    soft = replace(result, request=replace(result.request, value="soft-dice"))
    probability = torch.softmax(logits, 0)[CHANNEL].numpy()[noisy.roi]
    expected = 2 * probability[own].sum() / (probability.sum() + own.sum())
    scores = measured(soft, question, tmp_path, "noise", noise_hu=200.0, n_repeats=1)
    assert rerun(scores, "draw 1").explained_number == pytest.approx(expected, rel=1e-5)


def test_false_positives_stay_relative_to_those_of_the_ct_without_noise(explained, a_tiny_question, tmp_path):
    mask = a_tiny_question.ct.replace("ct.nrrd", "mask.nrrd")
    result, question, _ = explained(reference=mask, value="fp-relative")
    scores = measured(result, question, tmp_path, "noise", noise_hu=200.0, n_repeats=1)
    assert scores.reruns[0].relative_change.value < 1e-6
    assert scores.reruns[0].explained_number == 1.0
    assert rerun(scores, "draw 1").explained_number != 1.0
    of_number = replace(result, request=replace(result.request, value="fp"))
    keys = [{one.key for one in planned_reruns(of, question, kinds=KINDS).all} for of in (result, of_number)]
    assert not keys[0] & keys[1]  # kept answers are on the scale of the result's number


def test_random_weights_are_those_of_the_cascade_and_the_network_stays(of_exact, explained):
    scores, result, _ = of_exact
    _, question, _ = explained()
    before = copy.deepcopy(question.segmenter.network.state_dict())
    stages = [score for score in scores.reruns if score.kind == "weights"]
    assert stages[0].name == "last layer"
    assert stages[-1].name == "all layers"
    other = copy.copy(question.segmenter)
    other.network = copy.deepcopy(question.segmenter.network)
    layers = layers_from_output(other.network, torch.zeros(1, 1, 16, 16, 16))
    for stage, n_random in ((stages[0], 1), (stages[-1], len(layers))):
        other.network.load_state_dict(before)
        randomise(other.network, layers[:n_random], seed=0)
        expected = soft_volume(other, question.case, question.case.network_input)
        assert stage.explained_number == pytest.approx(expected, rel=1e-5)
        assert stage.number_change.value > 0.01
    for name, tensor in question.segmenter.network.state_dict().items():
        assert torch.equal(tensor, before[name])
    sizes = np.abs(result.amounts)
    by_volume = spearmanr(sizes, result.record.partition.volumes_ml).statistic
    assert values(scores, "weights")["rank-correlation-with-volume"] == pytest.approx(by_volume)


def test_other_seeds_give_what_a_replay_with_them_gives_and_ask_only_for_what_is_new(explained, tmp_path):
    result, question, _ = explained()
    sampled = replayed(result, method="kernel-shap", budget=30)
    scores = measured(sampled, question, tmp_path, "seeds", n_repeats=2)
    names = [score.name for score in scores.reruns[1:]]
    assert names == ["seed 1", "seed 2"]
    answers = [replayed(result, method="kernel-shap", budget=30, seed=seed).amounts for seed in range(3)]
    for name, answer in zip(names, answers[1:], strict=True):
        np.testing.assert_allclose(kept_amounts(tmp_path, name), answer, rtol=1e-4, atol=1e-6)
    pairs = [spearmanr(answers[a], answers[b]).statistic for a in range(3) for b in range(a)]
    assert values(scores, "seeds")["rank-correlation-mean"] == pytest.approx(np.mean(pairs))


def test_other_seeds_of_a_gradient_method_are_its_own_answers_with_them(explained, tmp_path):
    result, question, _ = explained(method="saliency")
    facts = result.manifest.estimate | {"n_evaluations": 4}
    request = replace(result.request, method="smoothgrad", noise=0.2)
    sampled = replace(result, request=request, manifest=replace(result.manifest, estimate=facts))
    scores = measured(sampled, question, tmp_path / "seeds", "seeds", n_repeats=2)
    other = replace(sampled, request=replace(request, seed=2))
    measured(other, question, tmp_path / "other", "noise", n_repeats=1)
    np.testing.assert_allclose(
        kept_amounts(tmp_path / "seeds", "seed 2"), kept_amounts(tmp_path / "other", "as it was"), rtol=1e-5
    )
    assert 0.0 < values(scores, "seeds")["avg-change"] <= values(scores, "seeds")["max-change"]
    assert values(scores, "seeds")["voxel-rank-correlation-mean"] < 1.0


def test_what_the_result_knows_is_not_asked_again_for_the_anchor_and_seeds(explained, tmp_path):
    result, question, _ = explained()
    sampled, told = replayed(result, method="kernel-shap", budget=30), []
    progress = Progress(lambda event: told.append(event.tiles) if event.event == "progress" else None)
    measured(sampled, question, tmp_path, "seeds", progress=progress)
    assert max(told) == 0  # beyond the unperturbed tiles: all 64 coalitions are in the record


def test_what_is_kept_asks_the_network_nothing_and_the_results_stay_as_they_are(
    of_exact, of_path, explained, monkeypatch
):
    for (scores, result, kept), changes in (
        (of_exact, {}),
        (of_path, {"method": "integrated-gradients", "tolerance": 0.9}),
    ):
        _, question, folder = explained(**changes)
        before = contents(folder)
        with monkeypatch.context() as patch:
            forbid_the_network(question, patch)
            assert measured(result, question, kept, *KINDS, n_repeats=2) == scores
        assert contents(folder) == before
        assert [path.name for path in kept.iterdir()] == [RERUNS_NAME]
        json.dumps(asdict(scores), allow_nan=False)


def test_more_repeats_run_only_what_is_new(of_path, explained, tmp_path):
    _, result, kept = of_path
    _, question, _ = explained(method="integrated-gradients", tolerance=0.9)
    (tmp_path / RERUNS_NAME).write_bytes((kept / RERUNS_NAME).read_bytes())
    n_kept = len(json.loads((kept / RERUNS_NAME).read_text())["reruns"])
    scores = measured(result, question, tmp_path, "noise", n_repeats=3)
    assert len(json.loads((tmp_path / RERUNS_NAME).read_text())["reruns"]) == n_kept + 1
    third = rerun(scores, "draw 3")  # whose map is held against that of the anchor, which is not kept
    assert 0.0 < third.voxels.relative_change.value < 2.0
    assert third.voxels.rank_correlation.value == pytest.approx(
        rerun(scores, "draw 1").voxels.rank_correlation.value, abs=0.2
    )


@pytest.mark.parametrize("changes", [{}, {"method": "saliency"}])
def test_a_run_that_is_stopped_keeps_what_is_finished_and_goes_on(changes, explained, tmp_path):
    result, question, _ = explained(**changes)
    progress, kinds = Progress(), ("noise", "weights")
    n_most = planned_reruns(result, question, kinds=kinds, n_repeats=2).n_most
    steps = []

    def listen(event):
        if event.event == "progress":
            steps.append((event.done, event.total))
            if event.done > n_most // 2:
                progress.cancel()

    progress.listener = listen
    with pytest.raises(Cancelled) as stopped:
        measured(result, question, tmp_path / "kept", *kinds, progress=progress, n_repeats=2)
    assert "are kept" in stopped.value.hint
    assert {total for _, total in steps} == {n_most}
    assert sorted(done for done, _ in steps) == [done for done, _ in steps]
    n_kept = len(json.loads((tmp_path / "kept" / RERUNS_NAME).read_text())["reruns"])
    assert 0 < n_kept < len(planned_reruns(result, question, kinds=kinds, n_repeats=2).all)
    went_on = measured(result, question, tmp_path / "kept", *kinds, n_repeats=2)
    whole = measured(result, question, tmp_path / "whole", *kinds, n_repeats=2)
    for kind in kinds:
        assert values(went_on, kind) == pytest.approx(values(whole, kind), rel=1e-4, abs=1e-5)


def test_what_means_nothing_for_a_method_says_why(explained, of_path, of_exact, tmp_path, monkeypatch):
    result, question, _ = explained(method="saliency")
    with monkeypatch.context() as patch:
        forbid_the_network(question, patch)
        scores = measured(result, question, tmp_path, "seeds", "removals")
    assert not scores.reruns
    assert not list(tmp_path.iterdir())
    for family in ("between seeds", "under other removals"):
        assert {metric.value for metric in scores.metrics[family]} == {None}
    assert "Nothing is removed for saliency" in scores.metrics["under other removals"][0].why_undefined
    assert "another seed gives the same" in of_path[0].metrics["between seeds"][0].why_undefined
    assert "another seed gives the same" in of_exact[0].metrics["between seeds"][0].why_undefined
    assert "under noise" not in scores.metrics


def test_maps_are_compared_voxel_by_voxel_within_the_units_and_by_size_under_random_weights(
    of_path, explained, tmp_path
):
    scores, result, _ = of_path
    _, question, _ = explained(method="integrated-gradients", tolerance=0.9)
    plan = planned_reruns(result, question, kinds=KINDS, n_repeats=2)
    runs = _Runs(result, question, plan, RerunRecord.at(tmp_path / RERUNS_NAME), Progress())
    chosen = {
        one.name: runs._found(one).voxels for one in plan.all if one.name in ("as it was", "draw 1", "all layers")
    }
    assert len(chosen["as it was"]) == (question.partition.labels > 0).sum()
    signed = spearmanr(chosen["as it was"], chosen["draw 1"]).statistic
    unsigned = spearmanr(np.abs(chosen["as it was"]), np.abs(chosen["all layers"])).statistic
    assert rerun(scores, "draw 1").voxels.rank_correlation.value == pytest.approx(signed, abs=1e-3)
    assert rerun(scores, "all layers").voxels.rank_correlation.value == pytest.approx(unsigned, abs=1e-3)
    assert 0.0 < values(scores, "noise")["voxel-avg-sensitivity"] <= values(scores, "noise")["voxel-max-sensitivity"]
    assert scores.reruns[0].voxels is None


def test_the_plan_tells_what_it_costs(explained, of_exact, tmp_path):
    result, question, _ = explained()
    plan = planned_reruns(result, question, kinds=KINDS, n_repeats=2)
    assert plan.n_most == len(plan.all) * 64
    assert "exact Shapley values" in plan.words
    assert "64 coalitions" in plan.words
    assert "2 under noise" in plan.words
    assert "5 with other removals" in plan.words
    assert len({one.key for one in plan.all}) == len(plan.all)
    assert "kept" not in plan.words
    kept = planned_reruns(result, question, kinds=KINDS, n_repeats=3, kept=of_exact[2])
    assert kept.n_kept == len(plan.all) == len(kept.all) - 1
    assert f"Kept from an earlier evaluation: {kept.n_kept}." in kept.words
    assert planned_reruns(result, question, kinds=KINDS, seed=1, kept=tmp_path).n_kept == 0
    assert planned_reruns(result, question, kinds=()).words == "Nothing is run again."
    of_gradient, question, _ = explained(method="saliency")
    assert "1 gradient each" in planned_reruns(of_gradient, question, kinds=["noise"], budget=50).words


def test_with_many_units_sampling_stands_in_for_all_coalitions_unless_the_budget_pays_for_them(explained):
    result, question, _ = explained()
    many = block_partition(result.record.partition.grid, edge_voxels=10)
    assert many.n_players > 8
    crowded = replace(result, record=replace(result.record, partition=many))
    plan = planned_reruns(crowded, question, kinds=KINDS)
    assert plan.anchor.request.method == "adjusted-shap"
    assert plan.anchor.request.budget <= 4 * many.n_players + 64
    assert "stands in for exact" in plan.words
    assert "seeds" not in plan.why_undefined
    if many.n_players < 25:
        paid = planned_reruns(crowded, question, kinds=KINDS, budget=2**many.n_players)
        assert paid.anchor.request.method == "exact"


def test_several_baselines_become_one_with_a_removal_of_one_image(explained):
    result, question, _ = explained(method="integrated-gradients", tolerance=0.9)
    facts = result.manifest.estimate | {"n_evaluations": 33}
    two = replace(result, request=replace(result.request, removal="black-white"))
    two = replace(two, manifest=replace(result.manifest, estimate=facts))
    plan = planned_reruns(two, question, kinds=["removals"])
    assert plan.anchor.request.budget == 33
    assert {one.request.budget for one in plan.reruns} == {17}
    assert "air" in {one.name for one in plan.reruns}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ["nois"]}, "nois"),
        ({"n_repeats": 0}, "repeat"),
        ({"noise_hu": -1.0}, "HU"),
        ({"noise_hu": float("nan")}, "HU"),
        ({"seed": -1}, "seed"),
    ],
)
def test_choices_out_of_their_range_are_refused(options, message, explained, tmp_path):
    result, question, _ = explained()
    kinds = options.pop("kinds", ["noise"])
    with pytest.raises(InvalidRequest, match=message):
        measured(result, question, tmp_path, *kinds, **options)


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 9, "reruns": {}}', '{"version": 1, "reruns": {"a": {}}}'])
def test_a_damaged_record_is_a_clear_error(text, explained, tmp_path):
    result, question, _ = explained()
    (tmp_path / RERUNS_NAME).write_text(text)
    with pytest.raises(InvalidRequest, match=RERUNS_NAME):
        measured(result, question, tmp_path, "noise")
    assert (tmp_path / RERUNS_NAME).read_text() == text


def test_a_variant_without_an_answer_leaves_the_others(explained, tmp_path):
    """With all weights random no voxel need be labelled; then nothing is explained, and that is said."""
    result, question, _ = explained()
    counted = replayed(result, value="tp")
    scores = measured(counted, question, tmp_path, "weights")
    stages = [score for score in scores.reruns if score.kind == "weights"]
    for stage in stages:
        assert (stage.rank_correlation.value is None) == bool(stage.rank_correlation.why_undefined)
    assert all(stage.explained_number is not None and stage.explained_number >= 0 for stage in stages)


@pytest.mark.parametrize(
    "spoiled", [{"number": np.nan}, {"amounts": np.full(6, np.inf)}, {"voxels": np.array([np.nan])}]
)
def test_numbers_that_are_not_finite_are_told_and_leave_the_others(spoiled, explained, tmp_path, monkeypatch):
    result, question, _ = explained()
    found = _Runs._found

    def found_or_spoiled(runs, one, images=None):
        answer = found(runs, one, images)
        return replace(answer, **spoiled) if one.name == "draw 1" else answer

    monkeypatch.setattr(_Runs, "_found", found_or_spoiled)
    scores = measured(result, question, tmp_path, "noise", n_repeats=2)
    assert "not finite" in rerun(scores, "draw 1").rank_correlation.why_undefined
    assert values(scores, "noise")["avg-sensitivity"] == rerun(scores, "draw 2").relative_change.value
    assert values(scores, "noise")["avg-sensitivity"] > 0
