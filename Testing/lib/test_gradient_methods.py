"""Each gradient method against captum where captum is right, against a literal oracle where it is not."""

import captum.attr
import numpy as np
import pytest
import torch
from builders import TinySegmenter, block_partition, noise_ct
from numpy.testing import assert_allclose
from tiny_models import write_nnunet_model
from torch.nn.functional import interpolate

from SegExplainLib.case import prepared_case
from SegExplainLib.contract import InvalidRequest, OutOfMemory, UnusableModel
from SegExplainLib.gradients.backward import StitchedNetwork
from SegExplainLib.gradients.expected_gradients import expected_gradients
from SegExplainLib.gradients.guided_backprop import guided_backprop
from SegExplainLib.gradients.integrated_gradients import integrated_gradients
from SegExplainLib.gradients.saliency import input_x_gradient, saliency
from SegExplainLib.gradients.seg_grad_cam import bottleneck_of, seg_grad_cam
from SegExplainLib.gradients.smoothgrad import smoothgrad, smoothgrad_squared, vargrad
from SegExplainLib.gradients.stitched_score import stitched_score
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.model.segmenter import TilePass

CORNER = (slice(1, 4), slice(0, 3), slice(2, 6))


def a_score(segmenter=None, *, quantity="soft-dice", roi=CORNER, shape=(12, 14, 16), is_given=False):
    """(score, case, partition)."""
    segmenter = segmenter or TinySegmenter()
    ct = noise_ct(shape)
    mask = np.zeros(shape, dtype=bool)
    mask[roi] = True
    case = prepared_case(ct, mask, segmenter)
    reference = torch.ones(segmenter.n_channels, int(case.roi.sum()), dtype=torch.bool) if is_given else None
    network = StitchedNetwork(segmenter, case.region)
    target = segmenter.classes[0]
    score = stitched_score(network, case, segmenter, target=target, quantity=quantity, reference=reference)
    return score, case, block_partition(case.network_input.grid)


def with_network(*layers):
    segmenter = TinySegmenter()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        segmenter.network = torch.nn.Sequential(*(make() for make in layers)).eval().requires_grad_(False)
    segmenter.passes = (TilePass(segmenter.network),)
    return segmenter


@pytest.fixture
def a_flipped_nnunet(tmp_path):
    folder = write_nnunet_model(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres", mirror_axes=(1, 2))
    return load_segmenter(folder, device=torch.device("cpu"), trust=False)


def convolution(n, m, size=3):
    return lambda: torch.nn.Conv3d(n, m, size, padding=size // 2)


def on_reach(score, estimate):
    return torch.from_numpy(estimate.voxel_map[score.network.reach])


def assert_same_map(found, expected, slack=1e-5):
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=slack * float(expected.abs().max()))


@pytest.mark.parametrize("quantity", ["mean-logit", "soft-dice"])
def test_captums_methods_apply_to_the_stitched_module_as_they_are(quantity):
    score, case, partition = a_score(quantity=quantity)
    images = torch.from_numpy(case.network_input.array)[None].clone().requires_grad_()

    def numbers_of(batch):
        return torch.stack([score.number.of(logits) for logits in score.network(batch)])

    for method, theirs in (
        (saliency, captum.attr.Saliency(numbers_of).attribute(images)),
        (input_x_gradient, captum.attr.InputXGradient(numbers_of).attribute(images)),
    ):
        (estimate,) = method(score, partition)
        assert_same_map(torch.from_numpy(estimate.voxel_map), theirs[0, 0].detach())


def test_integrated_gradients_agree_with_captums_at_many_steps_and_say_how_far_they_are_from_adding_up():
    score, case, partition = a_score()
    baseline = case.network_input.array + np.random.default_rng(1).normal(size=case.network_input.array.shape)
    start = score.cut(baseline.astype(np.float32))
    ours = list(integrated_gradients(score, partition, baselines=[baseline], budget=513, tolerance=5e-3))
    theirs = captum.attr.IntegratedGradients(score).attribute(
        score.image[None], start[None], n_steps=200, internal_batch_size=1
    )[0, 0]
    assert ours[-1].stop_reason == "tolerance"
    assert_same_map(on_reach(score, ours[-1]), theirs, slack=1e-2)
    total = score.full_value - score.value(start)
    assert ours[-1].completeness_gap == pytest.approx(float(ours[-1].voxel_map.sum()) - total, abs=1e-6)
    assert abs(ours[-1].completeness_gap) < 5e-3
    n_gradients = [estimate.n_gradients for estimate in ours]
    assert n_gradients == [17, 33, 65, 129, 257, 513][: len(ours)]


def test_where_a_path_changes_all_at_once_steps_are_short():
    """Instance norm takes away scale: from an even baseline the number jumps within the first thousandth of the way."""
    score, case, partition = a_score(quantity="mean-logit")
    even = np.zeros_like(case.network_input.array)
    *_, ours = integrated_gradients(score, partition, baselines=[even], budget=33, tolerance=0.0)
    theirs = captum.attr.IntegratedGradients(score).attribute(
        score.image[None], score.cut(even)[None], n_steps=33, internal_batch_size=1
    )
    total = score.full_value - ours.empty_value
    assert abs(ours.completeness_gap) < 0.05 * abs(total)
    assert abs(float(theirs.sum()) - total) > 10 * abs(ours.completeness_gap)


def test_what_integrated_gradients_cost_is_what_their_budget_says():
    score, case, partition = a_score(quantity="mean-logit")
    n_tiles, n_baselines, n_steps = len(score.network.jobs), 2, 16
    baselines = [np.full_like(case.network_input.array, value) for value in (-1.0, 1.0)]
    budget = 1 + n_baselines * n_steps
    list(integrated_gradients(score, partition, baselines=baselines, budget=budget))
    assert score.network.n_backward == budget * n_tiles
    # `a_score` ran every tile once for the logits of the CT as it is.
    assert score.network.n_forward == (1 + budget + n_baselines * n_steps) * n_tiles


def test_integrated_gradients_are_exact_for_a_square():
    """f = mean x^2 over the region: its integral is (x - b)(x + b) / n."""

    class Square(torch.nn.Module):
        def forward(self, x):
            return torch.cat([x.square()] * 3, dim=1)

    score, case, partition = a_score(with_network(Square), quantity="mean-logit", is_given=True)
    rng = np.random.default_rng(0)
    baselines = [rng.normal(size=case.network_input.array.shape).astype(np.float32) for _ in range(2)]
    x = case.network_input.array[0]
    expected = np.mean([(x - b[0]) * (x + b[0]) for b in baselines], axis=0) * case.roi / case.roi.sum()
    *_, ours = integrated_gradients(score, partition, baselines=baselines, budget=65, tolerance=0.0)
    assert_allclose(ours.voxel_map, expected, atol=1e-2 * np.abs(expected).max())
    *_, sampled = expected_gradients(score, partition, baselines=baselines, budget=400, tolerance=0.0)
    error = np.abs(sampled.values - partition.pooled(expected))
    assert (error <= 4.5 * sampled.standard_errors + 1e-9).all()
    assert error.max() > 0


@pytest.mark.parametrize(
    ("method", "kind"), [(smoothgrad, "smoothgrad"), (smoothgrad_squared, "smoothgrad_sq"), (vargrad, "vargrad")]
)
def test_gradients_under_noise_are_those_of_captums_noise_tunnel_with_the_same_noise(method, kind):
    score, _, partition = a_score()
    n, share, seed = 6, 0.2, 11
    *_, ours = method(score, partition, budget=n, tolerance=0.0, seed=seed, noise_share=share)
    deviation = share * float(score.image.max() - score.image.min())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        theirs = captum.attr.NoiseTunnel(captum.attr.Saliency(score)).attribute(
            score.image[None], nt_type=kind, nt_samples=n, nt_samples_batch_size=1, stdevs=deviation, abs=False
        )[0, 0]
    if method is vargrad:
        theirs = theirs * n / (n - 1)  # captum divides by n
    assert_same_map(on_reach(score, ours), theirs.detach(), slack=1e-4)


def test_expected_gradients_agree_with_captums_gradient_shap_within_their_errors():
    score, case, partition = a_score(quantity="mean-logit")
    rng = np.random.default_rng(2)
    shape = case.network_input.array.shape
    baselines = [(case.network_input.array + rng.normal(size=shape)).astype(np.float32) for _ in range(3)]
    *_, ours = expected_gradients(score, partition, baselines=baselines, budget=120, tolerance=0.0)
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    theirs = captum.attr.GradientShap(score).attribute(
        score.image[None], torch.stack([score.cut(b) for b in baselines]), n_samples=120, stdevs=0.0
    )
    np.random.set_state(state)  # noqa: NPY002
    values = partition.pooled(score.on_grid(theirs[0, 0].detach()))
    z = (ours.values - values)[ours.standard_errors > 0] / (ours.standard_errors[ours.standard_errors > 0] * 2**0.5)
    assert np.abs(z).max() < 4.5
    assert np.corrcoef(ours.values, values)[0, 1] > 0.9


ACTIVATIONS = {
    "relu": torch.nn.ReLU,
    "relu in place": lambda: torch.nn.ReLU(inplace=True),
    "leaky relu": lambda: torch.nn.LeakyReLU(0.1),
    "leaky relu in place": lambda: torch.nn.LeakyReLU(0.1, inplace=True),
    "elu": torch.nn.ELU,
    "elu in place": lambda: torch.nn.ELU(inplace=True),
    "selu": torch.nn.SELU,
    "celu": torch.nn.CELU,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
    "mish": torch.nn.Mish,
    "prelu": torch.nn.PReLU,
    "rrelu": torch.nn.RReLU,
    "softplus": torch.nn.Softplus,
    "hardswish": torch.nn.Hardswish,
    "relu6": torch.nn.ReLU6,
}


class LiteralGuide(torch.autograd.Function):
    """The rule as it is written: positive gradients, where the input was positive, times the slope there."""

    @staticmethod
    def forward(ctx, x, activation):
        ctx.activation = activation
        ctx.save_for_backward(x)
        return activation(x.clone())

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(ctx.activation(leaf * 1.0).sum(), leaf)
        out = torch.zeros_like(gradient)
        out[(x > 0) & (gradient > 0)] = (slope * gradient)[(x > 0) & (gradient > 0)]
        return out, None


class Guided(torch.nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.activation = activation

    def forward(self, x):
        return LiteralGuide.apply(x, self.activation)


def a_rectified_network(activation, wrap=lambda layer: layer):
    def norm():
        return torch.nn.InstanceNorm3d(6, affine=True)

    return with_network(
        convolution(1, 6),
        norm,
        lambda: wrap(activation()),
        convolution(6, 6),
        lambda: wrap(activation()),
        convolution(6, 3),
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_guided_backprop_follows_the_rule_through_every_rectifier(name):
    activation = ACTIVATIONS[name]
    score, _, partition = a_score(a_rectified_network(activation), is_given=True)
    literal, _, _ = a_score(a_rectified_network(activation, wrap=Guided), is_given=True)
    (ours,) = guided_backprop(score, partition)
    expected = literal.gradient(literal.image)[1]
    assert_same_map(on_reach(score, ours), expected[0])
    plain = score.gradient(score.image)[1][0]
    assert float((on_reach(score, ours) - plain).abs().max()) > 0.1 * float(plain.abs().max())


def test_it_is_captums_where_captum_knows_the_activation_and_not_where_it_does_not():
    for activation, is_known in ((torch.nn.ReLU, True), (torch.nn.LeakyReLU, False)):
        score, _, partition = a_score(a_rectified_network(activation), quantity="mean-logit", is_given=True)
        (ours,) = guided_backprop(score, partition)
        tile = TinySegmenter().tile_shape
        assert tile == (8, 8, 8)

        class Whole(torch.nn.Module):  # captum hooks modules that run inside one graph
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, images, score=score):
                total = torch.zeros((3, *score.full_logits.shape[1:]))
                for job in score.network.jobs:
                    total[:, *job.in_box] += self.inner(images[:, :, *job.where])[0][:, *job.in_tile] * job.share
                return score.number.of(total)[None]

        model = Whole(score.network.jobs[0].tile_pass.network)
        with pytest.warns(UserWarning, match="backward hooks"):
            theirs = captum.attr.GuidedBackprop(model).attribute(score.image[None].clone().requires_grad_())[0, 0]
        if is_known:
            assert_same_map(on_reach(score, ours), theirs.detach())
        else:
            plain = score.gradient(score.image)[1][0]
            assert_same_map(plain, theirs.detach())  # the silent plain gradient
            assert float((on_reach(score, ours) - theirs).abs().max()) > 0.1 * float(plain.abs().max())


class Functional(torch.nn.Module):
    """One call of a function and one module that serves twice: what hooks on modules miss or count wrong."""

    def __init__(self):
        super().__init__()
        self.convolutions = torch.nn.ModuleList(
            torch.nn.Conv3d(n, m, 3, padding=1) for n, m in ((1, 4), (4, 4), (4, 3))
        )
        self.activation = torch.nn.ReLU()
        self.rectify = torch.nn.functional.leaky_relu

    def forward(self, x):
        first, second, last = self.convolutions
        x = self.activation(first(x))
        x = self.rectify(second(x), 0.1)
        return last(self.activation(x))


def test_functional_activations_and_modules_used_twice_are_guided_too():
    segmenter, literal = with_network(Functional), with_network(Functional)
    score, _, partition = a_score(segmenter, is_given=True)
    network = literal.network[0]
    network.activation = Guided(network.activation)
    network.rectify = lambda x, slope: LiteralGuide.apply(x, torch.nn.LeakyReLU(slope))
    oracle, _, _ = a_score(literal, is_given=True)
    (ours,) = guided_backprop(score, partition)
    assert_same_map(on_reach(score, ours), oracle.gradient(oracle.image)[1][0])


def test_a_scripts_activations_are_guided_or_it_is_refused():
    segmenter = a_rectified_network(torch.nn.LeakyReLU)
    score, _, partition = a_score(segmenter, is_given=True)
    (expected,) = guided_backprop(score, partition)
    segmenter.network = torch.jit.script(segmenter.network)
    segmenter.passes = (TilePass(segmenter.network),)
    scripted, _, _ = a_score(segmenter, is_given=True)
    for _ in range(4):
        try:
            (ours,) = guided_backprop(scripted, partition)
        except UnusableModel:
            continue
        assert_allclose(ours.voxel_map, expected.voxel_map, rtol=0, atol=1e-5 * np.abs(expected.voxel_map).max())


class HidesItsActivation(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.leaky_relu(x.view_as(x), 0.1, inplace=True)


def test_an_activation_that_hides_in_the_graph_is_not_passed_over():
    layers = convolution(1, 4), HidesItsActivation, convolution(4, 4), torch.nn.ReLU, convolution(4, 3)
    score, _, partition = a_score(with_network(*layers), is_given=True)
    with pytest.raises(UnusableModel, match="CopySlices"):
        list(guided_backprop(score, partition))


def test_guided_nnunets_are_not_given_the_plain_gradient(a_flipped_nnunet):
    score, _, partition = a_score(
        a_flipped_nnunet, roi=(slice(4, 20),) * 3, shape=(22, 24, 20), quantity="soft-volume", is_given=True
    )
    plain = score.gradient(score.image)[1][0]
    (ours,) = guided_backprop(score, partition)
    assert float((on_reach(score, ours) - plain).abs().max()) > 0.1 * float(plain.abs().max())
    for parent in list(a_flipped_nnunet.network.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, torch.nn.LeakyReLU):
                child.inplace = False
                parent._modules[name] = Guided(child)
    literal = score.gradient(score.image)[1][0]
    assert_same_map(on_reach(score, ours), literal)


def test_a_network_without_rectifiers_cannot_be_guided():
    score, _, partition = a_score(with_network(convolution(1, 4), torch.nn.Tanh, convolution(4, 3)), is_given=True)
    with pytest.raises(UnusableModel, match=r"none of the activations.*LeakyRelu") as refusal:
        list(guided_backprop(score, partition))
    assert "saliency" in refusal.value.hint


def literal_cam(segmenter, score, case, partition, layer):
    """Seg-Grad-CAM of the whole stitched prediction by one naive graph, in the words of the paper; 0 in no unit."""
    features, where = [], []
    hooks = [
        dict(tile_pass.network.named_modules())[layer].register_forward_hook(
            lambda _m, _i, out: features.append(out) or None
        )
        for tile_pass in segmenter.passes
    ]
    # Each network of an ensemble is hooked once.
    for hook in hooks[1:]:
        if len({id(tile_pass.network) for tile_pass in segmenter.passes}) == 1:
            hook.remove()
    image = torch.from_numpy(case.network_input.array)[None].requires_grad_()
    fused = torch.zeros((segmenter.n_channels, *case.tiles.image_shape))
    weight = torch.zeros(case.tiles.image_shape)
    numbers = [int(number) for number in case.region.numbers]
    for number in range(case.tiles.n_tiles):
        place = case.tiles.slices(number)
        before = len(features)
        logits = torch.stack(
            [p.network(image[:, :, *place].flip(p.flipped_axes)).flip(p.flipped_axes)[0] for p in segmenter.passes]
        ).mean(0)
        fused[:, *place] += logits * case.tiles.weights
        weight[place] += case.tiles.weights
        if number not in numbers:
            del features[before:]
        else:
            where += [(place, p.flipped_axes) for p in segmenter.passes]
    for hook in hooks:
        hook.remove()
    value = score.number.of((fused / weight)[:, *case.region.box])
    gradients = torch.autograd.grad(value, features)
    alpha = torch.stack([g.mean(dim=(0, 2, 3, 4)) for g in gradients]).mean(0)
    total, seen = torch.zeros(case.tiles.image_shape), torch.zeros(case.tiles.image_shape)
    for (place, axes), found in zip(where, features):
        cam = (alpha[None, :, None, None, None] * found).sum(1, keepdim=True).flip(axes).detach()
        fine = interpolate(cam, size=tuple(case.tiles.tile_shape), mode="trilinear", align_corners=False)[0, 0]
        total[place] += fine * case.tiles.weights
        seen[place] += case.tiles.weights
    cam = torch.where(seen > 0, total / seen, 0).clamp(min=0) * torch.from_numpy(partition.labels > 0)
    return cam / cam.max()


@pytest.mark.parametrize("layer", ["1", "2", "3"])
@pytest.mark.parametrize("quantity", ["mean-logit", "soft-dice"])
def test_seg_grad_cam_is_that_of_the_stitched_prediction(layer, quantity):
    segmenter = TinySegmenter()
    score, case, partition = a_score(segmenter, quantity=quantity)
    (ours,) = seg_grad_cam(score, partition, layer=layer)
    assert ours.layer == layer
    assert ours.voxel_map.max() == pytest.approx(1.0)
    means = [ours.voxel_map[partition.labels == label].mean() for label in range(1, partition.n_players + 1)]
    np.testing.assert_allclose(ours.values, means, atol=1e-6)
    assert_same_map(torch.from_numpy(ours.voxel_map), literal_cam(segmenter, score, case, partition, layer))


def test_features_of_flipped_passes_are_turned_back_and_the_layer_before_an_in_place_one_is_that_before(
    a_flipped_nnunet,
):
    segmenter = a_flipped_nnunet
    roi = (slice(4, 20), slice(6, 16), slice(6, 16))
    score, case, partition = a_score(segmenter, roi=roi, shape=(22, 24, 20), quantity="soft-volume", is_given=True)
    norm = "encoder.stages.0.0.convs.0.norm"
    assert dict(segmenter.network.named_modules())["encoder.stages.0.0.convs.0.nonlin"].inplace
    for layer in (norm, bottleneck_of(score.network, score.image)):
        (ours,) = seg_grad_cam(score, partition, layer=layer)
        for module in segmenter.network.modules():
            if hasattr(module, "inplace"):
                module.inplace = False  # for the oracle, whose features must stay as they were
        expected = literal_cam(segmenter, score, case, partition, layer)
        for module in segmenter.network.modules():
            if hasattr(module, "inplace"):
                module.inplace = True
        assert_same_map(torch.from_numpy(ours.voxel_map), expected, slack=1e-4)


def test_the_bottleneck_is_the_end_of_the_encoder(a_flipped_nnunet):
    score, _, partition = a_score(
        a_flipped_nnunet, roi=(slice(4, 20),) * 3, shape=(22, 24, 20), quantity="soft-volume", is_given=True
    )
    assert bottleneck_of(score.network, score.image) == "encoder.stages.1"
    (estimate,) = seg_grad_cam(score, partition)
    assert estimate.layer == "encoder.stages.1"


def test_memory_that_runs_out_before_the_first_graph_is_told_as_that():
    """A preview that does not fit must not end a Shapley run that does."""
    score, _, partition = a_score()
    handle = score.network.jobs[0].tile_pass.network.register_forward_hook(_full)
    try:
        with pytest.raises(OutOfMemory):
            list(seg_grad_cam(score, partition))
    finally:
        handle.remove()


def _full(*_):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory.")


def test_a_layer_that_is_not_there_is_answered_with_near_names(a_flipped_nnunet):
    score, _, partition = a_score(
        a_flipped_nnunet, roi=(slice(4, 20),) * 3, shape=(22, 24, 20), quantity="soft-volume", is_given=True
    )
    with pytest.raises(InvalidRequest, match=r"no layer 'encoder.stage.1'.*encoder\.stages\.1"):
        list(seg_grad_cam(score, partition, layer="encoder.stage.1"))
    with pytest.raises(InvalidRequest, match=r"encoder gives list.*expected a volume"):
        list(seg_grad_cam(score, partition, layer="encoder"))


def test_a_layer_whose_mean_the_next_one_takes_away_has_no_weights_and_says_so():
    """Instance norm subtracts each channel's mean: no number moves with it, and its derivatives have mean 0."""
    score, _, partition = a_score()
    with pytest.raises(InvalidRequest, match=r"layer 0 .*mean.*norm"):
        list(seg_grad_cam(score, partition, layer="0"))


class RunsALayerTwice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.twice, self.never = torch.nn.Conv3d(1, 1, 3, padding=1), torch.nn.Conv3d(1, 1, 1)
        self.unused, self.last = torch.nn.Conv3d(1, 2, 1), torch.nn.Conv3d(1, 3, 1)

    def forward(self, x):
        self.unused(x)
        return self.last(self.twice(self.twice(x)).relu())


@pytest.mark.parametrize(
    ("layer", "message"), [("0.twice", "runs 2 times"), ("0.never", "runs 0 times"), ("0.unused", "do not depend")]
)
def test_a_layer_that_does_not_run_once_on_the_way_to_the_logits_is_refused(layer, message):
    score, _, partition = a_score(with_network(RunsALayerTwice), is_given=True)
    with pytest.raises(UnusableModel, match=message):
        list(seg_grad_cam(score, partition, layer=layer))


def test_a_script_shows_no_layers(tmp_path):
    segmenter = TinySegmenter()
    segmenter.network = torch.jit.script(segmenter.network)
    segmenter.passes = (TilePass(segmenter.network),)
    score, _, partition = a_score(segmenter, is_given=True)
    with pytest.raises(UnusableModel, match="no layer"):
        list(seg_grad_cam(score, partition))


@pytest.mark.parametrize("share", [0.0, -0.1, float("nan"), float("inf")])
def test_noise_must_be_a_positive_share(share):
    score, _, partition = a_score()
    with pytest.raises(InvalidRequest, match="range of intensities"):
        list(smoothgrad(score, partition, noise_share=share))


def test_too_small_a_budget_is_told():
    score, case, partition = a_score()
    with pytest.raises(InvalidRequest, match="at least 2 gradients"):
        list(vargrad(score, partition, budget=1))
    with pytest.raises(InvalidRequest, match="at least 5 gradients"):
        list(integrated_gradients(score, partition, baselines=[case.network_input.array] * 2, budget=4))
