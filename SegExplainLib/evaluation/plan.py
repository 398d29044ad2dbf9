"""How the coalitions that an evaluation may ask of the network are shared out among its parts."""

from dataclasses import dataclass

from SegExplainLib.contract import InvalidRequest
from SegExplainLib.evaluation.bounds import MOST_EXACT_UNITS, most_evaluations
from SegExplainLib.evaluation.unit_curves import AXES

LADDER = ((0, 0, 0), (9, 0, 0), (19, 0, 0), (19, 30, 0), (19, 30, 1), (49, 50, 2), (99, 100, 5))
"""(random orders, subsets of each size, beam width): the last rung that the budget affords is taken. 19 orders are the
fewest from which a p-value of 0.05 can come."""
WISHED = LADDER[3]
MOST_STEPS = 12
"""Of the curve of a random order: a step after each of 50 units would cost four times as much, for the same verdict."""
LEAST_AUTOMATIC = 600


@dataclass(frozen=True)
class Plan:
    """What an evaluation will ask for, and why it leaves out the rest. ``dataclasses.asdict`` of it is JSON.

    Attributes:
        budget: Most new coalitions.
        n_curves: New coalitions of the deletion curves, which nothing can do without; kept ones included.
        n_orders: Random orders of the units.
        n_subsets: Random subsets of each size, and of mixed sizes.
        beam_width: Of the search for the bounds of the area; 0 for no bounds, any other number where they are exact.
        most_exact: Units up to which bounds are exact: 0 where the budget does not hold every coalition.
        n_new_most: New coalitions at most.
        n_kept: Coalitions that an interrupted evaluation left; they are of the budget, and not new.
        why_no_orders: A sentence, where there are none.
        why_no_subsets: Likewise.
        why_no_bounds: Likewise.
    """

    budget: int
    n_curves: int
    n_orders: int
    n_subsets: int
    beam_width: int
    most_exact: int
    n_new_most: int
    n_kept: int = 0
    why_no_orders: str = ""
    why_no_subsets: str = ""
    why_no_bounds: str = ""

    @property
    def words(self) -> str:
        """For the user, before it begins."""
        if self.n_new_most == 0:
            return "Every coalition that is needed is known: the network is not asked."
        parts = [f"{self.n_curves} for the deletion curves"]
        parts += [f"{self.n_orders} random orders"] if self.n_orders else []
        parts += [f"random subsets, {self.n_subsets} of each size"] if self.n_subsets else []
        parts += ["the bounds of the area"] if self.beam_width else []
        words = f"Up to {self.n_new_most} new coalitions of a budget of {self.budget}: {', '.join(parts)}."
        return f"{words} Kept of all this from an earlier evaluation: {self.n_kept}." if self.n_kept else words


def planned(
    *, n_units: int, n_curves: int, n_unknown: int, budget: int = 0, n_kept: int = 0, n_curves_kept: int = 0
) -> Plan:
    """The best that a budget affords: curves, then random orders, then subsets, then bounds, then more of each.

    What an interrupted evaluation kept counts as spent, so that going on comes to the same plan.

    Args:
        n_units: Of the game.
        n_curves: Coalitions of the deletion curves that no result knows.
        n_unknown: Coalitions of the game that no result knows.
        budget: Most new coalitions; 0 for what curves, 19 random orders and 30 subsets of each size take, but at least
            600, and no more than the 2 n + 2048 of an explanation unless the curves alone are more.
        n_kept: Of ``n_unknown``, those that are kept.
        n_curves_kept: Of ``n_curves``, those that are kept.

    Raises:
        InvalidRequest: what is missing of the curves does not fit the budget.
    """

    def cost(rung: tuple[int, int, int]) -> int:
        orders, subsets, beam = rung
        more = orders * 2 * (min(n_units, MOST_STEPS) - 1) + subsets * (len(subset_sizes(n_units)) + 1)
        return min(n_unknown, n_curves + more + (bounds_cost(beam) if beam else 0))

    def bounds_cost(beam: int) -> int:
        most = most_evaluations(n_units, beam_width=beam, most_exact=most_exact)
        return most if n_units <= most_exact else len(AXES) * most  # exact bounds on both axes share their coalitions

    chosen = budget or max(n_curves, LEAST_AUTOMATIC, min(cost(WISHED), 2 * n_units + 2048))
    most_exact = MOST_EXACT_UNITS if n_unknown <= chosen else 0  # exact bounds need every coalition
    if n_curves - n_curves_kept > chosen:
        raise InvalidRequest(
            f"The deletion curves alone need {n_curves - n_curves_kept} new coalitions; the budget is {chosen}.",
            "Raise --budget, or evaluate fewer results.",
        )
    rung = ([rung for rung in LADDER if cost(rung) <= chosen] or [LADDER[0]])[-1]
    left = max(0, chosen - cost(rung))
    n_new_most = n_curves - n_curves_kept if rung == LADDER[0] else cost(rung) - n_curves_kept

    def why_none(what: str, wanted: int) -> str:
        return f"{what} would take up to {wanted} new coalitions; {left} of the budget of {chosen} are left."

    return Plan(
        chosen,
        n_curves,
        *rung,
        most_exact=most_exact,
        n_new_most=min(n_new_most, n_unknown - n_kept),
        n_kept=n_kept,
        why_no_orders="" if rung[0] else why_none(f"{LADDER[1][0]} random orders", cost(LADDER[1]) - n_curves),
        why_no_subsets="" if rung[1] else why_none("Orders and subsets", cost(WISHED) - n_curves),
        why_no_bounds="" if rung[2] else why_none("The bounds of the area", min(n_unknown, bounds_cost(1))),
    )


def subset_sizes(n_units: int) -> tuple[int, ...]:
    """Sizes of the subsets that are removed: one unit, and a quarter, half and three quarters of them."""
    quarters = (1, n_units // 4, n_units // 2, 3 * n_units // 4)
    return tuple(sorted({size for size in quarters if 1 <= size < n_units}))
