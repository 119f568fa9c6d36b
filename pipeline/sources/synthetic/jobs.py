"""Write videos or songs in this process, or in several processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def write_each(
    write: Callable[[T, Path], object],
    specs: Sequence[T],
    root: Path,
    jobs: int,
    unit: str = "video",
) -> None:
    """Call `write` for each spec; raise SystemExit with a message if a process is killed."""
    if jobs == 1:
        for spec in tqdm(specs, unit=unit):
            write(spec, root)
        return
    advice = "run the same command again with fewer --jobs; it continues (1 starts no process)"
    try:
        with ProcessPoolExecutor(jobs) as pool:
            running = [pool.submit(write, spec, root) for spec in specs]
            for job in tqdm(as_completed(running), total=len(running), unit=unit):
                job.result()
    except BrokenProcessPool:
        raise SystemExit(
            f"error: a process that writes {unit}s was killed, as the system does if memory runs "
            f"out; {advice}"
        ) from None
