"""A time limit for the work on one item: what hangs is stopped, and the others go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ITEM_LIMIT_S = 3600.0
"""How long one stage may work on one input, unless `--item-limit-s` says otherwise."""
REPEAT_S = 1.0


class TimeLimit(BaseException):
    """Raised within the work whose time is over.

    No Exception: nobody's `except Exception` may take it for an error of the file.
    """


@contextmanager
def time_limit(limit_s: float) -> Iterator[None]:
    """Raise TimeLimit in a block that runs longer than `limit_s` seconds; 0 is no limit.

    An alarm signal does it, so waits and system calls end too. Python hands signals to the main
    thread alone: in another thread there is no limit. A library that never returns to Python is
    not stopped by this; under Ray the engine then kills its process.
    """
    if not limit_s or threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(number: int, frame: FrameType | None) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, over)
    try:
        try:
            # Again and again: the first may come where Python can only print it (a destructor).
            signal.setitimer(signal.ITIMER_REAL, limit_s, REPEAT_S)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
