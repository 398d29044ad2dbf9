"""The words for each method: what its values are, what they are not, and how its answer begins."""

from dataclasses import dataclass

from SegExplainLib.contract import GRADIENT_METHODS, PATH_METHODS

_SHAPLEY_MEANING = (
    "The unit’s Shapley value: by how much the explained number changes when the unit is put back into this CT, "
    "averaged over all the orders in which all units could be put back. It describes what this network makes of "
    "this CT."
)
_PATH_MEANING = (
    "The path runs in a straight line, intensity by intensity, from a baseline to this CT. A voxel’s value is its way "
    "along the path times the slope of the explained number by its intensity, {average}; the unit’s value is the sum "
    "over its voxels."
)
_NO_MEASURE = "This is a picture, no measure: "
_FLAT = "where the network is sure of itself the slope is close to 0, however much a unit matters there"
_START = (
    "The values depend on where the path starts: a voxel that looks there as it does in this CT gets 0, whatever it "
    "means to the network."
)


@dataclass(frozen=True)
class MethodWords:
    """How one method and its values are spoken of.

    Attributes:
        name: For people.
        how: What it computes, in a phrase.
        meaning: What a unit's value is.
        weakness: What it is known to get wrong; empty for Shapley values, whose limits depend on the run.
        noun: What a value is called.
        a_noun: The same with its article, where it takes one.
        joint: The preposition between it and the explained number.
        question: The heading, with ``{target}``.
        most: The sentence on the largest values, with ``{lead}`` and ``{number}``; empty where others are written.
        least: That on the most negative ones; empty where values cannot be negative.
        raised, lowered: Of positive and negative values, for legends; empty for the words of the explained number.
        is_signed: Whether values can be negative.
        is_mean: Whether a unit's value is the mean over its voxels; else it is their sum.
        is_sampled: Whether chance decides where a gradient is taken.
    """

    name: str
    how: str
    meaning: str
    weakness: str = ""
    noun: str = "importance"
    a_noun: str = "an importance"
    joint: str = "for"
    question: str = ""
    most: str = ""
    least: str = ""
    raised: str = ""
    lowered: str = ""
    is_signed: bool = True
    is_mean: bool = False
    is_sampled: bool = False


METHOD_WORDS = {
    "adjusted-shap": MethodWords(
        "Adjusted SHAP",
        "Shapley values of a Gaussian process that learns from the samples, corrected by how far it is off",
        _SHAPLEY_MEANING,
    ),
    "kernel-shap": MethodWords(
        "KernelSHAP", "Shapley values by weighted regression on paired samples", _SHAPLEY_MEANING
    ),
    "leverage-shap": MethodWords(
        "Leverage SHAP", "Shapley values by regression on leverage-score samples", _SHAPLEY_MEANING
    ),
    "exact": MethodWords("exact Shapley values", "from all coalitions", _SHAPLEY_MEANING),
    "permutation": MethodWords(
        "permutation sampling", "Shapley values as mean marginal contributions over random orders", _SHAPLEY_MEANING
    ),
    "shap": MethodWords("KernelSHAP of the shap package", "Shapley values by weighted regression", _SHAPLEY_MEANING),
    "captum": MethodWords(
        "KernelShap of the captum package", "Shapley values by weighted regression", _SHAPLEY_MEANING
    ),
    "saliency": MethodWords(
        "saliency",
        "the size of the slope of the explained number by each voxel’s intensity",
        "How steeply the explained number changes with the unit’s intensities: the slope by each voxel’s intensity, "
        "up or down alike, summed over the unit’s voxels. It is how fast the number would rise if each voxel of the "
        "unit moved by the same tiny step in whichever direction raises it.",
        "Saliency tells how the number would move with tiny changes of intensity, not what brings the label about: "
        f"{_FLAT}.",
        noun="sensitivity",
        a_noun="a sensitivity",
        joint="of",
        question="To which intensities is “{target}” in this region sensitive?",
        most="The {number} would move most with tiny changes of intensity in {lead}.",
        is_signed=False,
    ),
    "input-x-gradient": MethodWords(
        "input × gradient",
        "each voxel’s normalised intensity times the slope of the explained number",
        "The intensity of each voxel, as the network sees it, times the slope of the explained number by it, summed "
        "over the unit’s voxels: the unit’s part of the number, if the network were linear and an intensity of 0 meant "
        "that nothing is there.",
        "Intensity times slope is right only for a linear network: what an intensity of 0 means is a choice of the "
        f"normalisation, and {_FLAT}.",
        most="Intensity times slope raises the {number} most in {lead}.",
        least="It lowers it most in {lead}.",
        raised="raises the number",
        lowered="lowers the number",
    ),
    "integrated-gradients": MethodWords(
        "integrated gradients",
        "the slope of the explained number along the straight path from a baseline to this CT",
        _PATH_MEANING.format(average="averaged over the path"),
        f"{_START} The images on the way are mixtures that the network was not trained on.",
        raised="raises the number",
        lowered="lowers the number",
    ),
    "expected-gradients": MethodWords(
        "expected gradients",
        "the slope of the explained number at random points of straight paths from baselines to this CT",
        _PATH_MEANING.format(average="averaged over random points of the paths from random baselines"),
        f"{_START} The images on the way are mixtures that the network was not trained on.",
        raised="raises the number",
        lowered="lowers the number",
        is_sampled=True,
    ),
    "smoothgrad": MethodWords(
        "SmoothGrad",
        "the mean slope of the explained number by each voxel’s intensity, under noise",
        "How steeply the explained number rises when the whole unit becomes brighter by the same tiny step: the slope "
        "by each voxel’s intensity, averaged over noisy copies of this CT and summed over the unit’s voxels.",
        "SmoothGrad tells how the number would move with tiny changes of intensity in noisy copies of this CT, not "
        "what brings the label about: a sign says whether brighter is more, not whether a unit supports the label, "
        f"and {_FLAT}.",
        noun="sensitivity",
        a_noun="a sensitivity",
        joint="of",
        question="To which intensities is “{target}” in this region sensitive?",
        most="Under noise, the {number} would rise most if {lead} became a little brighter.",
        least="It would fall most if {lead} became a little brighter.",
        raised="rises if brighter",
        lowered="falls if brighter",
        is_sampled=True,
    ),
    "smoothgrad-squared": MethodWords(
        "squared SmoothGrad",
        "the mean square of the slope of the explained number by each voxel’s intensity, under noise",
        "How steeply the explained number changes with the unit’s intensities: the square of the slope by each voxel’s "
        "intensity, averaged over noisy copies of this CT and summed over the unit’s voxels.",
        "Squared SmoothGrad tells how the number would move with tiny changes of intensity in noisy copies of this CT, "
        "not what brings the label about; squares make strong voxels stand out more than they are.",
        noun="sensitivity",
        a_noun="a sensitivity",
        joint="of",
        question="To which intensities is “{target}” in this region sensitive?",
        most="Under noise, the {number} is most sensitive to the intensities of {lead}.",
        is_signed=False,
        is_sampled=True,
    ),
    "vargrad": MethodWords(
        "VarGrad",
        "the variance of the slope of the explained number by each voxel’s intensity, under noise",
        "How much the slope of the explained number by each voxel’s intensity varies between noisy copies of this CT: "
        "its variance, summed over the unit’s voxels.",
        "VarGrad tells where the slope is unsteady under noise: not how steep it is, nor what brings the label "
        "about.",
        noun="unsteadiness",
        a_noun="an unsteadiness",
        joint="of",
        question="To which intensities does “{target}” in this region respond unsteadily?",
        most="Under noise, the slope of the {number} varies most in the intensities of {lead}.",
        is_signed=False,
        is_sampled=True,
    ),
    "guided-backprop": MethodWords(
        "guided backpropagation",
        "the slope of the explained number, of which only what is positive passes back through a rectifier",
        "The slope of the explained number by each voxel’s intensity, changed on its way back through the network so "
        "that only positive parts pass a rectifier; summed over the unit’s voxels.",
        f"{_NO_MEASURE}it sharpens edges of the CT, and depends little on the network’s weights (Adebayo et al. 2018).",
        noun="guided slope",
        a_noun="a guided slope",
        joint="of",
        question="What does guided backpropagation show for “{target}” in this region?",
        most="For the {number}, guided backpropagation gives the largest positive sum to {lead}.",
        least="The largest negative sum goes to {lead}.",
        raised="positive",
        lowered="negative",
    ),
    "seg-grad-cam": MethodWords(
        "Seg-Grad-CAM",
        "the features of one layer, weighted by the mean slope of the explained number by them",
        "Heat is where the features of one layer of the network speak for the explained number: 0 where they do not, "
        "and largest at one voxel of the map. The unit’s value is the mean over its voxels.",
        f"{_NO_MEASURE}it is as coarse as the layer, shows only what raises the number, and such maps are known to "
        "favour the background.",
        noun="heat",
        a_noun="heat",
        question="Where do features speak for “{target}” in this region?",
        most="The layer’s features speak for the {number} most, on average over a unit, in {lead}.",
        is_signed=False,
        is_mean=True,
    ),
    "xrai": MethodWords(
        "XRAI",
        "regions of several sizes, ranked by their mean integrated gradient",
        "Regions that follow the edges of the CT are ranked by their mean integrated gradient; heat is that mean, for "
        "the part that each region adds to the better ones before it. The unit’s value is the mean over its voxels, on "
        "a scale of its own.",
        "XRAI tells an order of regions: where two are nearly equal, the order and so the heat can jump. "
        f"{_START}",
        noun="heat",
        a_noun="heat",
        question="Which regions rank first for “{target}” in this region?",
        most="For the {number}, XRAI’s regions rank highest, on average over a unit, in {lead}.",
        least="They rank lowest in {lead}.",
        raised="raises the number",
        lowered="lowers the number",
        is_mean=True,
    ),
}  # fmt: skip


def method_words(method: str) -> MethodWords:
    """The words for one of ``contract.METHODS``."""
    return METHOD_WORDS[method]


def uses_gradients(method: str) -> bool:
    """Whether a method takes gradients of the network; else it asks for coalitions of units."""
    return method in GRADIENT_METHODS


def has_baseline(method: str) -> bool:
    """Whether absent units, or a path's start, have any part in the values."""
    return not uses_gradients(method) or method in PATH_METHODS
