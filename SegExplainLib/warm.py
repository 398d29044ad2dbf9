"""What one question leaves for the next: the last item of each stage, as long as the next question needs the same."""

import gc
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from SegExplainLib.progress import Progress

Item = TypeVar("Item")


@dataclass(frozen=True)
class Key:
    """What decides an item of a stage.

    Attributes:
        stage: At most one item of a stage is kept.
        settings: What is set for this stage alone.
        made_from: Keys of the items of earlier stages that this one is made from.
    """

    stage: str
    settings: tuple[Hashable, ...] = ()
    made_from: tuple[Self, ...] = ()

    def rests_on(self, other: Self) -> bool:
        """Whether the other item went into this one, or is this one."""
        return self == other or any(key.rests_on(other) for key in self.made_from)


@dataclass(frozen=True, eq=False)
class _Kept:
    key: Key
    item: Any
    warnings: tuple[str, ...]


class WarmState:
    """The last item of each stage: what is asked for again is at hand, and what is replaced is freed first.

    An item is kept only when it has been made to its end, so that an error or a cancelled run leaves nothing half made.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def take(self, key: Key, make: Callable[[], Item], progress: Progress) -> Item:
        """The item of a stage: the one at hand, or else what ``make`` gives; the user is told its warnings either way.

        Before another item is made, the stage's last one is let go, with all that rests on it.
        """
        kept = self._kept.get(key.stage)
        if kept is not None and kept.key == key:
            for message in kept.warnings:
                progress.warn(message)
            return kept.item
        if kept is not None:
            self._let_go(lambda other: other.rests_on(kept.key))
        n_told = len(progress.warnings)
        item = make()
        self._kept[key.stage] = _Kept(key, item, tuple(progress.warnings[n_told:]))
        return item

    def at_hand(self, key: Key) -> Any | None:
        """The item of a stage if it is at hand; None where it would have to be made."""
        kept = self._kept.get(key.stage)
        return kept.item if kept is not None and kept.key == key else None

    def clear(self) -> None:
        """Lets go of everything."""
        self._let_go(lambda _key: True)

    def _let_go(self, is_stale: Callable[[Key], bool]) -> None:
        self._kept = {stage: kept for stage, kept in self._kept.items() if not is_stale(kept.key)}
        gc.collect()  # what refers to itself would hold gigabytes until the collector comes by
