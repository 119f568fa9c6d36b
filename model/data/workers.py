"""Worker processes that prepare batches in advance; each sends them through its own pipe.

torch's DataLoader transfers batches through shared memory, and a container may have almost none. A
batch that does not fit is lost, and the run waits for it forever. A pipe needs no shared memory,
and its reader notices at once when the worker process has ended, whatever the cause.
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
"""Number of items kept ready in this process; each worker has one more, partly in its pipe."""
TICK_S = 1.0
BUSY_S = 0.05
"""CPU time that shows that a worker is busy, if only with skipping segments, and not stuck."""
KNOWN = (ValueError, OSError, MemoryError)
"""Exceptions that a worker passes on unchanged: errors of data or machine, not of the code."""


def in_turn(
    make: Callable[[int, int], Iterator[T]],
    workers: int,
    timeout_s: float,
    prepare: Callable[[T], T] | None = None,
) -> Generator[T, None, None]:
    """Yield items of `make(turn, workers)`, run in each worker, taking the workers in turn.

    A thread of this process applies `prepare` to each item. Raises the exceptions of `KNOWN` that a
    worker raises. Raises OSError with an explanation if a worker ends in another way, or sends
    nothing and stays idle for `timeout_s` (0: no limit). Closing the iterator ends the workers.
    """
    links: list[tuple[BaseProcess, Connection]] = []
    ahead: Queue[T | BaseException] = Queue(AHEAD)
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else None
    thread = threading.Thread(target=_receive, args=(links, ahead, prepare, device), daemon=True)
    try:
        for turn in range(workers):
            links.append(_start(make, turn, workers))
        thread.start()
        for process, _ in cycle(links):
            item = _wait(ahead, process, timeout_s)
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        for process, _ in links:
            process.kill()  # they only read files, and ignore SIGINT and SIGTERM
        while thread.is_alive():  # it may be waiting for space in the queue
            _take(ahead, 0.01)
        for process, reader in links:
            process.join()
            reader.close()


def end_with_parent() -> None:
    """End this process when its parent process ends, even if the parent was killed."""

    def watch() -> None:
        parent = parent_process()
        assert parent is not None, "called only in a child process"
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
            f"worker {turn} of {workers} cannot be started ({error.strerror}); use fewer: "
            "with --set workers=0 the training process reads the data itself"
        ) from None
    writer.close()  # else the reader would not notice the end of the worker
    return process, reader


def _work(make: Callable, turn: int, workers: int, writer: Connection) -> None:
    """Send the items of `make` until the other end is closed: the main function of a worker."""
    for number in STOP:  # a signal to the process group must not end workers before the run
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
    """Pickles tensors as arrays: torch would put them into shared memory, or pack them as files."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.from_numpy, (value.numpy(),)
        return NotImplemented


def _send(writer: Connection, item: Any) -> None:
    """Send an item, and separately, without copying, the memory of its arrays."""
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
    links: list[tuple[BaseProcess, Connection]],
    ahead: Queue,
    prepare: Callable | None,
    device: int | None,
) -> None:
    """Put the workers' items into `ahead` in turn; an error is put there too and ends this."""
    if device is not None:
        torch.cuda.set_device(device)  # a new thread would otherwise use the first GPU
    for process, reader in cycle(links):
        try:
            item = _read(reader)
            if prepare is not None and not isinstance(item, BaseException):
                item = prepare(item)
        except (EOFError, OSError):
            item = OSError(_ended(process))
        except (RuntimeError, MemoryError) as error:  # no memory for the item, or to pin it
            item = error
        ahead.put(item)
        if isinstance(item, BaseException):
            return


def _ended(process: BaseProcess) -> str:
    """Return a message about how a worker ended, with advice."""
    process.join()
    code, who = process.exitcode, f"{process.name} (process {process.pid}), which reads the data,"
    assert code is not None, "it has ended"
    if code == -signal.SIGKILL:
        return (
            f"{who} was killed (SIGKILL), probably by the system because memory ran out; give more "
            "memory, or lower workers or batch_size (--set KEY=VALUE), and go on with --resume"
        )
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return (
        f"{who} {how}; see its messages above; go on with --resume; if it happens again, add "
        "--set workers=0: the training process then reads the data itself"
    )


def _wait(ahead: Queue, process: BaseProcess, timeout_s: float) -> Any:
    """Return the next item; OSError if `process` sends none and stays idle for `timeout_s`.

    The time is counted in ticks, because a clock would also count time while the run is suspended.
    """
    waited_s, busy_s = 0.0, _busy_s(process)
    while (item := _take(ahead, TICK_S)) is None:
        waited_s += TICK_S
        if (now_s := _busy_s(process)) >= busy_s + BUSY_S:  # slow, but busy
            waited_s, busy_s = 0.0, now_s
        if 0 < timeout_s <= waited_s:
            raise OSError(
                f"{process.name} (process {process.pid}), which reads the data, has sent no batch "
                f"for {timeout_s:g} s and is idle: the process or its storage hangs; go on with "
                "--resume; if the storage is that slow, add --set worker_timeout_s=600"
            )
    return item


def _busy_s(process: BaseProcess) -> float:
    """Return the CPU time that a process has used; 0 if the system does not report it."""
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
