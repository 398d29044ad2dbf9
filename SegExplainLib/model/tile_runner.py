"""Run the network on batches of tiles: as large as pays, smaller when memory is short, every run counted."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from SegExplainLib.contract import OutOfMemory, UnusableModel
from SegExplainLib.model.memory import is_out_of_memory
from SegExplainLib.model.segmenter import Segmenter

LARGEST_BATCH = 32
WORTHWHILE_GAIN = 1.05
# Two small tiles in one call cost a CPU about 40 % less than one by one: torch then takes faster convolutions.
CPU_BATCH = 2
# Rough bytes of activations for a voxel of a tile, from a small U-Net; tiles beyond the budget run one at a time.
ACTIVATION_BYTES = 1000
SIDE_BY_SIDE_BYTES = 2 * 2**30

MakeTiles = Callable[[Sequence[int]], torch.Tensor]


class TileRunner:
    """Calls the network on tiles that are made batch by batch.

    On an accelerator one batch runs at a time; with ``batch=0`` its size doubles while the time for one tile falls by
    5 % or more. On a CPU as many batches run side by side as torch has threads and as fit into 2 GiB by a rough count,
    each on one thread: small tiles do not feed several threads, and threads that wait for each other stand still when
    the machine has other work. There the automatic size is fixed, so that the same run gives the same bits. (Another
    order of tiles, as in a run that is resumed, may change the last digits.) When memory runs out the batch is halved,
    tried again, and the user told.

    Args:
        segmenter: The network.
        tile_shape: (k, j, i) of a tile.
        batch: Tiles in one call, 0 for automatic.
        warn: Is told when memory runs short.

    Attributes:
        batch: Tiles in one call, as it stands now.
        on_batch: Is called after each call of the network: to tell progress, or to raise ``Cancelled``.
        warn: Is told when memory runs short.
        n_tiles: Tiles run so far.
        network_s: Seconds spent in the network, the mean over batches that ran side by side.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        tile_shape: tuple[int, int, int],
        *,
        batch: int = 0,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._segmenter = segmenter
        self.warn: Callable[[str], None] = warn or (lambda _message: None)
        is_cpu = segmenter.device.type == "cpu"
        self._is_growing = batch == 0 and not is_cpu
        self._best_rate = 0.0
        tile_bytes = math.prod(tile_shape) * (ACTIVATION_BYTES + 4 * segmenter.n_channels)
        n_fitting = max(1, SIDE_BY_SIDE_BYTES // tile_bytes)
        self.batch = batch or (min(CPU_BATCH, n_fitting) if is_cpu else 1)
        self._n_workers = max(1, min(torch.get_num_threads(), n_fitting // self.batch)) if is_cpu else 1
        self.on_batch: Callable[[], None] = lambda: None
        self.n_tiles = 0
        self.network_s = 0.0

    @property
    def n_at_once(self) -> int:
        """Tiles in all calls that run side by side, as it stands now."""
        return self.batch * self._n_workers

    def start_over(self) -> None:
        """Counts from zero; the batch stays what it has grown or shrunk to."""
        self.n_tiles, self.network_s = 0, 0.0

    def run(self, n_jobs: int, make_tiles: MakeTiles, take: Callable[[int, torch.Tensor], None]) -> None:
        """Runs jobs 0 ... n_jobs - 1.

        Args:
            n_jobs: How many tiles to run.
            make_tiles: Job numbers -> (batch, channels, k, j, i) on the network's device; may run in another thread.
            take: Is given each job's number and its logits (n_channels, k, j, i) in order; must copy what it keeps.

        Raises:
            OutOfMemory: one tile alone does not fit.
            UnusableModel: the network gives values that are not finite.
        """
        n_threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(self._n_workers, initializer=_use_one_thread) as pool:
                self._run(pool, n_jobs, make_tiles, take)
        finally:
            torch.set_num_threads(n_threads)  # what a worker sets is what later threads would start with

    def _run(
        self, pool: ThreadPoolExecutor, n_jobs: int, make_tiles: MakeTiles, take: Callable[[int, torch.Tensor], None]
    ) -> None:
        done = 0
        while done < n_jobs:
            last = min(done + self.batch * self._n_workers, n_jobs)
            batches = [range(b, min(b + self.batch, last)) for b in range(done, last, self.batch)]
            results = self._results_or_smaller_batch(pool, batches, make_tiles)
            for jobs, logits in zip(batches, results):
                for job, tile_logits in zip(jobs, logits, strict=True):
                    take(job, tile_logits)
                done = jobs.stop
            self.on_batch()

    def _results_or_smaller_batch(
        self, pool: ThreadPoolExecutor, batches: list[range], make_tiles: MakeTiles
    ) -> list[torch.Tensor]:
        """Logits of each batch, or none of them after the batch has been made smaller."""
        begin = time.perf_counter()
        try:
            if self._n_workers > 1:
                timed = list(pool.map(lambda jobs: self._timed_logits(make_tiles(jobs)), batches))
            else:
                # In the caller's thread, with all its threads; and CUDA caches convolution plans for each thread anew.
                timed = [self._timed_logits(make_tiles(jobs)) for jobs in batches]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._shrink(error)
            return []
        self.network_s += sum(seconds for _, seconds in timed) / len(timed)
        self._account(sum(len(jobs) for jobs in batches), time.perf_counter() - begin)
        return [logits for logits, _ in timed]

    def _timed_logits(self, tiles: torch.Tensor) -> tuple[torch.Tensor, float]:
        begin = time.perf_counter()
        logits = self._segmenter.tile_logits(tiles)
        # The extremes carry any NaN, and on a CPU take a thirtieth of the time of looking at every logit by itself. The
        # check waits for the device, so that the time taken is true.
        if not bool(torch.isfinite(torch.stack(torch.aminmax(logits))).all()):
            raise UnusableModel(
                "The network gave a value that is not finite (NaN or infinite).",
                "Check the checkpoint, or run with --device cpu, which computes in float32.",
            )
        return logits, time.perf_counter() - begin

    def _shrink(self, error: BaseException) -> None:
        if self.batch == 1 and self._n_workers == 1:
            raise OutOfMemory(
                f"One tile of the network does not fit into the memory of {self._segmenter.device}.",
                "Close other programs that use it, or run with --device cpu.",
            ) from error
        self.batch, self._n_workers = max(1, self.batch // 2), max(1, self._n_workers // 2)
        self._is_growing = False
        if self._segmenter.device.type == "cuda":
            torch.cuda.empty_cache()
        self.warn(f"Memory ran out; going on with {self.batch * self._n_workers} tile(s) at a time.")

    def _account(self, n_jobs: int, seconds: float) -> None:
        self.n_tiles += n_jobs
        if not self._is_growing or n_jobs < self.batch:
            return
        rate = n_jobs / seconds
        if rate <= self._best_rate * WORTHWHILE_GAIN:
            self.batch, self._is_growing = max(1, self.batch // 2), False
        elif self.batch >= LARGEST_BATCH:
            self._is_growing = False
        else:
            self._best_rate, self.batch = rate, self.batch * 2


def _use_one_thread() -> None:
    torch.set_num_threads(1)
