"""Signals that ask a run to stop; it stops at a point where its state can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

STOP = (signal.SIGINT, signal.SIGTERM)
T = TypeVar("T")


class Stopped(BaseException):
    """A signal ended a wait. A BaseException, so that no `except Exception` catches it."""


class Stop(threading.Event):
    """An event that signals set; while `at_once` is true, they also raise Stopped at once."""

    at_once = False


@contextmanager
def stop_requested(again: bool = True) -> Iterator[Stop]:
    """Give an event that SIGINT and SIGTERM set. With `again`, a second signal acts as usual.

    Pass False under torchrun, which sends a signal of the process group a second time.
    """
    event = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield event  # Python handles signals only in the main thread
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
    """Return the next item, or None as soon as a signal arrives during the wait."""
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
