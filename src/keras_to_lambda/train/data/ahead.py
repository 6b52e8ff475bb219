"""Ahead: work on many things by all cores, a few before they are asked for."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    Item = TypeVar("Item")
    Result = TypeVar("Result")

# Results that wait: enough for all cores; of a phone's photos (36 MB each), less than a gigabyte.
AHEAD = 24


def ahead(
    work: Callable[[Item], Result], items: Sequence[Item], told: str = ""
) -> Iterator[Result]:
    """`work` of each item, in order. Whoever stops asking stops the work.

    Args:
        work: runs in threads: Pillow decodes, and NumPy computes, without the interpreter's lock.
        items: any number; at most AHEAD are in work or wait for who asks.
        told: what is counted on standard error, if that is a terminal and it takes more than two
            seconds; "": nothing.
    """
    from tqdm import tqdm

    unless_terminal = None  # as tqdm has it
    shown = tqdm(
        items, desc=told, unit="", leave=False, delay=2, disable=unless_terminal if told else True
    )
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor()
    try:
        for item in shown:
            waiting.append(pool.submit(work, item))
            if len(waiting) == AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        shown.close()
        pool.shutdown(cancel_futures=True)
