"""The words for what was explained, with what, and how: one place, so that page, pictures and answer agree."""

import re
from dataclasses import dataclass

_CONTROL_OR_SPACE = re.compile(r"[\s\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class QuantityWords:
    """How one explained number is spoken of.

    Attributes:
        short: For axes and headings.
        meaning: With ``{target}`` and ``{truth}`` to fill in.
        story: Whether larger is more of the label ("label"), of false positives, or of misses.
    """

    short: str
    meaning: str
    story: str


@dataclass(frozen=True)
class StoryWords:
    """How units that raise or lower a number are spoken of; ``{target}`` is to be filled in.

    Attributes:
        rises, falls: Begin the sentence on the units that lead in this direction; go before "mostly on X".
        also_rises, also_falls: Begin the sentence on the units that pull the other way.
        raised, lowered: For legends.
    """

    rises: str
    falls: str
    also_rises: str
    also_falls: str
    raised: str
    lowered: str


QUANTITIES = {
    "tp": QuantityWords(
        "true positives", "the number of “{target}” voxels in the region that agree with {truth}", "label"
    ),
    "tp-share": QuantityWords(
        "share found", "the share of {truth} of “{target}” in the region that the network finds", "label"
    ),
    "dice": QuantityWords(
        "Dice", "the Dice overlap (0 none, 1 perfect) of the predicted “{target}” with {truth} in the region", "label"
    ),
    "soft-dice": QuantityWords(
        "soft Dice",
        "the soft Dice overlap (0 none, 1 perfect) of the network’s probabilities for “{target}” with {truth} in the "
        "region",
        "label",
    ),
    "fp": QuantityWords(
        "false positives", "the number of voxels in the region labelled “{target}” beyond {truth}", "false positives"
    ),
    "fp-share": QuantityWords(
        "false-positive share",
        "the share of the voxels labelled “{target}” in the region that lie beyond {truth}",
        "false positives",
    ),
    "fp-relative": QuantityWords(
        "relative false positives",
        "the number of voxels in the region labelled “{target}” beyond {truth}, as a multiple of those on the "
        "unchanged CT",
        "false positives",
    ),
    "fn": QuantityWords(
        "misses", "the number of “{target}” voxels of {truth} in the region that the network misses", "misses"
    ),
    "mean-logit": QuantityWords(
        "mean logit",
        "the network’s mean raw score (logit) for “{target}” over the voxels of {truth} in the region",
        "label",
    ),
    "soft-volume": QuantityWords(
        "soft volume", "the volume of “{target}” in the region, each voxel counted by its probability", "label"
    ),
}

STORIES = {
    "label": StoryWords(
        rises="The label “{target}” in this region rests",
        falls="The label “{target}” in this region is weakened",
        also_rises="For it",
        also_falls="Against it",
        raised="supports the label",
        lowered="speaks against it",
    ),
    "false positives": StoryWords(
        rises="False positives of “{target}” in this region rise",
        falls="False positives of “{target}” in this region are held back",
        also_rises="They rise with",
        also_falls="They are held back by",
        raised="raises false positives",
        lowered="holds them back",
    ),
    "misses": StoryWords(
        rises="Misses of “{target}” in this region rise",
        falls="Misses of “{target}” in this region are prevented",
        also_rises="They rise with",
        also_falls="They are prevented by",
        raised="raises misses",
        lowered="prevents misses",
    ),
}

REMOVALS = {
    "air": "filled with air",
    "mean": "filled with the network’s mean intensity",
    "local-mean": "filled with the mean intensity of their surroundings",
    "blur": "blurred",
    "inpaint": "filled in smoothly from their surroundings",
    "zero": "set to 0 on the network’s own scale of intensities",
    "counterfactual": "taken from a counterfactual: this CT, edited by a generative model so that the network no "
    "longer finds the target",
    "black-white": "filled with air in one image, and with the brightest intensity of this CT in another",
    "references": "taken from reference CTs",
}
"""How absent units look: after "units were" """

STARTS = {
    "air": "this CT with every unit filled with air",
    "mean": "this CT with every unit filled with the network’s mean intensity",
    "local-mean": "this CT with every unit filled with the mean intensity of its surroundings",
    "blur": "this CT with every unit blurred",
    "inpaint": "this CT with every unit filled in smoothly from its surroundings",
    "zero": "this CT with every unit set to 0 on the network’s own scale of intensities",
    "counterfactual": "a counterfactual: this CT, edited by a generative model so that the network no longer finds the "
    "target",
    "black-white": "two images: this CT with every unit filled with air, and with the brightest intensity of this CT",
    "references": "the reference CTs",
}
"""What a path starts from."""

UNIT_KINDS = {
    "organs": "whole organs",
    "fcc": "supervoxels on a face-centred cubic lattice",
    "hybrid": "organs, divided by a face-centred cubic lattice",
}

COUNTS = {
    "n_image_tiles": "tiles of the whole CT",
    "n_roi_tiles": "tiles that meet the region",
    "n_coalitions": "coalitions asked of the network",
    "n_region_tiles": "tiles that no reuse at all would run",
    "n_touched_tiles": "tiles that hold an absent unit",
    "n_network_tiles": "tiles run through the network",
    "reuse_share": "tiles not run again",
    "unperturbed_bytes": "memory for what the unchanged CT gives",
    "kept_bytes_peak": "most memory for reuse",
    "accumulator_bytes_peak": "most memory for sums",
    "network_s": "time in the network",
    "n_tiles_forward": "tiles run forward for gradients",
    "n_tiles_backward": "tiles followed back",
    "least_reference_overlap_share": "units that the worst reference CT covers",
    "least_reference_correlation": "lowest correlation of a reference’s HU with the CT’s",
    "counterfactual_validity_share": "target that the counterfactual takes away",
    "counterfactual_proximity_hu": "mean edit of the counterfactual",
    "counterfactual_largest_edit_hu": "largest edit of the counterfactual",
}

COUNTS_OF_COALITIONS = (
    "n_coalitions",
    "n_region_tiles",
    "n_touched_tiles",
    "n_unperturbed_tiles",
    "n_network_tiles",
    "reuse_share",
    "kept_bytes_peak",
    "accumulator_bytes_peak",
    "network_s",
)
"""Counts of the engine that plays coalitions: they say nothing of gradients, which go past it."""

STOP_REASONS = {
    "exact": "every coalition was evaluated, so the values are exact",
    "tolerance": "the wished precision was reached",
    "ranking": "the most important units and their signs were settled",
    "budget": "the budget of evaluations was spent",
    "cancelled": "it was stopped by the user",
}

GRADIENT_STOP_REASONS = STOP_REASONS | {
    "exact": "nothing is sampled, so that no more are needed",
    "budget": "the budget of gradients was spent",
}


def quantity_words(quantity: str) -> QuantityWords:
    """The words for an explained number; those of an unknown one are made of its name."""
    return QUANTITIES.get(quantity, QuantityWords(quantity, f"the {quantity} of “{{target}}” in the region", "label"))


def story_words(quantity: str) -> StoryWords:
    """How units that raise or lower this explained number are spoken of."""
    return STORIES[quantity_words(quantity).story]


def truth_words(*, has_reference: bool) -> str:
    """What the prediction is compared with."""
    return "the reference mask" if has_reference else "the network’s own prediction on the unchanged CT"


def one_line(text: str) -> str:
    """``text`` without line breaks, control characters and double blanks."""
    return _CONTROL_OR_SPACE.sub(" ", text).strip()


def readable(name: str) -> str:
    """A unit's or a class's name for people: ``lung_upper_lobe_left`` -> ``lung upper lobe left``."""
    return one_line(name.replace("_", " ")) or "(no name)"


def shortened(text: str, n_characters: int) -> str:
    """``text``, its middle left out where it is longer: the ends of organs' names (side, number) tell them apart."""
    if len(text) <= n_characters:
        return text
    tail = n_characters // 3
    return f"{text[: n_characters - tail - 1].rstrip()}…{text[len(text) - tail :].lstrip()}"


def listed(items: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def counted(n: int, noun: str) -> str:
    """``1 unit``, ``2 units``, ``no unit``."""
    return f"{n or 'no'} {noun}{'s' if n > 1 else ''}"
