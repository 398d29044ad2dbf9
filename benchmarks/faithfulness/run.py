"""All games, one after the other; what is done is kept, and not done again."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.faithfulness.cases import Case, Units
from benchmarks.faithfulness.judged import Judged, Row, fidelity_rows, judged_rows
from benchmarks.faithfulness.methods import Importances, VoxelMaps, importances, speaker_of
from benchmarks.faithfulness.opened import opened_game
from SegExplainLib.contract import SHAPLEY_METHODS
from SegExplainLib.warm import WarmState

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Settings:
    """What all games have in common.

    Attributes:
        methods: To be judged.
        budget: Games of at most so many coalitions are played in full; in others so many may be asked for random
            orders, subsets and bounds.
        gradients: Method -> gradients that it takes.
        seed: Of every draw.
    """

    methods: tuple[str, ...]
    budget: int
    gradients: dict[str, int]
    seed: int


@dataclass(frozen=True)
class Games:
    """Which games are played on each case.

    Attributes:
        units: Kinds of units; the first is the default one.
        fine_units: More of them, played under the default removal only and for one method.
        removals: The first is the default one.
    """

    units: tuple[Units, ...]
    fine_units: tuple[Units, ...]
    removals: tuple[str, ...]

    @property
    def every(self) -> list[tuple[Units, str]]:
        """Units and removal of each game."""
        return [(units, removal) for units in self.units for removal in self.removals] + [
            (units, self.removals[0]) for units in self.fine_units
        ]

    def is_default(self, units: str, removal: str) -> bool:
        """Whether this is the game that methods are compared on."""
        return (units, removal) == (self.units[0].name, self.removals[0])


def run(
    cases: Sequence[Case], games: Games, settings: Settings, folder: Path, *, tell: Callable[[str], None]
) -> list[Judged]:
    """Plays every game that ``folder`` does not hold yet, and returns all of them."""
    done = []
    for case in cases:
        warm, maps = WarmState(), VoxelMaps(settings.gradients, seed=settings.seed)
        for units, removal in games.every:
            path = folder / "games" / f"{case.name}_{units.name}_{removal}.json"
            has_voxels = games.is_default(units.name, removal)
            methods = settings.methods if units in games.units else (speaker_of(settings.methods),)
            question = _asked(case, units, removal, replace(settings, methods=methods), has_voxels=has_voxels)
            judged = _kept(path, question)
            if judged is None:
                judged = _played(case, units, removal, settings, maps=maps, warm=warm, question=question)
                judged.save(path)
                what = f"{judged.n_units} units, {judged.n_asked} coalitions, {judged.seconds:.0f} s"
            else:
                what = "at hand"
            done.append(judged)
            tell(f"{len(done)} of {len(cases) * len(games.every)}: {case.name}, {units.name}, {removal}: {what}")
    return done


def _played(
    case: Case, units: Units, removal: str, settings: Settings, *, maps: VoxelMaps, warm: WarmState, question: dict
) -> Judged:
    """Judges all methods by one game."""
    begin = time.monotonic()
    opened = opened_game(case, units, removal, warm=warm, most_in_full=settings.budget)
    found = importances(question["methods"], opened, maps, seed=settings.seed)
    answers, refusals = [], []
    for one in found:
        if isinstance(one, Importances):
            answers.append(one)
        else:
            refusals.append(Row(one[0], "", "", None, None, None, why=one[1]))
    rows, curves = judged_rows(opened, answers, budget=settings.budget, seed=settings.seed)
    if question["has_voxels"]:
        rows += fidelity_rows(opened, _without_repeats(answers), seed=settings.seed)
    return Judged(
        settings=question,
        case=case.name,
        units=units.name,
        removal=removal,
        n_units=opened.memory.n_players,
        n_asked=opened.n_asked,
        seconds=time.monotonic() - begin,
        rows=(*rows, *refusals),
        curves=tuple(curves),
    )


def _asked(case: Case, units: Units, removal: str, settings: Settings, *, has_voxels: bool) -> dict:
    """All that decides the numbers of one game, as JSON gives it back."""
    question = {
        "schema_version": SCHEMA_VERSION,
        "request": asdict(case.request),
        "units": asdict(units),
        "removal": removal,
        "has_voxels": has_voxels,
        **asdict(settings),
    }
    return json.loads(json.dumps(question))


def _without_repeats(answers: Sequence[Importances]) -> list[Importances]:
    """Of the Shapley methods, which estimate one thing, the first."""
    first = next((answer.method for answer in answers if answer.method in SHAPLEY_METHODS), "")
    return [answer for answer in answers if answer.method == first or answer.method not in SHAPLEY_METHODS]


def _kept(path: Path, question: dict) -> Judged | None:
    """The game as it was judged before, if it was asked the same."""
    if not path.exists():
        return None
    judged = Judged.load(path)
    return judged if judged.settings == question else None
