"""The names that a request chooses from."""

UNIT_KINDS = ("organs", "fcc", "hybrid")
SINGLE_REMOVALS = ("air", "mean", "local-mean", "blur", "inpaint", "zero", "counterfactual")
"""Removals that give one image, so that a unit can be present or absent."""
REMOVALS = (*SINGLE_REMOVALS, "black-white", "references")
VALUES = (
    "tp",
    "tp-share",
    "dice",
    "soft-dice",
    "fp",
    "fp-share",
    "fp-relative",
    "fn",
    "mean-logit",
    "soft-volume",
)
DIFFERENTIABLE_VALUES = ("mean-logit", "soft-dice", "soft-volume")
"""Values that move smoothly with the network's output, so that they have a gradient."""
SHAPLEY_METHODS = ("adjusted-shap", "kernel-shap", "leverage-shap", "exact", "permutation", "shap", "captum")
SAMPLING_METHODS = ("adjusted-shap", "kernel-shap", "leverage-shap", "permutation")
"""Shapley methods that know their own error while they sample, and so when to stop."""
STOPS = ("values", "ranking")
"""What a sampling run has to settle before it may end."""
GRADIENT_METHODS = (
    "saliency",
    "input-x-gradient",
    "integrated-gradients",
    "expected-gradients",
    "smoothgrad",
    "smoothgrad-squared",
    "vargrad",
    "guided-backprop",
    "seg-grad-cam",
    "xrai",
)
PATH_METHODS = ("integrated-gradients", "expected-gradients", "xrai")
"""Gradient methods that follow a path from a baseline to the CT."""
METHODS = (*SHAPLEY_METHODS, *GRADIENT_METHODS)
