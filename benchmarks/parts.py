"""Parts of a benchmark, each in a process of its own and for a limited time, and their table.

What fails, or is not done in time, becomes a row that says why; the other parts run all the same.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import torch

from model.contract.files import write_atomic
from model.data.workers import end_with_parent

HEAD = "| part | what | measured | unit | bound | remark |\n|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """One figure. `bound` is what `value` can be at best; None where there is none."""

    part: str
    what: str
    value: float | None = None
    unit: str = ""
    bound: float | None = None
    remark: str = ""

    def __str__(self) -> str:
        value, bound = ("" if x is None else f"{x:.4g}" for x in (self.value, self.bound))
        return f"| {self.part} | {self.what} | {value} | {self.unit} | {bound} | {self.remark} |"


@dataclass(frozen=True)
class Part:
    """Work that yields rows, and the seconds that it may take."""

    work: Callable[[], Iterable[Row]]
    limit_s: float


def attempt(
    part: str, what: str, work: Callable[..., Iterable[Row]], *arguments: Any
) -> Iterator[Row]:
    """Yield the rows of some work; if it fails, one that says why."""
    try:
        yield from work(*arguments)
    except Exception as error:  # the boundary of a measurement: the others go on
        reason = " ".join(str(error).split()).replace("|", "/")
        yield Row(part, what, remark=f"failed: {type(error).__name__}: {reason:.160}")


def rows_of_all(parts: Mapping[str, Part], limit_s: float) -> Iterator[Row]:
    """Run the parts in turn, for at most `limit_s` together, and yield rows as they come."""
    end_s = time.perf_counter() + limit_s
    for name, part in parts.items():
        left_s = max(0.0, end_s - time.perf_counter())
        yield from rows_of(name, part.work, min(part.limit_s, left_s))


def rows_of(name: str, work: Callable[[], Iterable[Row]], limit_s: float) -> Iterator[Row]:
    """Run a part in a process for at most `limit_s` and yield its rows as they come.

    The process is forked, so that it need not import everything again. The process that calls this
    must not have used a GPU.
    """
    if not limit_s:
        yield Row(name, "all of it", remark="no time left")
        return
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(name, work, writer))
    process.start()
    writer.close()
    end_s = time.perf_counter() + limit_s
    try:
        while reader.poll(max(0.0, end_s - time.perf_counter())):
            if (row := reader.recv()) is None:
                return
            yield row
        yield Row(name, "the rest", remark=f"not done within {limit_s:.0f} s")
    except EOFError:
        process.join()
        yield Row(name, "the rest", remark=f"its process ended with code {process.exitcode}")
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(cast(int, process.pid), signal.SIGKILL)
        process.kill()
        process.join()


def write_rows(path: Path, rows: Iterable[Row], facts: Mapping[str, Any]) -> None:
    """Write rows as JSON, with the versions of torch and Python, the system and more `facts`."""
    about = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    content = {**about, **facts, "rows": [asdict(row) for row in rows]}
    write_atomic(path, json.dumps(content, indent=1).encode())


def _send(name: str, work: Callable[[], Iterable[Row]], writer: Connection) -> None:
    """Send the rows of a part, then None: the main function of its process."""
    os.setsid()  # so that the processes that a part starts end with it
    end_with_parent()
    for row in attempt(name, "all of it", work):
        writer.send(row)
    writer.send(None)
