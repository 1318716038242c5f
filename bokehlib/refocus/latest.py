"""Work of which only the last that was asked for matters."""

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

Check = Callable[[], None]


class OutOfDate(Exception):
    """Something newer has been asked for; the work in hand may end here."""


class Latest:
    """Does the last job in a thread of its own.

    A job that has not begun when a newer one is asked for never begins; one that has begun hears of
    it at its next check. Jobs never run beside each other, so what the last one shows stays.
    """

    def __init__(self) -> None:
        """Start the thread, which ends with the process."""
        self._changed = threading.Condition()
        self._job: Callable[[Check], None] | None = None
        self._asked = self._done = 0
        threading.Thread(target=self._work, daemon=True).start()

    def ask(self, job: Callable[[Check], None]) -> None:
        """Do this instead of whatever was asked for before.

        Args:
            job: gets a check that raises `OutOfDate` once something newer is asked for. Its other
                errors are its own to catch.
        """
        with self._changed:
            self._asked += 1
            self._job = job
            self._changed.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the last job is done, after that many seconds at most."""
        with self._changed:
            return self._changed.wait_for(lambda: self._done == self._asked, seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._job is not None)
                job, number, self._job = self._job, self._asked, None
            try:
                with suppress(OutOfDate):
                    assert job is not None  # waited for
                    job(partial(self._check, number))
            finally:
                with self._changed:
                    self._done = number
                    self._changed.notify_all()

    def _check(self, number: int) -> None:
        if number != self._asked:
            raise OutOfDate
