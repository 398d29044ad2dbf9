"""How the explained numbers are called in titles; the report's words, translated."""

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


def unit_label(unit: str) -> str:
    """A unit of value for column headings; empty for plain numbers."""
    return {"voxels": _("voxels"), "ml": _("ml")}.get(unit, "")
