"""Processes that make batches ahead, each with a pipe of its own, and none waited for in vain.

torch's loader hands batches over in shared memory, of which a container may have next to none: what
finds no room there is lost, and the run waits for it for ever. A pipe needs no room, and its end is
seen as soon as the process behind it is gone, whatever killed it.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from itertools import cycle
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import Empty, Queue
from typing import Any, TypeVar

import torch
from torch import Tensor

from model.runtime.signals import STOP

T = TypeVar("T")
AHEAD = 2
"""Items held ready here; each worker holds one more, half way through its pipe."""
TICK_S = 1.0
BUSY_S = 0.05
"""Processor time that tells a worker at work, if only skipping what was taken, from a stuck one."""
KNOWN = (ValueError, OSError, MemoryError)
"""What a worker tells as it is: errors of the data and of the machine, not of the code."""


def in_turn(
    make: Callable[[int, int], Iterator[T]],
    workers: int,
    timeout_s: float,
    prepare: Callable[[T], T] | None = None,
) -> Generator[T, None, None]:
    """Yield in turn what `make(turn, workers)` gives in each worker, after `prepare` in a thread.

    Raises what of `KNOWN` a worker raises, and OSError, in words, where one ends in another way, or
    keeps us waiting, and does nothing, for `timeout_s` (0: for ever). Closing the iterator ends the
    workers.
    """
    seats: list[tuple[BaseProcess, Connection]] = []
    ahead: Queue[T | BaseException] = Queue(AHEAD)
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else None
    thread = threading.Thread(target=_receive, args=(seats, ahead, prepare, device), daemon=True)
    try:
        for turn in range(workers):
            seats.append(_start(make, turn, workers))
        thread.start()
        for process, _ in cycle(seats):
            item = _wait(ahead, process, timeout_s)
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        for process, _ in seats:
            process.kill()  # they only read, and are deaf to what asks politely
        while thread.is_alive():  # it may wait for room
            _take(ahead, 0.01)
        for process, reader in seats:
            process.join()
            reader.close()


def end_with_parent() -> None:
    """End this process when the one that started it is gone, even if that was killed."""

    def watch() -> None:
        parent = parent_process()
        assert parent is not None, "a process that no other has started"
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start(make: Callable, turn: int, workers: int) -> tuple[BaseProcess, Connection]:
    context = get_context()
    try:
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(
            target=_work, args=(make, turn, workers, writer), name=f"worker {turn}", daemon=True
        )
        process.start()
    except OSError as error:
        raise OSError(
            f"worker {turn} of {workers} does not start ({error.strerror}); take fewer: "
            "--set workers=0 reads in the training process"
        ) from None
    writer.close()  # or its end would never be seen here
    return process, reader


def _work(make: Callable, turn: int, workers: int, writer: Connection) -> None:
    """Send what `make` gives, until the other end is closed; a worker's whole life."""
    for number in STOP:  # a signal to the whole group must not end workers before the run
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    torch.set_num_threads(1)
    try:
        for item in make(turn, workers):
            _send(writer, item)
    except BrokenPipeError:
        return
    except KNOWN as error:
        _send(writer, error)


class _Pickler(pickle.Pickler):
    """Takes tensors as arrays: torch would put them into shared memory, or pack them as files."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.from_numpy, (value.numpy(),)
        return NotImplemented


def _send(writer: Connection, item: Any) -> None:
    """Send an item, and beside it, uncopied, the memory of its arrays."""
    head, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(head, 5, buffer_callback=buffers.append).dump(item)
    views = [buffer.raw() for buffer in buffers]
    writer.send(([view.nbytes for view in views], head.getvalue()))
    for view in views:
        writer.send_bytes(view)


def _read(reader: Connection) -> Any:
    sizes, head = reader.recv()
    buffers = [bytearray(size) for size in sizes]
    for buffer in buffers:
        reader.recv_bytes_into(buffer)
    return pickle.loads(head, buffers=buffers)


def _receive(
    seats: list[tuple[BaseProcess, Connection]],
    ahead: Queue,
    prepare: Callable | None,
    device: int | None,
) -> None:
    """Put the workers' items into `ahead` in turn, and last the error that ended them."""
    if device is not None:
        torch.cuda.set_device(device)  # else a thread of its own works on the first GPU
    for process, reader in cycle(seats):
        try:
            item = _read(reader)
            if prepare is not None and not isinstance(item, BaseException):
                item = prepare(item)
        except (EOFError, OSError):
            item = OSError(_ended(process))
        except (RuntimeError, MemoryError) as error:  # no room for the item, or none to pin it
            item = error
        ahead.put(item)
        if isinstance(item, BaseException):
            return


def _ended(process: BaseProcess) -> str:
    """Say how a worker ended, and what to do."""
    process.join()
    code, who = process.exitcode, f"{process.name} (process {process.pid}), which reads the data,"
    assert code is not None, "it has ended"
    if code == -signal.SIGKILL:
        return (
            f"{who} was killed (SIGKILL), as the system does where memory runs out; give more "
            "memory, or lower workers or batch_size (--set KEY=VALUE), and go on with --resume"
        )
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return (
        f"{who} {how}; see what it said above; go on with --resume, and where it happens again, "
        "with --set workers=0, which reads in the training process"
    )


def _wait(ahead: Queue, process: BaseProcess, timeout_s: float) -> Any:
    """Return the next item; OSError where `process` gives none, and does nothing, for so long.

    Counted in ticks, since the clock goes on while all of the run is suspended.
    """
    waited_s, busy_s = 0.0, _busy_s(process)
    while (item := _take(ahead, TICK_S)) is None:
        waited_s += TICK_S
        if (now_s := _busy_s(process)) >= busy_s + BUSY_S:  # slow, but at work
            waited_s, busy_s = 0.0, now_s
        if 0 < timeout_s <= waited_s:
            raise OSError(
                f"{process.name} (process {process.pid}), which reads the data, has given no batch "
                f"for {timeout_s:g} s and does nothing: it hangs, or what it reads from does; go "
                "on with --resume, and where storage is as slow as that, with "
                "--set worker_timeout_s=600"
            )
    return item


def _busy_s(process: BaseProcess) -> float:
    """Return the processor time that a process has used; 0 where the system does not tell."""
    try:
        with open(f"/proc/{process.pid}/stat", encoding="ascii", errors="replace") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
    except OSError:
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _take(ahead: Queue, timeout_s: float) -> Any:
    try:
        return ahead.get(timeout=timeout_s)
    except Empty:
        return None
