"""A number that says how good an explanation is, how sure it is, or why there is none."""

import math
from dataclasses import dataclass

from SegExplainLib.contract import InvalidRequest


@dataclass(frozen=True)
class Metric:
    """One number of an evaluation. Either ``value`` or ``why_undefined`` is given, never both, and never nan.

    ``dataclasses.asdict`` of it is JSON.

    Attributes:
        name: As in tables.
        value: None where it is not defined.
        better: "higher", "lower", or "" where neither is.
        standard_error: 0 where exact, None where unknown.
        interval: Ends of the 95 % interval; None where unknown.
        why_undefined: A sentence for the user.
        chance: What an explanation that knows nothing gives; None where that is unknown.
    """

    name: str
    value: float | None
    better: str = "higher"
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    why_undefined: str = ""
    chance: float | None = None

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.why_undefined):
            raise InvalidRequest(f"{self.name} needs either a value or a reason why it has none.")
        numbers = (self.value, self.standard_error, self.chance, *(self.interval or ()))
        if not all(number is None or math.isfinite(number) for number in numbers):
            raise InvalidRequest(f"{self.name} is not finite: {numbers}.")


def undefined(name: str, why: str, *, better: str = "higher", chance: float | None = None) -> Metric:
    """A metric without a value."""
    return Metric(name, None, better=better, why_undefined=why, chance=chance)
