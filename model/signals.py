"""Signals: a run is asked to stop, and stops where its state can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOP = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requested(again: bool = True) -> Iterator[threading.Event]:
    """Give an event that SIGINT and SIGTERM set; the same signal `again` acts as usual.

    Not so under torchrun, which repeats the signals that a whole group of processes was sent.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals go to the main thread: nothing to catch here
        return
    before: dict[int, Any] = {}

    def handle(number: int, _frame: object) -> None:
        event.set()
        if again:
            signal.signal(number, before[number])

    for number in STOP:
        before[number] = signal.signal(number, handle)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_stop(_worker: int) -> None:
    """Leave stopping to the main process: a signal to the group must not end its workers first."""
    for number in STOP:
        signal.signal(number, signal.SIG_IGN)
