"""Numbers, times and stages in words for people."""

from slicer.i18n import tr as _

from SegExplainGui.services import Preview, RegionSize


def duration(seconds: float) -> str:
    """A time such as ``40 s``, ``3 min`` or ``1.5 h``."""
    if seconds < 90:
        return _("{n} s").format(n=max(1, round(seconds)))
    if seconds < 5400:
        return _("{n} min").format(n=round(seconds / 60))
    return _("{n} h").format(n=f"{seconds / 3600:.1f}")


def duration_range(least_s: float, most_s: float) -> str:
    """Two times as a range, such as ``3 to 6 min``; one where both read the same."""
    least, most = duration(least_s), duration(most_s)
    if least == most:
        return most
    if least.split()[-1] == most.split()[-1]:
        least = least.split()[0]
    return _("{least} to {most}").format(least=least, most=most)


def region_words(size: RegionSize) -> str:
    """The ROI on the CT, such as ``12,345 voxels (41.7 ml)``."""
    return _("{n} voxels ({volume} ml)").format(n=f"{size.n_voxels:,}", volume=f"{size.volume_ml:.3g}")


def preview_words(preview: Preview) -> str:
    """What an explanation would take, in one sentence."""
    size = region_words(RegionSize(n_voxels=preview.n_voxels, volume_ml=preview.volume_ml))
    units = _("{n} units") if preview.units_are_exact else _("about {n} units")
    text = _("{size}, {n_roi_tiles} of {n_image_tiles} tiles, {units}, {time}").format(
        size=size,
        n_roi_tiles=f"{preview.n_roi_tiles:,}",
        n_image_tiles=f"{preview.n_image_tiles:,}",
        units=units.format(n=f"{preview.n_units:,}"),
        time=_("about {time}").format(time=duration_range(preview.least_s, preview.most_s)),
    )
    return "\n".join([text, *preview.warnings])


def stage_words(stage: str) -> str:
    """A stage of the pipeline; an unknown one as it is called there."""
    words = {
        "start": _("Starting"),
        "load model": _("Opening the network"),
        "read CT": _("Reading the CT"),
        "find organs": _("Finding the organs"),
        "find region": _("Finding the region"),
        "choose units": _("Dividing the CT into units"),
        "predict": _("Running the network on the CT"),
        "run unperturbed tiles": _("Running the network on the unchanged CT"),
        "remove units": _("Preparing the baseline"),
        "show preview": _("Preparing a preview"),
        "load libraries": _("Starting"),
        "read results": _("Reading the results"),
        "compare with the mask": _("Comparing the map with the label"),
        "evaluate coalitions": _("Trying combinations of units"),
        "evaluate voxels": _("Trying combinations of voxels"),
        "measure stability": _("Explaining again, to see what stays"),
        "tell the results": _("Writing the results"),
        "take gradients": _("Following the network back"),
        "write results": _("Writing the results"),
    }
    return words.get(stage, stage[:1].upper() + stage[1:])


def value_unit_words(unit: str) -> str:
    """The unit of an importance, for a heading; empty for a share, which has none. Relative ones are in percent."""
    known = {"voxels": _("voxels"), "ml": _("ml"), "logit": _("logit"), "relative": _("% of largest")}
    return known.get(unit, "")
