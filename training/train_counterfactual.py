"""Train the autoencoder of the counterfactual baseline: ``python -m training.train_counterfactual``.

The network and its intensities are those of ``SegExplainLib.counterfactual.autoencoder``; it sees cubes of synthetic
torsos, around lesions, at the same places without the lesion, around organs, and anywhere. The script trains, writes
the weights in half precision, and puts the errors on torsos that were never trained on into the README beside them.
"""

import argparse
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from SegExplainLib.counterfactual.autoencoder import (
    TRAINED_EDGE_VOXELS,
    VOXEL_MM,
    hu_of_intensity,
    intensity_of_hu,
    new_autoencoder,
    trained_autoencoder,
)
from SegExplainLib.phantom import LABEL_NAMES, make_torso
from training.train_demo_model import augment

# Torsos to train on have seeds from here up, others than the demo model's; evaluation, tests and demo stay below.
FIRST_TRAINING_SEED = 5_000_000
EVALUATION_SEEDS = list(range(2000, 2012))
LESION = next(label for label, name in LABEL_NAMES.items() if name == "lesion")
CUBES_PER_SITE = 4
CUBES_IN_POOL = 4000
TORSOS_AT_START = 6
STEPS_PER_TORSO = 20
CHECKPOINT_EVERY = 50
# Laplace likelihood of this scale, about 15 HU in soft tissue: the scanner's noise is not to be encoded.
NOISE = 0.02


def main() -> None:
    """Train, measure."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    if arguments.steps > 0:
        train(arguments)
    write_errors(arguments.out, errors_hu(arguments.out / "autoencoder.pt", EVALUATION_SEEDS))


def train(arguments: argparse.Namespace) -> None:
    """Train from scratch, or go on from the checkpoint where there is an unfinished one; then with fresh torsos."""
    torch.manual_seed(arguments.seed)
    network = new_autoencoder().train().to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters(), lr=arguments.learning_rate, weight_decay=1e-4)
    first_step = _resume(arguments, network, optimizer)
    torch.manual_seed(arguments.seed + first_step)
    started, recent = time.perf_counter(), deque(maxlen=100)
    with ProcessPoolExecutor(1) as maker:
        made = fresh_cubes(maker, FIRST_TRAINING_SEED + 100_000 * arguments.seed + first_step)
        pool = deque((cube for _ in range(TORSOS_AT_START) for cube in next(made)), maxlen=CUBES_IN_POOL)
        for step in range(first_step, arguments.steps):
            if step % STEPS_PER_TORSO == 0:
                pool.extend(next(made))
            images = draw_batch(pool, arguments.batch_size, rng=np.random.default_rng([arguments.seed, step]))
            error, divergence = _losses(network, images)
            optimizer.zero_grad()
            (error / NOISE + divergence).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.param_groups[0]["lr"] = arguments.learning_rate * share_of_learning_rate(step, arguments.steps)
            optimizer.step()
            recent.append((error.item(), divergence.item()))
            if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == arguments.steps:
                _save(arguments, step + 1, network, optimizer)
                print(
                    "step {}/{}  mean |error| {:.4f}  KL per voxel {:.4f}  {:.0f} s".format(
                        step + 1, arguments.steps, *np.mean(recent, axis=0), time.perf_counter() - started
                    ),
                    flush=True,
                )


def share_of_learning_rate(step: int, n_steps: int) -> float:
    """Share of the peak learning rate: up linearly over 40 steps, down to 0 along a cosine."""
    return min(1.0, (step + 1) / 40) * 0.5 * (1 + float(np.cos(np.pi * step / n_steps)))


def _losses(network: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean absolute error of the reconstruction, and Kullback-Leibler divergence from the prior in nats per voxel."""
    reconstruction, mean, sigma = network(images)
    divergence = 0.5 * (mean**2 + sigma**2 - 1 - 2 * torch.log(sigma)).sum() / images.numel()
    return (reconstruction - images).abs().mean(), divergence


def fresh_cubes(maker: ProcessPoolExecutor, first_seed: int) -> Iterator[np.ndarray]:
    """HU (n, k, j, i), float16, of one torso after another, made ahead of need by ``maker``."""
    ahead: deque[Future] = deque()
    seed = first_seed
    while True:
        while len(ahead) < 4:
            ahead.append(maker.submit(cubes_of_torso, seed))
            seed += 1
        yield ahead.popleft().result()


def cubes_of_torso(seed: int) -> np.ndarray:
    """float16 (4 * CUBES_PER_SITE, k, j, i): at the lesion, there without it, around organs, anywhere."""
    rng = np.random.default_rng([seed, 7])
    sick, well = (make_torso(seed, spacing_mm=VOXEL_MM, has_lesion=has) for has in (True, False))
    labels = sick.labels.array
    cubes = []
    for _ in range(CUBES_PER_SITE):
        corner = corner_around(voxel_of(labels == LESION, rng), labels.shape, rng)
        cubes += [cube_at(torso.ct.array, corner) for torso in (sick, well)]
        organ = rng.choice(np.unique(labels)[1:])
        cubes.append(cube_at(sick.ct.array, corner_around(voxel_of(labels == organ, rng), labels.shape, rng)))
        anywhere = rng.integers(0, np.array(labels.shape) - TRAINED_EDGE_VOXELS + 1)
        cubes.append(cube_at(well.ct.array, anywhere))
    return np.stack(cubes).astype(np.float16)


def voxel_of(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random voxel (k, j, i) of a mask."""
    return np.array(np.unravel_index(rng.choice(np.flatnonzero(mask)), mask.shape))


def corner_around(voxel: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Where a cube begins that holds a voxel in its inner part."""
    edge = TRAINED_EDGE_VOXELS
    corner = voxel - rng.integers(edge // 4, edge - edge // 4, size=3)
    return np.clip(corner, 0, np.array(shape) - edge)


def cube_at(hu: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """The cube that begins at ``corner``."""
    return hu[tuple(slice(c, c + TRAINED_EDGE_VOXELS) for c in corner)]


def draw_batch(pool: deque, batch_size: int, *, rng: np.random.Generator) -> torch.Tensor:
    """Augmented intensities (batch, 1, k, j, i)."""
    chosen = [pool[rng.integers(len(pool))] for _ in range(batch_size)]
    hu = np.stack([augment(cube.astype(np.float32), rng) for cube in chosen])
    return intensity_of_hu(torch.from_numpy(hu.astype(np.float32))[:, None]).contiguous(
        memory_format=torch.channels_last_3d
    )


def errors_hu(weights: Path, seeds: list[int]) -> dict[str, list[float]]:
    """Mean absolute errors of the reconstruction in HU, and the lesion's contrast before and after, for each torso."""
    network = trained_autoencoder(device=torch.device("cpu"), path=weights)
    found: dict[str, list[float]] = {}
    for seed in seeds:
        torso = make_torso(seed, spacing_mm=VOXEL_MM)
        labels = torso.labels.array
        centre = np.argwhere(labels == LESION).mean(axis=0).astype(int)
        corner = np.clip(centre - TRAINED_EDGE_VOXELS // 2, 0, np.array(labels.shape) - TRAINED_EDGE_VOXELS)
        hu, label = cube_at(torso.ct.array, corner), cube_at(labels, corner)
        with torch.inference_mode():
            mean, _ = network.encode(intensity_of_hu(torch.from_numpy(hu.copy())[None, None]))
            decoded = hu_of_intensity(network.decode(mean))[0, 0].numpy()
        error = np.abs(decoded - hu)
        soft, lesion, liver = (hu > -200) & (hu < 300), label == LESION, label == 5
        for name, value in (
            ("absolute error in soft tissue, HU", error[soft].mean()),
            ("absolute error in the lesion, HU", error[lesion].mean()),
            ("liver minus lesion, HU", hu[liver].mean() - hu[lesion].mean()),
            ("liver minus lesion, reconstructed, HU", decoded[liver].mean() - decoded[lesion].mean()),
        ):
            found.setdefault(name, []).append(float(value))
    return found


def write_errors(folder: Path, errors: dict[str, list[float]]) -> None:
    """Put the measured errors into the README beside the weights."""
    path = folder / "README.md"
    head = path.read_text(encoding="utf-8").split("## Measured")[0]
    rows = [f"| {name} | {np.mean(e):.1f} | {np.min(e):.1f} | {np.max(e):.1f} |" for name, e in errors.items()]
    title = f"## Measured\n\nCubes around the lesion of {len(EVALUATION_SEEDS)} torsos that were not trained on "
    title += f"(seeds {EVALUATION_SEEDS[0]} to {EVALUATION_SEEDS[-1]}), written by the training script:\n\n"
    table = "\n".join(["| | mean | least | most |", "|---|---|---|---|", *rows])
    path.write_text(f"{head}{title}{table}\n", encoding="utf-8")
    print(table, flush=True)


def _save(arguments: argparse.Namespace, step: int, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    weights = {name: weight.contiguous() for name, weight in network.state_dict().items()}
    halves = {name: weight.half() for name, weight in weights.items()}
    state = {"step": step, "network": weights, "optimizer": optimizer.state_dict()}
    for path, content in ((arguments.out / "autoencoder.pt", halves), (arguments.checkpoint, state)):
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)


def _resume(arguments: argparse.Namespace, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not arguments.checkpoint.exists():
        return 0
    state = torch.load(arguments.checkpoint, weights_only=True)
    if state["step"] >= arguments.steps:
        return 0
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000, help="optimizer steps; 0 only measures the present weights")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("Resources/counterfactual"), help="folder of the weights")
    parser.add_argument("--checkpoint", type=Path, default=Path("build/counterfactual_checkpoint.pt"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
