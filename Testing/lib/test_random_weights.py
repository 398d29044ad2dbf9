"""Networks whose knowledge is taken away from the output down."""

import copy

import pytest
import torch
from builders import TinySegmenter
from tiny_models import write_nnunet_model
from torch import nn

from SegExplainLib.contract import UnusableModel
from SegExplainLib.model.loading import load_segmenter
from SegExplainLib.model.random_weights import (
    Stage,
    layers_from_output,
    randomise,
    randomised_segmenter,
    stages_of,
)
from SegExplainLib.model.segmenter import TilePass

TILES = torch.linspace(-1, 1, 6**3).reshape(1, 1, 6, 6, 6)


class Shuffled(nn.Module):
    """Layers that are registered in another order than they run in, a head that only training runs, a shared layer."""

    def __init__(self):
        super().__init__()
        self.last = nn.Conv3d(4, 2, 1)
        self.shared = nn.Conv3d(4, 4, 3, padding=1)
        self.training_head = nn.Conv3d(4, 2, 1)
        self.norm = nn.BatchNorm3d(4)
        self.first = nn.Conv3d(1, 4, 3, padding=1)

    def forward(self, tiles):
        once = self.shared(self.norm(self.first(tiles)).relu())
        return self.last(self.shared(once.relu()))


class Scaled(nn.Module):
    """Weights without reset_parameters, one of them a constant; and a part whose weights it uses by itself."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(50, 40) * 3 + 7)
        self.gain = nn.Parameter(torch.full((5,), 2.0))
        self.part = nn.Linear(3, 3)

    def forward(self, tiles):
        return tiles * self.weight.mean() * self.gain.sum() * self.part.weight.sum()


@pytest.fixture
def shuffled():
    """As if it had been trained: statistics and affine weights are no longer those of the start."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Shuffled()
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 + torch.rand_like(tensor))
    return network.eval()


def changed(before, after):
    """Names of the modules of which something is another."""
    pairs = zip(before.state_dict().items(), after.state_dict().values(), strict=True)
    return {name.rpartition(".")[0] for (name, old), new in pairs if not torch.equal(old, new)}


def test_layers_come_in_the_order_in_which_they_finish_not_in_that_of_registration(shuffled):
    assert layers_from_output(shuffled, TILES) == ("last", "shared", "norm", "first", "training_head")


@pytest.mark.parametrize("n_random", [0, 1, 2, 3, 4, 5])
def test_only_the_top_layers_are_changed(shuffled, n_random):
    layers, copied = layers_from_output(shuffled, TILES), copy.deepcopy(shuffled)
    randomise(copied, layers[:n_random], seed=1)
    assert changed(shuffled, copied) == set(layers[:n_random])


def test_more_random_layers_begin_with_the_same_draws_and_seeds_differ(shuffled):
    layers = layers_from_output(shuffled, TILES)
    few, many, other = (copy.deepcopy(shuffled) for _ in range(3))
    state = torch.random.get_rng_state()
    randomise(few, layers[:1], seed=1)
    randomise(many, layers, seed=1)
    randomise(other, layers, seed=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(few.last.weight, many.last.weight)
    assert not torch.equal(many.last.weight, other.last.weight)


def test_layers_are_set_as_their_own_reset_sets_them(shuffled):
    randomise(shuffled, ("norm", "last"), seed=5)
    norm = shuffled.norm
    for tensor, value in ((norm.weight, 1), (norm.bias, 0), (norm.running_mean, 0), (norm.running_var, 1)):
        assert torch.equal(tensor, torch.full_like(tensor, value))
    fresh = nn.Conv3d(4, 2, 1)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        fresh.reset_parameters()
    assert torch.equal(shuffled.last.weight, fresh.weight)
    assert torch.equal(shuffled.last.bias, fresh.bias)


def test_weights_without_a_reset_keep_mean_and_spread_and_constants_stay():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Scaled()
    before = network.weight.detach().clone()
    randomise(network, ("",), seed=1)
    assert not torch.equal(network.weight, before)
    correlation = torch.corrcoef(torch.stack([network.weight.detach().ravel(), before.ravel()]))[0, 1]
    assert abs(correlation) < 0.1
    assert network.weight.mean().item() == pytest.approx(before.mean().item(), abs=0.3)
    assert network.weight.std().item() == pytest.approx(before.std().item(), rel=0.1)
    assert torch.equal(network.gain, torch.full((5,), 2.0))


def test_a_part_that_never_runs_by_itself_goes_with_the_module_that_uses_it():
    network = nn.Sequential(nn.Conv3d(1, 1, 1), Scaled(), nn.Conv3d(1, 1, 1))
    assert layers_from_output(network, TILES) == ("2", "1", "1.part", "0")


def test_attention_whose_projection_is_used_without_being_called_is_set_in_its_turn():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 2)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.embed = nn.Linear(1, 4)

        def forward(self, tiles):
            tokens = self.embed(tiles.flatten(2).transpose(1, 2))
            return self.head(self.attention(tokens, tokens, tokens)[0])

    network = Attending().eval()
    assert layers_from_output(network, TILES) == ("head", "attention", "attention.out_proj", "embed")


def test_layers_that_share_weights_are_set_once():
    network = nn.Sequential(nn.Conv3d(1, 1, 3, padding=1), nn.Conv3d(1, 1, 3, padding=1))
    network[0].weight = network[1].weight
    few, all_layers = copy.deepcopy(network), copy.deepcopy(network)
    randomise(few, ("1",), seed=4)
    randomise(all_layers, ("1", "0"), seed=4)
    assert few[0].weight is few[1].weight
    assert torch.equal(few[0].weight, all_layers[0].weight)
    assert not torch.equal(few[0].weight, network[0].weight)


def test_a_weight_norm_cannot_keep_what_it_has_learnt():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv3d(2, 4, 3)), nn.Conv3d(4, 2, 1)).eval()
    tiles = torch.ones(1, 2, 4, 4, 4)
    layers = layers_from_output(network, tiles)
    assert layers[0] == "1"
    before = copy.deepcopy(network)
    randomise(network, layers, seed=1)
    assert not torch.allclose(network[0].weight, before[0].weight)
    assert torch.isfinite(network(tiles)).all()


def test_stages_go_from_the_last_layer_to_all_without_doubles():
    counts = [stage.n_of(20) for stage in stages_of(nn.Sequential(*[nn.Conv3d(1, 1, 1) for _ in range(20)]))]
    assert counts == [1, 4, 8, 12, 16, 20]
    few = stages_of(nn.Sequential(nn.Conv3d(1, 1, 1), nn.ReLU(), nn.Conv3d(1, 1, 1)))
    assert [(stage.name, stage.n_of(2)) for stage in few] == [("last layer", 1), ("all layers", 2)]
    assert [stage.n_of(1) for stage in stages_of(nn.Conv3d(1, 1, 1))] == [1]


def test_a_segmenter_stays_as_it_is_and_every_pass_of_the_copy_uses_the_random_network():
    segmenter = TinySegmenter()
    segmenter.passes = (TilePass(segmenter.network), TilePass(segmenter.network, (2,)))
    before, tile = copy.deepcopy(segmenter.network), torch.randn(1, 8, 8, 8)
    logits = segmenter.tile_logits(tile[None])
    random = randomised_segmenter(segmenter, tile, stage=Stage("all layers", 1.0), seed=0)
    assert not changed(before, segmenter.network)
    assert torch.equal(segmenter.tile_logits(tile[None]), logits)
    assert random.passes[0].network is random.passes[1].network is random.network
    assert not torch.allclose(random.tile_logits(tile[None]), logits)
    top = randomised_segmenter(segmenter, tile, stage=Stage("last layer", 0.0), seed=0)
    assert changed(before, top.network) == {"3"}


def test_folds_of_an_ensemble_get_draws_of_their_own():
    class Mean(nn.Module):
        def __init__(self, networks):
            super().__init__()
            self.networks = nn.ModuleList(networks)

    segmenter = TinySegmenter()
    folds = [segmenter.network, copy.deepcopy(segmenter.network)]
    segmenter.network, segmenter.passes = Mean(folds), tuple(map(TilePass, folds))
    random = randomised_segmenter(segmenter, torch.randn(1, 8, 8, 8), stage=Stage("all layers", 1.0), seed=0)
    assert random.network.networks[0] is random.passes[0].network
    assert not torch.equal(random.passes[0].network[0].weight, random.passes[1].network[0].weight)


def test_an_nnunet_is_random_from_its_segmentation_layer_down_in_every_fold(tmp_path):
    folder = write_nnunet_model(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres", n_folds=2, mirror_axes=(0,))
    segmenter = load_segmenter(folder, device=torch.device("cpu"), trust=False)
    tile = torch.randn(1, 16, 16, 16)
    before, logits = copy.deepcopy(segmenter.network), segmenter.tile_logits(tile[None])
    top = randomised_segmenter(segmenter, tile, stage=Stage("last layer", 0.0), seed=0)
    assert {name.split(".decoder.")[-1].split(".")[0] for name in changed(before, top.network)} == {"seg_layers"}
    every = randomised_segmenter(segmenter, tile, stage=Stage("all layers", 1.0), seed=0)
    assert changed(before, every.network) == {
        name.rpartition(".")[0] for name, _ in before.named_parameters(remove_duplicate=False)
    }
    for random in (top, every):
        with torch.no_grad():
            mirrored = random.network(tile[None].flip(2)).flip(2)
            expected = (random.network(tile[None]) + mirrored) / 2
        torch.testing.assert_close(random.tile_logits(tile[None]), expected)
        assert not torch.allclose(random.tile_logits(tile[None]), logits, rtol=0.1)
    assert torch.equal(segmenter.tile_logits(tile[None]), logits)


def test_a_compiled_network_is_refused_clearly():
    segmenter = TinySegmenter()
    segmenter.network = torch.jit.script(segmenter.network)
    segmenter.passes = (TilePass(segmenter.network),)
    with pytest.raises(UnusableModel, match=r"compiled|copied"):
        randomised_segmenter(segmenter, torch.randn(1, 8, 8, 8), stage=Stage("all layers", 1.0), seed=0)
