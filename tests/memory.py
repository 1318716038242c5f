"""What a piece of work holds."""

import itertools

import torch


def peak_bytes(work):
    """Largest number of bytes that `work()` holds at once, by the allocator's own record."""
    with torch.profiler.profile(profile_memory=True) as record:
        work()
    changes = [
        e.nbytes() for e in record.profiler.kineto_results.events() if e.name() == "[memory]"
    ]
    assert changes, "the profiler recorded no allocation"
    return max(itertools.accumulate(changes))
