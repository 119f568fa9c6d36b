"""A time limit for the work on one item: an item that hangs is stopped, and the others continue."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ITEM_LIMIT_S = 3600.0
"""Seconds that one stage may work on one input, unless `--item-limit-s` sets another limit."""
REPEAT_S = 1.0


class TimeLimit(BaseException):
    """Raised inside a block that exceeds its time limit.

    It is not a subclass of Exception, so that `except Exception` in a library does not catch it and
    report an invalid file.
    """


@contextmanager
def time_limit(limit_s: float) -> Iterator[None]:
    """Raise TimeLimit in a block that runs longer than `limit_s` seconds; 0 means no limit.

    It uses an alarm signal, which also interrupts waits and system calls. Python delivers signals
    only to the main thread, so there is no limit in other threads. The signal cannot stop a library
    that never returns to Python; in that case the Ray engine kills the process.
    """
    if not limit_s or threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(number: int, frame: FrameType | None) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, over)
    try:
        try:
            # Repeat the signal: an exception inside a destructor is only printed, and is lost.
            signal.setitimer(signal.ITIMER_REAL, limit_s, REPEAT_S)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
