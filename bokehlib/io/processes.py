"""Work that the processes of `accelerate launch` share: each does a part, one of them writes.

In a process that was started alone all of it is no more than a loop.
"""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from bokehlib.io.errors import InputError

if TYPE_CHECKING:
    from accelerate import PartialState

Item = TypeVar("Item")
Made = TypeVar("Made")


def processes() -> int:
    """Number of processes that work together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def state() -> "PartialState":
    """What accelerate knows of them. On a CPU it must be told, or each believes itself alone."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def is_main() -> bool:
    """True in the process that writes."""
    return processes() == 1 or os.environ.get("RANK", "0") == "0"


def own_gpu() -> str:
    """The GPU of this process among those of its machine: "cuda", "cuda:1", ..."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if processes() > 1 else "cuda"


def spread(
    items: Sequence[Item], work: Callable[[Item], Made], title: str = "", progress: bool = False
) -> list[Made]:
    """Do some work on every item, in parts where there are several processes.

    Args:
        items: the same in every process.
        work: what it returns is pickled where it has to travel.
        title: of the progress bar.
        progress: whether there is one, in the process that writes.

    Returns:
        What was made of all items, in their order, in every process.

    Raises:
        InputError: in every process, if the work on any item raises one.
    """
    from tqdm import tqdm

    hidden = not (progress and is_main())
    if processes() == 1:
        return [work(item) for item in tqdm(items, desc=title, disable=hidden)]

    from accelerate.utils import gather_object

    made: list[tuple[Made | None, str]] = []
    with state().split_between_processes(list(range(len(items)))) as own:
        for number in tqdm(own, desc=title, disable=hidden):
            try:
                made.append((work(items[number]), ""))
            except InputError as error:  # the others wait for this process, not for ever
                made.append((None, str(error)))
    gathered = gather_object(made)
    if complaints := [said for _, said in gathered if said]:
        raise InputError(complaints[0])
    return [value for value, _ in gathered]
