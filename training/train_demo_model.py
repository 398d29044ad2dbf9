"""Train the demo model on synthetic torsos: ``python -m training.train_demo_model``.

The network, tile size, spacing and intensity window are those of the bundle's inference.json; the script measures the
intensities, trains, and writes the weights and the Dice on torsos that were never trained on into the same bundle.
"""

import argparse
import json
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceCELoss
from scipy import ndimage

from SegExplainLib.phantom import make_torso
from training.demo_bundle import DemoBundle, ras_arrays, score

# Torsos to train on have seeds from here up; evaluation, tests and demo stay below.
FIRST_TRAINING_SEED = 1_000_000
EVALUATION_SEEDS = list(range(2000, 2012))
LESION_SHARE = 0.85
TORSOS_IN_POOL = 400
TORSOS_AT_START = 24
STEPS_PER_TORSO = 20
CHECKPOINT_EVERY = 100


def main() -> None:
    """Measure, train, score."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    bundle = DemoBundle(arguments.out)
    if arguments.steps > 0:
        train(
            bundle,
            arguments.steps,
            batch_size=arguments.batch_size,
            learning_rate=arguments.learning_rate,
            seed=arguments.seed,
            checkpoint=arguments.checkpoint,
        )
    write_scores(bundle, score(bundle, EVALUATION_SEEDS))


def train(
    bundle: DemoBundle, n_steps: int, *, batch_size: int, learning_rate: float, seed: int, checkpoint: Path
) -> None:
    """Train the bundle's network from scratch, or go on from ``checkpoint`` where there is an unfinished one.

    AdamW, warm-up and cosine decay, Dice plus cross-entropy. A resumed run goes on with fresh torsos.
    """
    torch.manual_seed(seed)
    network = bundle.parser().get_parsed_content("network_def").train()
    network = network.to(memory_format=torch.channels_last_3d)  # a fifth faster on CPU
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    loss_of = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
    first_step = _resume(checkpoint, n_steps, network, optimizer)
    spacing_mm = float(bundle.transform("Spacingd")["pixdim"][0])
    started, recent = time.perf_counter(), deque(maxlen=100)
    with ProcessPoolExecutor(1) as maker:
        torsos = fresh_torsos(maker, FIRST_TRAINING_SEED + 100_000 * seed + first_step, spacing_mm=spacing_mm)
        pool = deque((next(torsos) for _ in range(TORSOS_AT_START)), maxlen=TORSOS_IN_POOL)
        if first_step == 0:
            bundle.write_intensities(*foreground_intensities(pool, bundle.clip_hu()))
        for step in range(first_step, n_steps):
            if step % STEPS_PER_TORSO == 0:
                pool.append(next(torsos))
            image, label = draw_batch(pool, bundle, batch_size, rng=np.random.default_rng([seed, step]))
            loss = loss_of(network(image), label)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.param_groups[0]["lr"] = learning_rate * share_of_learning_rate(step, n_steps)
            optimizer.step()
            recent.append(loss.item())
            if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == n_steps:
                _save(bundle, checkpoint, step + 1, network, optimizer)
                print(
                    f"step {step + 1}/{n_steps}  loss {np.mean(recent):.4f}  torsos {len(pool)}  "
                    f"{time.perf_counter() - started:.0f} s",
                    flush=True,
                )


def share_of_learning_rate(step: int, n_steps: int) -> float:
    """Share of the peak learning rate: up linearly over 200 steps, down to 0 along a cosine."""
    return min(1.0, (step + 1) / 200) * 0.5 * (1 + float(np.cos(np.pi * step / n_steps)))


def fresh_torsos(
    maker: ProcessPoolExecutor, first_seed: int, *, spacing_mm: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """HU (float16) and labels (uint8) of one torso after another, axes R, A, S, made ahead of need by ``maker``."""
    ahead: deque[Future] = deque()
    seed = first_seed
    while True:
        while len(ahead) < 4:
            ahead.append(maker.submit(_training_torso, seed, spacing_mm))
            seed += 1
        yield ahead.popleft().result()


def _training_torso(seed: int, spacing_mm: float) -> tuple[np.ndarray, np.ndarray]:
    has_lesion = bool(np.random.default_rng([seed, 99]).uniform() < LESION_SHARE)
    hu, label = ras_arrays(make_torso(seed, spacing_mm=spacing_mm, has_lesion=has_lesion))
    return hu.astype(np.float16), label


def foreground_intensities(pool: deque, clip_hu: tuple[float, float]) -> tuple[float, float]:
    """Mean and standard deviation of the clipped HU over all labelled voxels, as nnU-Net normalises CT."""
    values = np.concatenate([np.clip(hu[label > 0].astype(np.float64), *clip_hu) for hu, label in pool])
    return float(values.mean()), float(values.std())


def draw_batch(
    pool: deque, bundle: DemoBundle, batch_size: int, *, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augmented tiles (batch, 1, x, y, z) and their labels: half anywhere, half around a voxel of a random organ."""
    size = json.loads(bundle.config_path.read_text())["inferer"]["roi_size"]
    images, labels = [], []
    for n in range(batch_size):
        hu, label = pool[rng.integers(len(pool))]
        room = np.array(label.shape) - size
        corner = rng.integers(0, room + 1)
        if n % 2:
            organ = rng.choice(np.flatnonzero(np.bincount(label.ravel())[1:]) + 1)
            voxel = np.array(np.unravel_index(rng.choice(np.flatnonzero(label == organ)), label.shape))
            corner = np.clip(voxel - rng.integers(0, size), 0, room)
        tile = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        images.append(bundle.normalize(augment(hu[tile].astype(np.float32), rng)))
        labels.append(label[tile].astype(np.int64))
    return torch.from_numpy(np.stack(images)[:, None]), torch.from_numpy(np.stack(labels)[:, None])


def augment(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Slightly other HU: gain, offset, noise, blur. Never mirrored, since sides are what some classes are about."""
    if rng.uniform() < 0.15:
        hu = ndimage.gaussian_filter(hu, rng.uniform(0.2, 0.55))
    hu = hu * rng.uniform(0.95, 1.05) + rng.uniform(-8, 8)
    if rng.uniform() < 0.3:
        hu = hu + rng.uniform(2, 10) * rng.standard_normal(hu.shape, dtype=np.float32)
    return hu


def write_scores(bundle: DemoBundle, scores: dict[str, list[float]]) -> None:
    """Put the measured Dice into the bundle's metadata and its README."""
    metadata_path = bundle.root / "configs" / "metadata.json"
    metadata = json.loads(metadata_path.read_text())
    metadata["eval_metrics"] = {f"mean_dice_{name}": round(float(np.mean(d)), 4) for name, d in scores.items()}
    metadata_path.write_text(json.dumps(metadata, indent=4) + "\n")
    readme_path = bundle.root / "docs" / "README.md"
    head = readme_path.read_text().split("## Measured")[0]
    rows = [f"| {name} | {np.mean(d):.3f} | {np.min(d):.3f} |" for name, d in scores.items()]
    title = f"## Measured\n\nDice on {len(EVALUATION_SEEDS)} torsos that were not trained on "
    title += f"(seeds {EVALUATION_SEEDS[0]} to {EVALUATION_SEEDS[-1]}), written by the training script:\n\n"
    table = "\n".join(["| organ | mean | worst torso |", "|---|---|---|", *rows])
    readme_path.write_text(f"{head}{title}{table}\n")
    print(table, flush=True)


def _save(
    bundle: DemoBundle,
    checkpoint: Path,
    step: int,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    weights = {name: weight.contiguous() for name, weight in network.state_dict().items()}
    state = {"step": step, "network": weights, "optimizer": optimizer.state_dict()}
    for path, content in ((bundle.weights_path, weights), (checkpoint, state)):
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)


def _resume(
    checkpoint: Path,
    n_steps: int,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> int:
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, weights_only=True)
    if state["step"] >= n_steps:
        return 0
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3600, help="optimizer steps; 0 only scores the present weights")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("Resources/demo_model"), help="bundle to train in place")
    parser.add_argument("--checkpoint", type=Path, default=Path("build/demo_model_checkpoint.pt"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
