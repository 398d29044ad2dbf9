"""What a run that takes many gradients needs to go on after an interruption: its sums so far.

A method puts the sums of each gradient in at once, between two gradients: whoever looks while the network runs, in
``StitchedNetwork.on_tile``, finds all of the gradients before and nothing of the one under way. What is drawn is not
kept, as the seed says it.
"""

import numpy as np
from numpy.typing import NDArray

Memory = dict[str, NDArray]
"""Arrays by names that the method chooses; empty before the first gradient."""

N_GRADIENTS = "n_gradients"


def n_remembered(memory: Memory) -> int:
    """Gradients whose sums the memory holds."""
    return int(memory.get(N_GRADIENTS, 0))


def remember(memory: Memory, sums: Memory) -> None:
    """Puts in what has changed by one more gradient: all of it, or nothing where an error comes between."""
    memory.update(sums | {N_GRADIENTS: np.array(n_remembered(memory) + 1)})
