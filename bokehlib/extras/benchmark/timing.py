"""Clocks for CUDA and CPU, and the fields of a measured row."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

GIB = 2**30
Work = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """A measurement, with the columns of `study.speed.COLUMNS`.

    `radius` is the largest circle of confusion in tokens, rounded up; `direction` is "forward", or
    "both" for forward and backward; `milliseconds` is the median of one call; `peak_gib` is the
    most memory the device held during a call, inputs included; `ratio_to_plain` compares the
    milliseconds with those of plain attention or of the plain model.
    """

    what: str
    tokens: str = ""  # such as "64x64"
    heads: int | None = None
    radius: int | None = None
    direction: str = "forward"
    milliseconds: float | None = None
    peak_gib: float | None = None
    ratio_to_plain: float | None = None


def captured(work: Work, times: int = 1) -> Work:
    """The same work as one CUDA graph that does it `times` over; on a CPU the plain repetition.

    A graph measures the time of the device, not that of launching its kernels from Python.
    """
    if not torch.cuda.is_available():
        return lambda: [work() for _ in range(times)]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(times):
            work()
    return graph.replay


def milliseconds(work: Work, repeats: int = 15, warm_up: int = 3) -> float:
    """Median time of a call: by the device's own clock on CUDA, else by the wall clock."""
    for _ in range(warm_up):
        work()
    return statistics.median(_device_time(work) for _ in range(repeats))


def _device_time(work: Work) -> float:
    if not torch.cuda.is_available():
        return 1e3 * wall_seconds(work)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def wall_seconds(work: Work) -> float:
    """Wall time of one call until the device is done."""
    synchronize()
    start = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start


def peak_gib(work: Work) -> float | None:
    """Most memory held during a call, with all that is held already; None on a CPU."""
    if not torch.cuda.is_available():
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / GIB


def synchronize() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
