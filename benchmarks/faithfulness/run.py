"""All games, one after the other; what is done is kept, and not done again."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.faithfulness.cases import Case, Units
from benchmarks.faithfulness.judged import Curve, Judged, Row, fidelity_rows, judged_rows
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
    def every(self) -> list["Game"]:
        """In the order in which they are played."""
        default = self.removals[0]
        return [
            *(Game(units, removal, "all methods") for removal in self.removals for units in self.units),
            Game(self.units[0], default, "voxels"),
            *(Game(units, default, "one method") for units in self.fine_units),
        ]

    def is_default(self, judged: Judged) -> bool:
        """Whether methods are compared on this game."""
        return (judged.units, judged.removal) == (self.units[0].name, self.removals[0])


@dataclass(frozen=True)
class Game:
    """Units, removal, and what is judged: "all methods", "one method", or maps by their "voxels"."""

    units: Units
    removal: str
    judged: str

    def methods(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Of those that were asked for."""
        speaker = speaker_of(asked)
        if self.judged == "voxels":  # the Shapley methods estimate one thing: one of them will do
            return tuple(name for name in asked if name == speaker or name not in SHAPLEY_METHODS)
        return tuple(asked) if self.judged == "all methods" else (speaker,)


def run(
    cases: Sequence[Case], games: Games, settings: Settings, folder: Path, *, tell: Callable[[str], None]
) -> list[Judged]:
    """Plays every game that ``folder`` does not hold yet, and returns all of them."""
    maps = {case.name: VoxelMaps(settings.gradients, seed=settings.seed) for case in cases}
    warm = {case.name: WarmState() for case in cases}
    done: list[Judged] = []
    for game in games.every:
        for case in cases:
            asked = replace(settings, methods=game.methods(settings.methods))
            question = _asked(case, game, asked)
            path = folder / "games" / f"{case.name}_{game.units.name}_{game.removal}_{game.judged.split()[-1]}.json"
            judged = _kept(path, question)
            what = "at hand"
            if judged is None:
                judged = _played(case, game, asked, maps[case.name], warm=warm[case.name], question=question)
                judged.save(path)
                what = f"{judged.n_units} units, {judged.n_asked} coalitions, {judged.seconds:.0f} s"
            done.append(judged)
            name = f"{case.name}, {game.units.name}, {game.removal}, {game.judged}"
            tell(f"{len(done)} of {len(cases) * len(games.every)}: {name}: {what}")
    return done


def _played(case: Case, game: Game, settings: Settings, maps: VoxelMaps, *, warm: WarmState, question: dict) -> Judged:
    """Judges the methods by one game."""
    begin = time.monotonic()
    most_in_full = 0 if game.judged == "voxels" else settings.budget
    opened = opened_game(case, game.units, game.removal, warm=warm, most_in_full=most_in_full)
    answers, refusals = [], []
    rows: Iterable[Row]
    curves: Iterable[Curve]
    for one in importances(settings.methods, opened, maps, seed=settings.seed):
        if isinstance(one, Importances):
            answers.append(one)
        else:
            refusals.append(Row(one[0], "", "", None, None, None, why=one[1]))
    if game.judged == "voxels":
        rows, curves = fidelity_rows(opened, answers, seed=settings.seed), ()
    else:
        rows, curves = judged_rows(opened, answers, budget=settings.budget, seed=settings.seed)
    return Judged(
        settings=question,
        case=case.name,
        units=game.units.name,
        removal=game.removal,
        n_units=opened.memory.n_players,
        n_asked=opened.n_asked,
        seconds=time.monotonic() - begin,
        rows=(*rows, *refusals),
        curves=tuple(curves),
    )


def _asked(case: Case, game: Game, settings: Settings) -> dict:
    """All that decides the numbers of one game, as JSON gives it back."""
    question = {
        "schema_version": SCHEMA_VERSION,
        "request": asdict(case.request),
        "game": asdict(game),
        "settings": asdict(settings),
    }
    return json.loads(json.dumps(question))


def _kept(path: Path, question: dict) -> Judged | None:
    """The game as it was judged before, if it was asked the same."""
    if not path.exists():
        return None
    judged = Judged.load(path)
    return judged if judged.settings == question else None
