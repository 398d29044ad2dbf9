"""The colour bar beside a picture: the scale as it looks over grey tissue, with its directions in words."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from SegExplainLib.attribution import Attribution
from SegExplainLib.report.methods import method_words
from SegExplainLib.report.rounding import plain, rounded, suffix_of, superscript
from SegExplainLib.report.shown import PERCENT, RELATIVE, picture_rgba, sign_words

INK = "#26292e"
_GREY = 0.5
_WORD_SIZE = 7.5


def axes_at(figure: Figure, inches: tuple[float, ...]) -> Axes:
    """Axes whose left, bottom, width and height are given in inches."""
    width, height = figure.get_size_inches()
    left, bottom, wide, high = inches
    return figure.add_axes((left / width, bottom / height, wide / width, high / height))


def draw_colour_bar(axes: Axes, attribution: Attribution, limit: float) -> None:
    """Fills the axes with the scale up to ``limit``; words stand above and below it, and need half an inch each."""
    low = -limit if method_words(attribution.method).is_signed else 0.0
    rgba = picture_rgba(attribution, np.linspace(low, limit, 256)[:, np.newaxis], limit=limit)
    shown = rgba[..., :3] * rgba[..., 3:] + _GREY * (1 - rgba[..., 3:])
    axes.imshow(shown, origin="lower", aspect="auto", extent=(0, 1, low, limit), interpolation="bilinear")
    ticks = np.array([-1, -0.5, 0, 0.5, 1] if low else [0, 0.5, 1]) * limit
    axes.set(xticks=[], yticks=ticks)
    axes.yaxis.tick_right()
    divisor, has_plus = _divisor(attribution, limit), bool(low)
    labels = [_tick(tick / divisor, limit / divisor, attribution.unit, has_plus=has_plus) for tick in ticks]
    axes.set_yticklabels(labels, size=_WORD_SIZE, color=INK)
    axes.tick_params(length=2, color=INK)
    axes.spines[:].set_visible(False)
    for y, va, words in ((1.0, "bottom", _words_above(attribution, limit)), (0.0, "top", _words_below(attribution))):
        offset = 7 if va == "bottom" else -7
        axes.annotate(
            words,
            (0, y),
            (0, offset),
            "axes fraction",
            "offset points",
            va=va,
            size=_WORD_SIZE,
            color=INK,
            linespacing=1.15,
        )


def _words_above(attribution: Attribution, limit: float) -> str:
    words = _in_two_lines(sign_words(attribution)[0])
    if attribution.voxel_map is None or _is_relative(attribution):
        return words
    unit = "ml/voxel" if attribution.unit == "ml" else "per voxel"
    return f"{words}\n10{superscript(_exponent(limit))} {unit}".lstrip()


def _words_below(attribution: Attribution) -> str:
    words = _in_two_lines(sign_words(attribution)[1])
    if attribution.voxel_map is not None:
        end = "100 % is 99.9th" if _is_relative(attribution) else "ends at 99.9th"
        return f"{words}\n{end}\npercentile".lstrip()
    return words or ("% of the\nlargest unit" if attribution.unit == PERCENT else "")


def _divisor(attribution: Attribution, limit: float) -> float:
    """What the ticks are told in: percent of the limit, a power of ten, or the unit itself."""
    if attribution.voxel_map is None:
        return 1.0
    return limit / 100 if _is_relative(attribution) else 10.0 ** _exponent(limit)


def _in_two_lines(words: str) -> str:
    return words.replace(" ", "\n", 1) if len(words) > 12 else words


def _is_relative(attribution: Attribution) -> bool:
    return attribution.unit in (RELATIVE, PERCENT)


def _tick(value: float, limit: float, unit: str, *, has_plus: bool) -> str:
    from_limit = plain(limit, unit).removesuffix(suffix_of(unit))
    digits = len(from_limit.partition(".")[2])
    return rounded(value, digits, is_signed=has_plus) if value else "0"


def _exponent(limit: float) -> int:
    return math.floor(math.log10(limit))
