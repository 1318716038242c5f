"""Progress of what takes long, on stderr and only where that is a terminal."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

DELAY = 3.0  # seconds of work before anything is shown
_REFRESH = 1.0  # seconds between two refreshes of the elapsed time


def bar(items: Iterable[Any], title: str, total: int, unit: str) -> tqdm:
    """Progress bar of one loop; it appears after `DELAY` seconds and leaves no line behind.

    Args:
        items: what the loop goes through.
        title: what the loop does.
        total: number of items.
        unit: of the total.
    """
    return tqdm(items, desc=title, total=total, unit=unit, delay=DELAY, leave=False, disable=None)


@contextmanager
def elapsed(title: str) -> Iterator[None]:
    """Show for how long the body has run, from `DELAY` seconds on, whatever it computes."""
    look = {"bar_format": "{desc}: {elapsed}", "delay": DELAY, "leave": False}
    with tqdm(desc=title, disable=None, **look) as shown:
        if shown.disable:
            yield
            return
        done = threading.Event()

        def tick() -> None:
            wait = DELAY
            while not done.wait(wait):
                shown.refresh()
                wait = _REFRESH

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield
        finally:
            done.set()
            ticker.join()
