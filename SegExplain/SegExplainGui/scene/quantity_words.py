"""How methods and the explained numbers are called in titles; the report's words, translated."""

from slicer.i18n import tr as _


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


def map_title(method: str, target: str, quantity: str, unit: str) -> str:
    """Of a legend; ``method`` is empty for Shapley values."""
    what = noun_of(method)
    what = what[:1].upper() + what[1:]
    is_in_unit = unit_label(unit) and unit != "relative"
    parts = [
        _("{what} of each voxel for").format(what=what) if method else _("{what} for").format(what=what),
        target,
        short_name(quantity) + (f" ({unit_label(unit)})" if is_in_unit else ""),
    ]
    return "\n".join(parts)


def unit_label(unit: str) -> str:
    """A unit of value for column headings; empty for plain numbers."""
    return {"voxels": _("voxels"), "ml": _("ml"), "relative": _("relative")}.get(unit, "")
