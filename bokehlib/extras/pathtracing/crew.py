"""Processes that do one call at a time and die alone.

A pool of many loses every call that is in flight when one of its processes segfaults. Here every
process is a pool of its own: what dies costs its own call, and a new process takes its place.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")


class Crew(Generic[Job]):
    """Some processes, each idle or at one job.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        """Processes start with their first job."""
        self._idle = [_process() for _ in range(size)]
        self._busy: dict[Future, tuple[ProcessPoolExecutor, Job]] = {}

    def __enter__(self) -> "Crew[Job]":
        """Itself, to be used in a `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is still at a job, then end all processes."""
        for process in [*self._idle, *(process for process, _ in self._busy.values())]:
            process.shutdown(cancel_futures=True)

    @property
    def idle(self) -> int:
        """How many processes have nothing to do."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """How many are at a job."""
        return len(self._busy)

    def begin(self, job: Job, work: Callable[..., float], *arguments: Any) -> None:
        """Let an idle process do `work(*arguments)`; `job` says which it is."""
        process = self._idle.pop()
        try:
            call = process.submit(work, *arguments)
        except BrokenProcessPool:  # it died after its last job, having had nothing to lose
            process = _process()
            call = process.submit(work, *arguments)
        self._busy[call] = process, job

    def finished(self) -> Iterator[tuple[Job, float | None]]:
        """Jobs that came to an end, at least one, with what they returned; None: it died.

        Raises:
            Exception: what a job raised.
        """
        for call in wait(self._busy, return_when=FIRST_COMPLETED).done:
            process, job = self._busy.pop(call)
            try:
                result = call.result()
            except BrokenProcessPool:
                process.shutdown(wait=False)
                process, result = _process(), None
            self._idle.append(process)
            yield job, result


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
