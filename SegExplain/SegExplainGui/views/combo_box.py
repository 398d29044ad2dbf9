"""Filling a combo box whose choices are not known beforehand."""

from collections.abc import Sequence
from typing import Any


def fill(combo: Any, names: Sequence[str], at: int) -> None:
    """Gives a QComboBox other choices, row ``at`` chosen (-1: none), without telling anybody."""
    was = combo.blockSignals(True)
    combo.clear()
    combo.addItems(list(names))
    combo.currentIndex = at
    combo.blockSignals(was)
