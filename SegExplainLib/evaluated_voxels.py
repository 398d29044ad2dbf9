"""Maps of finished results, judged voxel by voxel by the game that judges their units."""

from collections.abc import Sequence

from SegExplainLib.evaluation.voxel_scores import (
    N_SUBSETS,
    VoxelScores,
    VoxelYardsticks,
    most_coalitions,
    voxel_scores,
    voxel_yardsticks,
)
from SegExplainLib.finished import FinishedResult
from SegExplainLib.progress import Progress
from SegExplainLib.volume import Volume
from SegExplainLib.voxel_games import VoxelGames

NOT_ASKED = "Curves over voxels were not asked for."
NO_VOXEL_MAP = "No result tells the voxels of a unit apart: the curves by units say all."


def why_no_voxels(results: Sequence[FinishedResult], *, n_steps: int) -> str:
    """Why maps are not judged voxel by voxel; empty where they are."""
    if not n_steps:
        return NOT_ASKED
    return "" if any(result.tells_voxels_apart for result in results) else NO_VOXEL_MAP


def voxel_words(results: Sequence[FinishedResult], *, n_steps: int, n_kept: int = 0) -> str:
    """What it will take, for the user; empty where maps are not judged so.

    Args:
        results: To be judged.
        n_steps: Of the curves.
        n_kept: Coalitions that an interrupted evaluation left.
    """
    if why_no_voxels(results, n_steps=n_steps):
        return ""
    n = most_coalitions(len(results), n_steps=n_steps)
    words = (
        f"Up to {n} coalitions of voxels: curves in {n_steps} steps for each map and for random voxels, and random "
        f"subsets, {N_SUBSETS} of one size and {N_SUBSETS} of mixed sizes."
    )
    if n_kept:
        words += f" Kept from an earlier evaluation: {n_kept}, not asked again with the same steps and seed."
    return words


def judged_voxels(
    games: VoxelGames, results: Sequence[FinishedResult], ct: Volume, *, n_steps: int, seed: int, progress: Progress
) -> tuple[VoxelYardsticks, list[VoxelScores]]:
    """What the game says of each map, and what maps are held against.

    Args:
        games: Of groups of voxels.
        results: On one CT and one choice of units.
        ct: As read.
        n_steps: Of the curves, at least 2.
        seed: Of ties and draws.
        progress: Is told warnings, and asked whether to stop.

    Raises:
        InvalidRequest: the units hold fewer than two voxels, a map cannot be read, or the game is not finite.
        Cancelled: somebody asked to stop.
    """
    partition = results[0].attribution.partition
    within, volume_ml = partition.labels > 0, partition.grid.voxel_volume_ml
    sticks = voxel_yardsticks(games, within, voxel_volume_ml=volume_ml, seed=seed, n_steps=n_steps)
    scores = []
    for result in results:
        progress.check_cancelled()
        shown = Volume(result.shown_map(ct, progress=progress), ct.grid)
        scores.append(
            voxel_scores(
                games,
                result.voxel_amounts(shown),
                sticks,
                within=within,
                voxel_volume_ml=volume_ml,
                seed=seed,
                has_scale=result.has_scale,
            )
        )
    return sticks, scores
