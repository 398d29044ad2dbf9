"""Run the network on batches of tiles: as large as pays, smaller when memory is short, every run counted."""

import time
from collections.abc import Callable, Sequence

import torch

from SegExplainLib.contract import OutOfMemory, UnusableModel
from SegExplainLib.model.segmenter import Segmenter

LARGEST_BATCH = 32
WORTHWHILE_GAIN = 1.05


class TileRunner:
    """Calls the network on tiles that are made batch by batch.

    With ``batch=0`` the size is found by doing: on an accelerator it doubles while the time for one tile falls by
    5 % or more. On a CPU it stays at one tile, where threads already share one tile's work and where a fixed size
    keeps results the same bit for bit. When memory runs out the batch is halved, once more tried, and the user told.

    Attributes:
        batch: Tiles in one call, as it stands now.
        on_batch: Is called after each call of the network: to tell progress, or to raise ``Cancelled``.
        n_tiles: Tiles run so far.
        network_s: Seconds spent in the network, the transfer of its input included.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        batch: int = 0,
        warn: Callable[[str], None] | None = None,
        on_batch: Callable[[], None] | None = None,
    ) -> None:
        self._segmenter = segmenter
        self._warn = warn or (lambda _message: None)
        self.on_batch = on_batch or (lambda: None)
        self._is_growing = batch == 0 and segmenter.device.type != "cpu"
        self._best_rate = 0.0
        self.batch = max(1, batch)
        self.n_tiles = 0
        self.network_s = 0.0

    def run(
        self,
        n_jobs: int,
        make_tiles: Callable[[Sequence[int]], torch.Tensor],
        take: Callable[[int, torch.Tensor], None],
    ) -> None:
        """Runs jobs 0 ... n_jobs - 1.

        Args:
            n_jobs: How many tiles to run.
            make_tiles: Job numbers -> (batch, channels, k, j, i) on the network's device.
            take: Is given each job's number and its logits (n_channels, k, j, i); must copy what it keeps.

        Raises:
            OutOfMemory: one tile alone does not fit.
            UnusableModel: the network gives values that are not finite.
        """
        done = 0
        while done < n_jobs:
            jobs = range(done, min(done + self.batch, n_jobs))
            logits = self._logits_or_smaller_batch(jobs, make_tiles)
            if logits is None:
                continue
            for position, job in enumerate(jobs):
                take(job, logits[position])
            done = jobs.stop
            self.on_batch()

    def _logits_or_smaller_batch(
        self, jobs: range, make_tiles: Callable[[Sequence[int]], torch.Tensor]
    ) -> torch.Tensor | None:
        begin = time.perf_counter()
        try:
            logits = self._segmenter.tile_logits(make_tiles(jobs))
            is_finite = bool(torch.isfinite(logits).all())  # waits for the device, so that the time below is true
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._shrink(error)
            return None
        if not is_finite:
            raise UnusableModel(
                "The network gave a value that is not finite (NaN or infinite).",
                "Check the checkpoint, or run with --device cpu, which computes in float32.",
            )
        self._account(len(jobs), time.perf_counter() - begin)
        return logits

    def _shrink(self, error: BaseException) -> None:
        if self.batch == 1:
            raise OutOfMemory(
                f"One tile of the network does not fit into the memory of {self._segmenter.device}.",
                "Close other programs that use it, or run with --device cpu.",
            ) from error
        self.batch //= 2
        self._is_growing = False
        if self._segmenter.device.type == "cuda":
            torch.cuda.empty_cache()
        self._warn(f"Memory ran out; going on with {self.batch} tile(s) at a time.")

    def _account(self, n_jobs: int, seconds: float) -> None:
        self.n_tiles += n_jobs
        self.network_s += seconds
        if not self._is_growing or n_jobs < self.batch:
            return
        rate = n_jobs / seconds
        if rate > self._best_rate * WORTHWHILE_GAIN and self.batch < LARGEST_BATCH:
            self._best_rate, self.batch = rate, self.batch * 2
        else:
            self.batch, self._is_growing = max(1, self.batch // 2), False


def is_out_of_memory(error: BaseException) -> bool:
    """True for an allocation that failed, on an accelerator or on the host."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "not enough memory" in text or "can't allocate memory" in text
