"""How methods and the explained numbers are called in titles; the report's words, translated."""

from slicer.i18n import tr as _

from SegExplainLib.contract import GRADIENT_METHODS


def short_name(quantity: str) -> str:
    """A quantity for titles and axes: ``soft Dice``; the quantity itself where there is no word for it."""
    words = {
        "tp": _("true positives"),
        "tp-share": _("share found"),
        "dice": _("Dice"),
        "soft-dice": _("soft Dice"),
        "fp": _("false positives"),
        "fp-share": _("false-positive share"),
        "fp-relative": _("relative false positives"),
        "fn": _("misses"),
        "mean-logit": _("mean logit"),
        "soft-volume": _("soft volume"),
    }
    return words.get(quantity, quantity)


def method_name(method: str) -> str:
    """A gradient method for titles: ``Seg-Grad-CAM``; the method itself where there is no word for it."""
    words = {
        "seg-grad-cam": _("Seg-Grad-CAM"),
        "saliency": _("saliency"),
        "input-x-gradient": _("input × gradient"),
        "guided-backprop": _("guided backpropagation"),
        "smoothgrad": _("SmoothGrad"),
        "smoothgrad-squared": _("squared SmoothGrad"),
        "vargrad": _("VarGrad"),
        "integrated-gradients": _("integrated gradients"),
        "expected-gradients": _("expected gradients"),
        "xrai": _("XRAI"),
    }
    return words.get(method, method)


def run_name(target: str, method: str, ct: str, when: str) -> str:
    """Of a result: what was asked, by which method where it is none of the Shapley methods, of what, and when."""
    words = {"target": target, "method": method_name(method), "ct": ct, "when": when}
    text = _("{target} by {method} ({ct}, {when})") if method in GRADIENT_METHODS else _("Why {target}? ({ct}, {when})")
    return text.format(**words)


def noun_of(method: str) -> str:
    """What a method's numbers are called: ``heat``; ``importance`` where they are parts of the explained number."""
    words = {
        "seg-grad-cam": _("heat"),
        "xrai": _("heat"),
        "saliency": _("sensitivity"),
        "smoothgrad": _("sensitivity"),
        "smoothgrad-squared": _("sensitivity"),
        "vargrad": _("unsteadiness"),
        "guided-backprop": _("guided slope"),
    }
    return words.get(method, _("importance"))


def is_signed(method: str) -> bool:
    """Whether a method can give a number below zero; Shapley values can."""
    return method not in ("seg-grad-cam", "saliency", "smoothgrad-squared", "vargrad")


def is_relative(method: str) -> bool:
    """Whether a method's numbers are on a scale of their own, of which only ratios mean something."""
    return bool(method) and method not in ("input-x-gradient", "integrated-gradients", "expected-gradients")


def map_title(method: str, target: str, quantity: str, unit: str) -> str:
    """Of a legend; ``method`` is empty for Shapley values."""
    what = noun_of(method).capitalize()
    if not method:
        head = _("{what} for").format(what=what)
    elif is_relative(method):
        head = _("{what} (%)\nof each voxel for").format(what=what)
    else:
        head = _("{what}\nof each voxel for").format(what=what)
    unit = "" if is_relative(method) else unit_label(unit)
    words = [head, target, short_name(quantity) + (f" ({unit})" if unit else "")]
    return "\n".join([*words, _("100 % = 99.9th\npercentile")] if is_relative(method) else words)


def unit_label(unit: str) -> str:
    """A unit of value for column headings; empty for plain numbers."""
    return {"voxels": _("voxels"), "ml": _("ml"), "relative": _("relative")}.get(unit, "")
