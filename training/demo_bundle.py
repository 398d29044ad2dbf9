"""The demo model's bundle, as training and scoring use it: its settings, its weights, and its Dice on torsos."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser

from SegExplainLib.phantom import LABEL_NAMES, Torso, make_torso


@dataclass(frozen=True)
class DemoBundle:
    """A bundle folder, read afresh at every call, so that what is trained is what the bundle's files say."""

    root: Path

    @property
    def config_path(self) -> Path:
        """The inference configuration."""
        return self.root / "configs" / "inference.json"

    @property
    def weights_path(self) -> Path:
        """The network's state_dict."""
        return self.root / "models" / "model.pt"

    def parser(self) -> ConfigParser:
        """The bundle's configuration, on the CPU."""
        parser = ConfigParser()
        parser.read_config(str(self.config_path))
        parser["bundle_root"] = str(self.root)
        parser["device"] = "cpu"
        return parser

    def transform(self, name: str, nth: int = 0) -> dict[str, Any]:
        """Settings of the nth preprocessing transform of that name."""
        transforms = json.loads(self.config_path.read_text())["preprocessing"]["transforms"]
        return [t for t in transforms if t["_target_"] == name][nth]

    def clip_hu(self) -> tuple[float, float]:
        """Lowest and highest HU that the network gets to see."""
        return self.transform("ThresholdIntensityd", 0)["cval"], self.transform("ThresholdIntensityd", 1)["cval"]

    def normalize(self, hu: np.ndarray) -> np.ndarray:
        """HU -> network input, float32, as the bundle's preprocessing does it."""
        settings = self.transform("NormalizeIntensityd")
        return ((np.clip(hu, *self.clip_hu()) - settings["subtrahend"]) / settings["divisor"]).astype(np.float32)

    def write_intensities(self, mean_hu: float, std_hu: float) -> None:
        """Make the bundle normalise by these."""
        config = self.config_path.read_text()
        old = self.transform("NormalizeIntensityd")
        for key, value in (("subtrahend", mean_hu), ("divisor", std_hu)):
            config = config.replace(f'"{key}": {json.dumps(old[key])}', f'"{key}": {json.dumps(round(value, 2))}')
        self.config_path.write_text(config)

    def trained_network(self) -> torch.nn.Module:
        """The network with its weights, in evaluation mode."""
        network = self.parser().get_parsed_content("network_def")
        network.load_state_dict(torch.load(self.weights_path, weights_only=True, map_location="cpu"))
        return network.eval()


def ras_arrays(torso: Torso) -> tuple[np.ndarray, np.ndarray]:
    """HU and labels with axes R, A, S, the order in which the bundle's preprocessing hands volumes to the network."""
    affine = torso.ct.grid.ijk_to_ras[:3, :3]
    if not np.array_equal(np.sign(affine), np.diag([-1, -1, 1])):
        raise ValueError("the torso's axes should run left, back, head")
    return torso.ct.array[:, ::-1, ::-1].T.copy(), torso.labels.array[:, ::-1, ::-1].T.copy()


def dice_per_organ(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Dice of each organ over the whole volume; NaN for an organ that is in neither."""
    scores = {}
    for value, name in list(LABEL_NAMES.items())[1:]:
        p, t = predicted == value, truth == value
        total = int(p.sum()) + int(t.sum())
        scores[name] = 2 * int((p & t).sum()) / total if total else float("nan")
    return scores


def score(bundle: DemoBundle, seeds: list[int]) -> dict[str, list[float]]:
    """Dice per organ and torso, by the bundle's own network, normalisation and inferer."""
    network, inferer = bundle.trained_network(), bundle.parser().get_parsed_content("inferer")
    spacing_mm = float(bundle.transform("Spacingd")["pixdim"][0])
    scores: dict[str, list[float]] = {name: [] for name in list(LABEL_NAMES.values())[1:]}
    for seed in seeds:
        hu, truth = ras_arrays(make_torso(seed, spacing_mm=spacing_mm))
        with torch.inference_mode():
            logits = inferer(torch.from_numpy(bundle.normalize(hu))[None, None], network)
        for name, dice in dice_per_organ(logits[0].argmax(0).numpy(), truth).items():
            scores[name].append(dice)
    return scores
