"""Numbers for people: as many digits as the error supports."""

import math

MINUS = "\u2212"
NARROW_SPACE = "\u202f"
NO_BREAK = "\u00a0"

_SUFFIX = {
    "voxels": f"{NO_BREAK}voxels",
    "ml": f"{NO_BREAK}ml",
    "share": "",
    "logit": "",
    "percent": f"{NARROW_SPACE}%",
}


def suffix_of(unit: str) -> str:
    """What follows a number of this unit; nothing for shares and logits."""
    return _SUFFIX.get(unit, f"{NO_BREAK}{unit}")


def decimals_for(value: float, half_width: float = 0.0, *, unit: str = "") -> int:
    """Decimal places that show two digits of the half width, within two to four digits of the value; for percent one.

    One decimal is enough beside a largest value of 100 %.
    """
    if unit == "percent":
        return min(1, decimals_for(value, half_width))
    of_value = -math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    most, least = of_value + 3, of_value + 1
    if half_width == 0 or not math.isfinite(half_width):
        return max(0, min(most, of_value + 2))
    wanted = 1 - math.floor(math.log10(half_width))
    return max(0, min(most, max(least, wanted) if half_width < abs(value) else wanted))


def rounded(value: float, decimals: int, *, is_signed: bool = False) -> str:
    """``value`` with a true minus sign, thin spaces between thousands, and no minus before zero."""
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else ("∞" if value > 0 else f"{MINUS}∞")
    digits = f"{abs(value):,.{decimals}f}".replace(",", NARROW_SPACE)
    is_zero = not any(character in "123456789" for character in digits)
    sign = "" if is_zero else (MINUS if value < 0 else ("+" if is_signed else ""))
    return sign + digits


def plain(value: float, unit: str, *, beside: float = 0.0) -> str:
    """A number with its unit: ``0.912``, ``4 210 voxels``. Three digits of the larger of it and one ``beside`` it."""
    if unit == "voxels" and float(value).is_integer():
        return rounded(value, 0) + suffix_of(unit)
    return rounded(value, decimals_for(max(abs(value), abs(beside)), unit=unit)) + suffix_of(unit)


def signed(value: float, half_width: float, unit: str, *, has_plus: bool = True) -> str:
    """An importance alone, with the digits that its error supports: ``+0.561``.

    ``has_plus`` is off for values that cannot be negative.
    """
    return rounded(value, decimals_for(value, half_width, unit=unit), is_signed=has_plus) + suffix_of(unit)


def with_error(value: float, half_width: float, unit: str, *, has_plus: bool = True) -> str:
    """An importance and its 95 % half width: ``+0.561 ± 0.031``; the error is left out where it is 0 or not known."""
    decimals = decimals_for(value, half_width, unit=unit)
    text = rounded(value, decimals, is_signed=has_plus)
    if half_width and math.isfinite(half_width):
        shown = rounded(half_width, decimals)
        is_hidden = not any(character in "123456789" for character in shown)
        text += (
            f"{NO_BREAK}±{NO_BREAK}<{rounded(10.0**-decimals, decimals)}"
            if is_hidden
            else f"{NO_BREAK}±{NO_BREAK}{shown}"
        )
    return text + suffix_of(unit)


def as_range(value: float, half_width: float, unit: str) -> str:
    """The ends of an interval: ``+0.530 to +0.592``."""
    decimals = decimals_for(value, half_width, unit=unit)
    low, high = (rounded(end, decimals, is_signed=True) for end in (value - half_width, value + half_width))
    return f"{low} to {high}{suffix_of(unit)}"


def percent(share: float) -> str:
    """A share in percent, with a decimal below ten where it is not 0, without a space that could break: ``62 %``."""
    if not math.isfinite(share):
        return rounded(share, 0)
    return rounded(100 * share, 1 if abs(share) < 0.0995 else 0).removesuffix(".0") + f"{NARROW_SPACE}%"


def superscript(exponent: int) -> str:
    """An exponent in raised digits: ``⁻⁵``."""
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
