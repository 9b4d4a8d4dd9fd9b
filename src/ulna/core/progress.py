"""The progress of long work: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30.0

T = TypeVar("T")


def progress(
    items: Iterable[T],
    total: int,
    label: str,
    unit: str = "images",
    done: int = 0,
    lines_to: TextIO | None = None,
) -> Iterator[T]:
    """Yield items and show the progress under a label.

    Args:
        items: The work that is left.
        total: All of it, with what is done already.
        label: A short name of the work.
        unit: The plural of an item.
        done: Items that a run before this one has finished.
        lines_to: Where lines go if no terminal shows the bar; standard output by default.
    """
    if sys.stderr.isatty():
        unit = f" {unit}"
        yield from tqdm(items, total=total, initial=done, desc=label, unit=unit, dynamic_ncols=True)
        return
    start = last = time.monotonic()
    count = 0
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            left = (now - start) / count * (total - done - count)
            line = f"{label}: {done + count} of {total} {unit}, about {left:.0f} s to go"
            print(line, file=lines_to, flush=True)
    line = f"{label}: {done + count} {unit} in {time.monotonic() - start:.1f} s"
    print(line, file=lines_to, flush=True)
