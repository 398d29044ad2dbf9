"""Clocks: of the network inside a run, of the bare network, and of memory."""

import gc
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

from SegExplainLib.model.segmenter import Segmenter

GIB = 2**30
SAMPLE_EVERY_S = 0.02
REPEATS = 5


def now(device: torch.device) -> float:
    """Seconds of the wall, once the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class NetworkClock:
    """Counts and times every call of a segmenter's network from now on, whoever calls it.

    Attributes:
        n_tiles: Tiles that went through the network.
        largest_batch: Most of them in one call.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._run = segmenter.tile_logits
        self._device = segmenter.device
        self._lock = threading.Lock()
        self.start_over()
        segmenter.tile_logits = self._timed  # type: ignore[method-assign]

    def start_over(self) -> None:
        """Counts from zero."""
        self.n_tiles = self.largest_batch = 0
        self._busy_s, self._running, self._most_at_once = 0.0, 0, 1

    @property
    def seconds(self) -> float:
        """In the network; of calls side by side, their sum over the most that ran at once."""
        return self._busy_s / self._most_at_once

    def _timed(self, tiles: torch.Tensor) -> torch.Tensor:
        with self._lock:
            self._running += 1
            self._most_at_once = max(self._most_at_once, self._running)
        begin = now(self._device)
        try:
            logits = self._run(tiles)
        finally:
            taken_s = now(self._device) - begin
            with self._lock:
                self._running -= 1
                self._busy_s += taken_s
        with self._lock:
            self.n_tiles += len(tiles)
            self.largest_batch = max(self.largest_batch, len(tiles))
        return logits


def bare_rate(segmenter: Segmenter, tile: torch.Tensor, *, batch: int) -> float:
    """Tiles a second of the network alone, the median of some calls after one that does not count.

    On a CPU one thread's, times the threads: the engine runs as many calls side by side, each on one thread.
    """
    tiles = tile[None].repeat(batch, 1, 1, 1, 1).to(segmenter.device)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        taken_s = []
        for _ in range(REPEATS + 1):
            begin = now(segmenter.device)
            segmenter.tile_logits(tiles)
            taken_s.append(now(segmenter.device) - begin)
    finally:
        torch.set_num_threads(n_threads)
    return batch / statistics.median(taken_s[1:]) * (n_threads if segmenter.device.type == "cpu" else 1)


@dataclass
class PeakMemory:
    """Most GiB held: allocated by torch on CUDA; of the whole process on a CPU, looked at every 20 ms."""

    gib: float = 0.0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[PeakMemory]:
    """Watches the block; the peak stands once it has been left."""
    peak = PeakMemory()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.gib = torch.cuda.max_memory_allocated(device) / GIB
        return
    is_over, process = threading.Event(), psutil.Process()

    def watch() -> None:
        while True:
            peak.gib = max(peak.gib, process.memory_info().rss / GIB)
            if is_over.wait(SAMPLE_EVERY_S):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()
