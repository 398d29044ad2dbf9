"""The same network with what it has learnt taken away, from its last layer down to its first: what MPRT asks.

An explanation of a network without its knowledge should be another one: what stays the same was never read from the
weights.

References:
    Adebayo et al. (2018), Sanity checks for saliency maps: the cascading model parameter randomisation test.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from SegExplainLib.contract import UnusableModel
from SegExplainLib.model.segmenter import Segmenter

STAGE_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Of the layers, counted from the output; 0 stands for the last layer alone."""
HINT = "Leave out the test with random weights."


@dataclass(frozen=True)
class Stage:
    """How far down the network is random.

    Attributes:
        name: For people.
        share: Of the layers, from the output down; the last layer at least.
    """

    name: str
    share: float

    def n_of(self, n_layers: int) -> int:
        """Layers of so many that are random, one at least."""
        return min(n_layers, max(1, math.ceil(self.share * n_layers - 1e-9)))


def stages_of(network: torch.nn.Module) -> tuple[Stage, ...]:
    """The last layer, then fifths of the layers up to all; fewer where the network has fewer layers. Runs nothing."""
    n_layers = len(_layer_names(network))
    by_count: dict[int, Stage] = {}
    for share in STAGE_SHARES:
        name = {0.0: "last layer", 1.0: "all layers"}.get(share, f"last {share:.0%} of layers")
        stage = Stage(name, share)
        if stage.n_of(n_layers) not in by_count or share == 1.0:
            by_count[stage.n_of(n_layers)] = stage
    return tuple(by_count.values())


def layers_from_output(network: torch.nn.Module, tiles: torch.Tensor) -> tuple[str, ...]:
    """Names of all modules with weights of their own, the last to finish first.

    A module that runs several times counts where it finishes last. One that never runs by itself, because another uses
    its weights, goes with the nearest module around it that runs and has weights; where there is none, as for heads
    that only training needs, it comes last.

    Args:
        network: In eval mode.
        tiles: (batch, channels, k, j, i) on its device, on which it is run once.

    Raises:
        UnusableModel: none of its modules with weights can be seen running, as in a compiled network.
    """
    names, modules = _layer_names(network), dict(network.named_modules())
    finished: list[str] = []
    seen = [name for name in names if not isinstance(modules[name], torch.jit.ScriptModule)]
    handles = [modules[name].register_forward_hook(_noting(name, finished)) for name in seen]
    try:
        with torch.no_grad():
            network(tiles)
    finally:
        for handle in handles:
            handle.remove()
    if not finished:
        raise UnusableModel(
            "No layer of the network can be seen running by itself, as in a compiled one: none can be made random "
            "before another.",
            HINT,
        )
    place = {name: turn for turn, name in enumerate(finished)}  # of its last run
    return tuple(sorted(names, key=lambda name: -place.get(_running(name, place), -1)))


def _noting(name: str, finished: list[str]) -> Callable[..., None]:
    return lambda *_of_the_hook: finished.append(name)


def randomise(network: torch.nn.Module, layers: Sequence[str], *, seed: int) -> None:
    """Sets layers of a network as they were before training, in place, one after the other.

    A layer without parts that has ``reset_parameters`` is set as that sets it, running statistics of batch norms
    included. All other weights are drawn from a normal distribution with the mean and the standard deviation that they
    have, so that equal ones stay. Weights that several layers share are set with the first of them.

    The draws are the same on every device, and those of more layers begin with those of fewer. Torch's own random state
    is left as it was.

    Args:
        network: Is changed.
        layers: Names of its modules, from the output down.
        seed: Of the draws.
    """
    modules = dict(network.named_modules())
    done: set[int] = set()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for name in layers:
            _reset(modules[name], done)


def randomised_segmenter(segmenter: Segmenter, tile: torch.Tensor, *, stage: Stage, seed: int) -> Segmenter:
    """A copy of the segmenter whose networks are random from the output down to a stage; every fold by its own draws.

    Args:
        segmenter: Stays as it is.
        tile: (channels, k, j, i) on the network's device; shows in which order layers run.
        stage: How far down.
        seed: Of the draws.

    Raises:
        UnusableModel: the network is compiled, or cannot be copied.
    """
    copied = copy.copy(segmenter)
    try:
        copied.network, copied.passes = copy.deepcopy((segmenter.network, segmenter.passes))
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UnusableModel(f"The network cannot be copied ({reason}).", HINT) from error
    folds = dict.fromkeys(one_pass.network for one_pass in copied.passes)
    for number, network in enumerate(folds):
        with segmenter.precision():
            layers = layers_from_output(network, tile[None])
        randomise(network, layers[: stage.n_of(len(layers))], seed=seed + number)
    return copied


def _layer_names(network: torch.nn.Module) -> list[str]:
    """Modules with weights, or statistics, of their own; each once."""
    return [name for name, module in network.named_modules() if any(True for _ in _own_state(module))]


def _own_state(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights; and what has been learnt beside them, where the module can set that anew."""
    yield from module.named_parameters(recurse=False)
    if _can_reset(module):
        yield from module.named_buffers(recurse=False)


def _can_reset(module: torch.nn.Module) -> bool:
    """By itself alone: one with parts might set those, too."""
    return hasattr(module, "reset_parameters") and not any(True for _ in module.children())


def _running(name: str, place: Mapping[str, int]) -> str:
    """The module that uses the weights of ``name``: itself, or the nearest around it that runs; empty for none."""
    while name and name not in place:
        name = name.rpartition(".")[0]
    return name


def _reset(module: torch.nn.Module, done: set[int]) -> None:
    """Sets what the module owns, but for what is done."""
    new: dict[str, torch.Tensor] = {}
    if _can_reset(module):
        fresh: Any = copy.deepcopy(module).to("cpu")  # where the draws do not depend on the device
        fresh.reset_parameters()
        new = dict(_own_state(fresh))
    for name, tensor in _own_state(module):
        if id(tensor) in done:
            continue
        done.add(id(tensor))
        before = tensor.detach().cpu()
        after = new.get(name, before)
        is_left = isinstance(tensor, torch.nn.Parameter) and torch.equal(before, after)
        tensor.copy_(_drawn_like(before) if is_left else after)


def _drawn_like(weights: torch.Tensor) -> torch.Tensor:
    """float32 normal numbers of the same shape, mean and standard deviation."""
    weights = weights.float()
    return weights.mean() + weights.std(correction=0) * torch.randn(weights.shape)
