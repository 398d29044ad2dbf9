"""The stitched network's gradient: exact, of the tiles that matter only, at one tile's memory, or a clear error."""

import math
import weakref

import numpy as np
import pytest
import torch
from builders import TinySegmenter, noise_ct
from gradient_oracles import LiveSavedTensors, naive_gradient, peak_allocated_bytes
from tiny_models import write_nnunet_model

from SegExplainLib.case import prepared_case
from SegExplainLib.contract import DIFFERENTIABLE_VALUES, Cancelled, InvalidRequest, OutOfMemory, UnusableModel
from SegExplainLib.gradients.backward import StitchedNetwork
from SegExplainLib.gradients.stitched_score import stitched_score
from SegExplainLib.gradients.tile_graph import out_of_place
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.model.segmenter import TilePass
from SegExplainLib.progress import Progress

CPU = torch.device("cpu")
CORNER = (slice(1, 4), slice(0, 3), slice(2, 6))
MIDDLE = (slice(4, 8), slice(5, 9), slice(6, 11))


def a_case(segmenter, *, roi=MIDDLE, shape=(12, 14, 16), ct=None):
    ct = ct or noise_ct(shape)
    mask = np.zeros(ct.array.shape, dtype=bool)
    mask[roi] = True
    return prepared_case(ct, mask, segmenter)


def a_score(segmenter, case, *, quantity="soft-dice", is_given=False, **options):
    """The number of the first class; ``is_given``: against a reference that holds the whole region."""
    network = StitchedNetwork(segmenter, case.region, **options)
    reference = torch.ones(segmenter.n_channels, int(case.roi.sum()), dtype=torch.bool) if is_given else None
    target = segmenter.classes[0]
    return stitched_score(network, case, segmenter, target=target, quantity=quantity, reference=reference)


def with_network(*layers, **options):
    """A segmenter with another network."""
    segmenter = TinySegmenter(**options)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        segmenter.network = torch.nn.Sequential(*(make() for make in layers)).eval().requires_grad_(False)
    segmenter.passes = (TilePass(segmenter.network),)
    return segmenter


def assert_same_gradient(score, case, tile_logits):
    value, gradient = score.gradient(score.image)
    expected_value, expected = naive_gradient(tile_logits, case, score.number.of, case.network_input.array)
    assert value == pytest.approx(expected_value, rel=1e-5)
    assert float(expected.abs().max()) > 0
    outside = expected.clone()
    outside[:, *score.network.reach] = 0
    assert not outside.any()
    assert_close(gradient, expected[:, *score.network.reach])


def assert_close(gradient, expected):
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("quantity", DIFFERENTIABLE_VALUES)
@pytest.mark.parametrize("is_exclusive", [True, False])
@pytest.mark.parametrize("roi", [CORNER, MIDDLE])
def test_the_gradient_is_that_of_the_naive_graph_through_every_tile(quantity, is_exclusive, roi):
    segmenter = TinySegmenter(is_exclusive=is_exclusive)
    case = a_case(segmenter, roi=roi)
    assert_same_gradient(a_score(segmenter, case, quantity=quantity), case, segmenter.network)


@pytest.mark.parametrize("quantity", DIFFERENTIABLE_VALUES)
def test_away_from_the_ct_it_is_too(quantity):
    segmenter = TinySegmenter()
    case = a_case(segmenter)
    score = a_score(segmenter, case, quantity=quantity)
    other = np.random.default_rng(3).normal(size=case.network_input.array.shape).astype(np.float32)
    value, gradient = score.gradient(score.cut(other))
    expected_value, expected = naive_gradient(segmenter.network, case, score.number.of, other)
    assert value == pytest.approx(expected_value, rel=1e-5)
    assert_close(gradient, expected[:, *score.network.reach])


def test_the_module_serves_any_function_of_the_logits_and_whole_images_in_batches():
    segmenter = TinySegmenter()
    case = a_case(segmenter, roi=CORNER)
    network = StitchedNetwork(segmenter, case.region)
    rng = np.random.default_rng(1)
    images = rng.normal(size=(3, *case.network_input.array.shape)).astype(np.float32)

    def number_of(logits):
        return (logits**3)[..., torch.from_numpy(case.region.mask)].sum()

    batch = torch.from_numpy(images).requires_grad_()
    (gradients,) = torch.autograd.grad(number_of(network(batch)), batch)
    assert gradients.shape == batch.shape
    for image, gradient in zip(images, gradients):
        assert_close(gradient, naive_gradient(segmenter.network, case, number_of, image)[1])
    with pytest.raises(InvalidRequest, match="expected"):
        network(batch[..., :5])


@pytest.mark.parametrize(("quantity", "kept", "n_forward"), [("mean-logit", 1, 1), ("soft-dice", 0, 2)])
def test_only_tiles_that_meet_the_region_run_and_no_more_often_than_they_must(quantity, kept, n_forward):
    segmenter = TinySegmenter()
    case = a_case(segmenter, roi=CORNER)
    score = a_score(segmenter, case, quantity=quantity, kept_graphs=kept)
    network, n_tiles = score.network, case.region.n_tiles
    assert n_tiles < case.tiles.n_tiles
    before = network.n_forward
    score.gradient(score.image)
    assert (network.n_forward - before, network.n_backward) == (n_tiles, n_tiles)
    score.gradient(score.image + 1)
    assert (network.n_forward - before, network.n_backward) == ((1 + n_forward) * n_tiles, 2 * n_tiles)


def test_each_graph_that_is_kept_saves_a_forward_run_and_changes_nothing():
    segmenter = TinySegmenter()
    case = a_case(segmenter, roi=CORNER)
    n_tiles, gradients = case.region.n_tiles, []
    for kept in (0, 1, 3, 100):
        score = a_score(segmenter, case, kept_graphs=kept)
        before = score.network.n_forward
        gradients.append(score.gradient(score.image * 0.9)[1])
        assert score.network.n_forward - before == 2 * n_tiles - min(kept, n_tiles)
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=0, atol=1e-8)


def test_as_many_graphs_are_kept_as_fit_into_the_bytes():
    segmenter = TinySegmenter()
    score = a_score(segmenter, a_case(segmenter))
    network = score.network
    with LiveSavedTensors() as held:
        network._graph(network.jobs[0], score.image)
    for n_graphs, kept in ((0.5, 1), (1.01, 1), (3.01, 3), (1000, len(network.jobs))):
        network.keep_graphs(score.image, most_bytes=int(n_graphs * held.peak_bytes))
        assert network.kept_graphs == kept


def test_graphs_that_do_not_fit_after_all_are_let_go_and_the_gradient_is_the_same(monkeypatch):
    segmenter = TinySegmenter()
    case = a_case(segmenter)
    expected = a_score(segmenter, case).gradient(case_image := a_score(segmenter, case).image * 0.9)[1]
    score = a_score(segmenter, case, kept_graphs=100)
    live = []
    real = type(score.network)._graph

    def small_memory(network, *arguments):
        live[:] = [graph for graph in live if graph() is not None]
        if len(live) >= 2:
            raise OutOfMemory("full")
        graph = real(network, *arguments)
        live.append(weakref.ref(graph))
        return graph

    monkeypatch.setattr(type(score.network), "_graph", small_memory)
    torch.testing.assert_close(score.gradient(case_image)[1], expected, rtol=0, atol=1e-8)
    assert score.network.kept_graphs == 1


@pytest.mark.parametrize("measure", ["saved tensors", "allocator"])
def test_the_memory_is_that_of_one_tile_whatever_the_number_of_tiles(measure):
    def convolution(n, m):
        return lambda: torch.nn.Conv3d(n, m, 3, padding=1)

    hidden = [part for _ in range(4) for part in (convolution(16, 16), lambda: torch.nn.LeakyReLU(inplace=True))]
    segmenter = with_network(convolution(1, 16), *hidden, convolution(16, 3), tile_shape=(16, 16, 16))
    tile = torch.randn(1, 1, 16, 16, 16)

    def peak_of(work):
        if measure == "allocator":
            return peak_allocated_bytes(work)
        with LiveSavedTensors() as live:
            work()
        return live.peak_bytes

    def one_tile():
        leaf = tile.clone().requires_grad_()
        torch.autograd.grad(segmenter.network(leaf).sum(), leaf)

    one, peaks, n_tiles = peak_of(one_tile), [], []
    for shape in ((16, 16, 24), (28, 28, 24)):
        case = a_case(segmenter, roi=(slice(2, 14),) * 3, shape=shape)
        score = a_score(segmenter, case)
        n_tiles.append(case.region.n_tiles)
        peaks.append(peak_of(lambda score=score: score.gradient(score.image + 0.1)))
    naive = peak_of(lambda: naive_gradient(segmenter.network, case, score.number.of, case.network_input.array))
    assert n_tiles[1] >= 4 * n_tiles[0]
    assert max(peaks) < 1.3 * one
    assert naive > 3 * max(peaks)


@pytest.fixture
def an_ensemble_with_flips(tmp_path):
    folder = write_nnunet_model(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres", n_folds=2, mirror_axes=(0, 2))
    return load_segmenter(folder, device=CPU, trust=False)


def test_flips_and_folds_of_an_nnunet_are_averaged_in_the_gradient(an_ensemble_with_flips):
    segmenter = an_ensemble_with_flips
    case = a_case(segmenter, roi=(slice(4, 20), slice(6, 16), slice(6, 16)), shape=(22, 24, 20))
    networks = [segmenter.passes[0].network, segmenter.passes[-1].network]
    assert networks[0] is not networks[1]

    def tile_logits(tiles):
        runs = []
        for network in networks:
            for axes in ((), (2,), (4,), (2, 4)):
                runs.append(network(tiles.flip(axes)).flip(axes))
        return torch.stack(runs).mean(0)

    score = a_score(segmenter, case, quantity="soft-volume")
    assert len(score.network.jobs) == 8 * case.region.n_tiles
    assert_same_gradient(score, case, tile_logits)


def test_it_works_inside_inference_mode_and_no_grad():
    segmenter = TinySegmenter()
    case = a_case(segmenter)
    expected = a_score(segmenter, case).gradient(torch.from_numpy(case.network_input.array))[1]
    for context in (torch.inference_mode(), torch.no_grad()):
        with context:
            score = a_score(segmenter, case)
            torch.testing.assert_close(score.gradient(score.image)[1].clone(), expected)


class OverwritesWhatItNeeds(torch.nn.Module):
    """A sigmoid keeps its output for the gradient; the activation after it overwrites that."""

    def __init__(self):
        super().__init__()
        self.activation = torch.nn.LeakyReLU(inplace=True)

    def forward(self, x):
        return self.activation(torch.sigmoid(x))


class UsesWhatItOverwrote(OverwritesWhatItNeeds):
    """Here working in place changes the output."""

    def forward(self, x):
        y = torch.sigmoid(x) - 0.5
        squared = y.square()
        return self.activation(y) + y + squared


def test_a_network_that_overwrites_what_its_gradient_needs_is_run_out_of_place():
    segmenter = with_network(OverwritesWhatItNeeds, lambda: torch.nn.Conv3d(1, 3, 3, padding=1))
    case = a_case(segmenter)
    score = a_score(segmenter, case)
    _, gradient = score.gradient(score.image)
    assert segmenter.network[0].activation.inplace
    segmenter.network[0].activation.inplace = False
    expected = naive_gradient(segmenter.network, case, score.number.of, case.network_input.array)[1]
    assert_close(gradient, expected[:, *score.network.reach])


def test_but_not_if_that_changes_its_output():
    segmenter = with_network(UsesWhatItOverwrote, lambda: torch.nn.Conv3d(1, 3, 3, padding=1))
    score = a_score(segmenter, a_case(segmenter))
    with pytest.raises(UnusableModel, match=r"overwrites values.*its output is another"):
        score.gradient(score.image)
    assert segmenter.network[0].activation.inplace


def test_a_first_layer_that_works_in_place_does_not_touch_the_image():
    segmenter = with_network(lambda: torch.nn.ReLU(inplace=True), lambda: torch.nn.Conv3d(1, 3, 3, padding=1))
    case = a_case(segmenter)
    before = case.network_input.array.copy()
    score = a_score(segmenter, case)
    score.gradient(score.image)
    np.testing.assert_array_equal(case.network_input.array, before)
    np.testing.assert_array_equal(score.image.numpy(), before[:, *score.network.reach])


def test_out_of_place_gives_the_same_bits_and_is_undone(an_ensemble_with_flips):
    network = an_ensemble_with_flips.passes[0].network
    tiles = torch.randn(2, 1, 16, 16, 16)
    in_place = [module for module in network.modules() if getattr(module, "inplace", False)]
    assert in_place
    expected = network(tiles)
    with out_of_place(network):
        assert not any(module.inplace for module in in_place)
        assert torch.equal(network(tiles), expected)
    assert all(module.inplace for module in in_place)
    with pytest.raises(RuntimeError), out_of_place(network):
        network(tiles[:, :, :3])
    assert all(module.inplace for module in in_place)


class Detaches(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x, x, x], dim=1).detach()


class RunsWithoutGradients(torch.nn.Module):
    @torch.no_grad()
    def forward(self, x):
        return torch.cat([x, x * 2, x], dim=1)


class NeedsNoInput(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.ones(1, 3, 1, 1, 1))

    def forward(self, x):
        return self.bias * torch.ones_like(x)


class RefusesToGoBack(torch.nn.Module):
    class Refusal(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

        @staticmethod
        def backward(ctx, _):
            raise NotImplementedError("derivative for aten::something is not implemented")

    def forward(self, x):
        return torch.cat([self.Refusal.apply(x)] * 3, dim=1)


def quantised():
    class Quantised(torch.nn.Module):
        def forward(self, x):
            codes = torch.quantize_per_tensor(torch.cat([x] * 3, dim=1), 0.1, 0, torch.qint8)
            return codes.dequantize()

    return Quantised()


@pytest.mark.parametrize("layer", [Detaches, RunsWithoutGradients, NeedsNoInput, RefusesToGoBack, quantised])
def test_a_network_without_a_derivative_is_refused_with_a_way_out(layer):
    segmenter = TinySegmenter()
    segmenter.network = torch.nn.Sequential(layer()).eval()
    segmenter.passes = (TilePass(segmenter.network),)
    score = a_score(segmenter, a_case(segmenter), is_given=True)
    with pytest.raises(UnusableModel, match=r"derivative|differentiated|depend") as refusal:
        score.gradient(score.image)
    assert "adjusted-shap" in refusal.value.hint


def test_weights_made_in_inference_mode_are_refused_before_anything_runs():
    segmenter = TinySegmenter()
    case = a_case(segmenter)
    with torch.inference_mode():
        segmenter.network[0].weight = torch.nn.Parameter(segmenter.network[0].weight * 2)
    with pytest.raises(UnusableModel, match=r"0\.weight.*inference_mode"):
        StitchedNetwork(segmenter, case.region)


class RootOfZero(torch.nn.Module):
    """Finite everywhere; its derivative is infinite where the input is 0."""

    def forward(self, x):
        return torch.cat([x.abs().sqrt()] * 3, dim=1)


def test_a_gradient_that_is_not_finite_names_the_tile():
    segmenter = with_network(RootOfZero)
    ct = noise_ct()
    ct.array[6, 7, 8] = 0.0
    score = a_score(segmenter, a_case(segmenter, ct=ct), is_given=True)
    with pytest.raises(UnusableModel, match=r"gradient of tile \d+ of \d+ \(voxels k \d+ to \d+.*not finite"):
        score.gradient(score.image)


class TakesTooMuch(torch.nn.Module):
    def forward(self, x):
        if x.requires_grad:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return torch.cat([x] * 3, dim=1)


def test_a_tile_that_does_not_fit_says_so():
    segmenter = with_network(TakesTooMuch)
    score = a_score(segmenter, a_case(segmenter), is_given=True)
    with pytest.raises(OutOfMemory, match=r"gradient of tile \d+ of \d+.*does not fit"):
        score.gradient(score.image)


@pytest.mark.parametrize("is_whole_module", [True, False])
def test_a_script_is_differentiated_like_the_network_it_was_made_of(is_whole_module):
    segmenter, scripted = TinySegmenter(), TinySegmenter()
    case = a_case(segmenter)
    if is_whole_module:
        scripted.network = torch.jit.script(segmenter.network)
    else:
        scripted.network = torch.jit.trace(segmenter.network, torch.zeros(1, 1, 8, 8, 8))
    scripted.passes = (TilePass(scripted.network),)
    score = a_score(segmenter, case)
    for _ in range(4):  # torch optimises a script in its first runs
        gradient = a_score(scripted, case).gradient(score.image)[1]
    assert_close(gradient, score.gradient(score.image)[1])


def test_half_precision_keeps_gradients_that_would_vanish_in_it():
    """A mean over many voxels has tiny derivatives; bfloat16 stands in for CUDA's float16."""
    segmenter = TinySegmenter()
    case = a_case(segmenter)
    exact = a_score(segmenter, case).gradient(torch.from_numpy(case.network_input.array))[1]
    segmenter.precision = lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    mixed = a_score(segmenter, case)
    gradient = mixed.gradient(mixed.image)[1]
    assert gradient.dtype == torch.float32
    assert not torch.equal(gradient, exact)
    cosine = torch.nn.functional.cosine_similarity(gradient.ravel(), exact.ravel(), dim=0)
    assert float(cosine) > 0.99
    plain = a_score(segmenter, case, is_float32=True)
    torch.testing.assert_close(plain.gradient(plain.image)[1], exact)


class OverflowsInHalf(torch.nn.Module):
    """Its backward pass leaves the range of a narrow type."""

    class Overflow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

        @staticmethod
        def backward(ctx, gradient):
            return gradient * math.inf if gradient.dtype == torch.bfloat16 else gradient

    def forward(self, x):
        return self.Overflow.apply(x)


def test_a_gradient_that_overflows_in_half_precision_is_taken_again_in_float32():
    segmenter = TinySegmenter()
    case = a_case(segmenter)
    exact = a_score(segmenter, case).gradient(torch.from_numpy(case.network_input.array))[1]
    segmenter.network.append(OverflowsInHalf())
    segmenter.precision = lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    score = a_score(segmenter, case, quantity="mean-logit")
    _, gradient = score.gradient(score.image)
    assert torch.isfinite(gradient).all()
    exact = a_score(segmenter, case, quantity="mean-logit", is_float32=True).gradient(score.image)[1]
    torch.testing.assert_close(gradient, exact)


def test_a_wish_to_cancel_ends_the_work_at_the_next_tile():
    segmenter, progress = TinySegmenter(), Progress()
    case = a_case(segmenter)
    score = a_score(segmenter, case, on_tile=progress.check_cancelled)
    progress.cancel()
    before = score.network.n_forward
    with pytest.raises(Cancelled):
        score.gradient(score.image)
    assert score.network.n_forward == before + 1
    images = score.image[None].clone().requires_grad_()
    with pytest.raises(Cancelled):
        score.network(images)


@pytest.mark.parametrize("quantity", ["tp", "dice", "fp", "tp-share"])
def test_numbers_that_count_voxels_have_no_gradient_and_say_so(quantity):
    segmenter = TinySegmenter()
    with pytest.raises(InvalidRequest, match=r"no gradient.*soft-dice"):
        a_score(segmenter, a_case(segmenter), quantity=quantity)
