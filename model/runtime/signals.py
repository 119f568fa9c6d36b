"""Signals: a run is asked to stop, and stops where its state can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

STOP = (signal.SIGINT, signal.SIGTERM)
T = TypeVar("T")


class Stopped(BaseException):
    """A signal ended a wait; of no kind that anything in between would catch."""


class Stop(threading.Event):
    """An event that signals set; while `at_once`, they also end what the main thread does."""

    at_once = False


@contextmanager
def stop_requested(again: bool = True) -> Iterator[Stop]:
    """Give an event that SIGINT and SIGTERM set; the same signal `again` acts as usual.

    Not so under torchrun, which repeats the signals that a whole group of processes was sent.
    """
    event = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals go to the main thread: nothing to catch here
        return
    before: dict[int, Any] = {}

    def handle(number: int, _frame: object) -> None:
        event.set()
        if again:
            signal.signal(number, before[number])
        if event.at_once:
            raise Stopped

    for number in STOP:
        before[number] = signal.signal(number, handle)
    try:
        yield event
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)


def next_unless(stop: Stop, items: Iterator[T]) -> T | None:
    """Return the next item, or None as soon as a signal comes while it is waited for."""
    try:
        try:
            stop.at_once = True
            return None if stop.is_set() else next(items)
        finally:
            stop.at_once = False
    except Stopped:
        return None


class Interrupted(Exception):
    """A signal asked the run to stop; the checkpoint is saved."""
