"""Sums over all sources of a picture as machine code, in strips, always in the same order."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

STRIPS = 16  # fixed, so that the order of summation does not depend on the number of threads


@functools.cache
def machine_code(function: Callable[..., None], signature: str) -> Callable[..., None]:
    """A function as numba compiles it, cached on disk where that is possible."""
    import numba

    try:
        return numba.njit(signature, nogil=True, cache=True)(function)
    except RuntimeError:  # no folder for the cache can be written to
        return numba.njit(signature, nogil=True)(function)


def add_up(
    spread: Callable[[int, int, int, np.ndarray], None],
    reaches: np.ndarray,
    total: np.ndarray,
    combine: np.ufunc = np.add,
) -> np.ndarray:
    """Let every row of sources spread over the rows of a picture.

    Args:
        spread: (start, stop, first, part): adds what the source rows start to stop give to `part`,
            whose row 0 is row `first` of the picture.
        reaches: (rows of sources, 2), the first and the last row of the picture that each touches.
        total: (H, ...), what is there before; changed in place.
        combine: how parts come together.

    Returns:
        total.
    """
    rows = -(-len(reaches) // STRIPS)

    def strip(start: int) -> tuple[int, np.ndarray]:
        stop = min(start + rows, len(reaches))
        first = int(np.clip(reaches[start:stop, 0].min(), 0, len(total)))
        last = int(np.clip(reaches[start:stop, 1].max() + 1, first, len(total)))
        part = (
            total[first:last].copy() if combine is np.maximum else np.zeros_like(total[first:last])
        )
        if last > first:
            spread(start, stop, first, part)
        return first, part

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first, part in pool.map(strip, range(0, len(reaches), rows)):
            below = total[first : first + len(part)]
            combine(below, part, out=below)
    return total
