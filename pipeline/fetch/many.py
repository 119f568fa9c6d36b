"""Fetch many files over a few connections; each one ends here, or failed with a cause.

Incomplete downloads lie in `.work/parts`. `.work/fetched.jsonl` has a line for every file that was
fetched and the sizes of what it gave. The next run fetches what has no line, and what is missing or
has another size.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.progress import ByteMeter, progress
from pipeline.fetch.base import End, Fetched, Wanted, WrongBytes
from pipeline.output.folder import locked
from pipeline.weights.download import DownloadError, StatusError, discard, download, size_of

MAX_SILENT = 8
"""After so many failed files in a row, a server is left alone for the rest of the run."""
Files = Mapping[str, int]
"""Path relative to the folder → size in bytes."""


@dataclass
class Servers:
    """Which servers still answer: their failures since the last success."""

    _failed: Counter[str] = field(default_factory=Counter)

    def silent(self, url: str) -> bool:
        return self._failed[urlsplit(url).netloc] >= MAX_SILENT

    def note(self, url: str, answered: bool) -> None:
        """Count a failure, or forget the earlier ones."""
        server = urlsplit(url).netloc
        self._failed[server] = 0 if answered else self._failed[server] + 1


@dataclass(frozen=True)
class Plan:
    """What is here, what is to be fetched, and how large that is."""

    out: Path
    here: Mapping[str, Files]
    waiting: Sequence[Wanted]
    sizes: Mapping[str, int | None]

    @property
    def known_bytes(self) -> int:
        return sum(size or 0 for size in self.sizes.values())

    def lines(self) -> list[str]:
        """Return what to tell the user before anything is fetched."""
        unknown = sum(size is None for size in self.sizes.values())
        more = f", and {unknown} of unknown size" if unknown else ""
        free_bytes = shutil.disk_usage(_existing(self.out)).free
        return [
            f"{len(self.here)} files are here, {len(self.waiting)} to fetch: "
            f"{in_words(self.known_bytes)}{more}; free space at {self.out}: {in_words(free_bytes)}"
        ]

    def check_room(self) -> None:
        """Raise OSError if the disk is too small."""
        free_bytes = shutil.disk_usage(_existing(self.out)).free
        if self.known_bytes > free_bytes:
            raise OSError(
                f"{self.out}: needs {in_words(self.known_bytes)}, but only {in_words(free_bytes)} "
                "are free; free some space, or choose another folder with --out"
            )


def plan(out: Path, wanted: Sequence[Wanted], connections: int) -> Plan:
    """Find out what is missing, and ask the servers for its sizes. Nothing is written."""
    record = _read_record(out)
    here: dict[str, Files] = {}
    for one in wanted:
        files = record.get(one.name)
        if files and all(_size(out / name) == size for name, size in files.items()):
            here[one.name] = files
        elif not files and (own := one.put_by_hand()):
            here[one.name] = _files(out, own)
    waiting = [one for one in wanted if one.name not in here]
    servers = Servers()

    def size(one: Wanted) -> int | None:
        found = None if servers.silent(one.url) else size_of(one.url)
        servers.note(one.url, found is not None)
        return found

    with ThreadPoolExecutor(connections) as pool:
        sizes = progress(pool.map(size, waiting), "sizes", len(waiting), "file")
        return Plan(out, here, waiting, dict(zip((w.name for w in waiting), sizes, strict=True)))


def fetch_all(
    planned: Plan,
    wanted: Sequence[Wanted],
    connections: int,
    tries: int = 5,
    pause_s: float = 1.0,
) -> Fetched:
    """Fetch the missing files; return the outcomes of all of `wanted`, in their order.

    A failed file does not stop the run.

    Raises OSError if the disk is full, and ValueError if another command writes into the folder.
    """
    out, ends = planned.out, {}
    with locked(out):
        for one in wanted:
            if one.name in planned.here:
                files = planned.here[one.name]
                ends[one.name] = End(one.name, one.url, files=len(files), bytes=sum(files.values()))
        known = None not in planned.sizes.values()
        meter = ByteMeter("fetch", planned.known_bytes if known else None, len(planned.waiting))
        work = partial(_one, out, Servers(), meter, tries, pause_s)
        with closing(_in_threads(work, planned.waiting, connections, meter)) as results:
            for end, files in results:
                if not end.cause:
                    _remember(out, end.name, files)
                ends[end.name] = end
                meter.ended()
        needed = frozenset(one.name for one in wanted if one.needed)
        return Fetched([ends[one.name] for one in wanted], needed)


def _in_threads(
    work: Callable[[Wanted], tuple[End, Files]],
    waiting: Sequence[Wanted],
    connections: int,
    meter: ByteMeter,
) -> Generator[tuple[End, Files], None, None]:
    """Yield results as they come. On an error or Ctrl-C, the other downloads stop too."""
    pool = ThreadPoolExecutor(connections)
    try:
        futures: list[Future[tuple[End, Files]]] = [pool.submit(work, one) for one in waiting]
        for future in as_completed(futures):
            yield future.result()
    finally:
        meter.close()
        pool.shutdown(cancel_futures=True)


def _one(
    out: Path, servers: Servers, meter: ByteMeter, tries: int, pause_s: float, one: Wanted
) -> tuple[End, Files]:
    """Fetch one file and put it in place."""
    if servers.silent(one.url):
        server = urlsplit(one.url).netloc
        message = f"not tried: the last {MAX_SILENT} files from {server} could not be fetched"
        return End(one.name, one.url, "network", message), {}
    path = out / ".work" / "parts" / one.name
    part = path.with_name(f"{one.name}.part")

    def reason(error: Exception) -> str:
        return str(error).removeprefix(f"{one.url}: ")

    def get() -> tuple[End, Files]:
        try:
            download(one.url, path, tries=tries, pause_s=pause_s, show=meter)
            servers.note(one.url, True)
            files = _files(out, one.put(part))
        except StatusError as error:
            servers.note(one.url, True)
            cause = "gone" if error.status in (404, 410) else "refused"
            return End(one.name, one.url, cause, reason(error)), {}
        except DownloadError as error:
            servers.note(one.url, False)
            return End(one.name, one.url, "network", reason(error)), {}
        except WrongBytes as error:
            discard(part)
            return End(one.name, one.url, "wrong", reason(error)), {}
        size_bytes = sum(files.values())
        return End(one.name, one.url, files=len(files), bytes=size_bytes, fresh=True), files

    end = attempt("fetch", get)
    if not isinstance(end, Outcome):
        return end
    if end.code == "no_room":
        raise OSError(f"{out}: {end.message}; free some space, then run the same command again")
    return End(one.name, one.url, "unknown", end.message), {}


def _files(out: Path, paths: Sequence[Path]) -> dict[str, int]:
    return {path.relative_to(out).as_posix(): path.stat().st_size for path in paths}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _read_record(out: Path) -> dict[str, Files]:
    """Return what each file gave, by its name; a broken line is ignored."""
    path = _record(out)
    record: dict[str, Files] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            record[row["name"]] = {str(name): int(size) for name, size in row["files"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return record


def _remember(out: Path, name: str, files: Files) -> None:
    with open(_record(out), "ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # a line that was cut: the new one must not be appended to it
                file.write(b"\n")
        file.write(f"{json.dumps({'name': name, 'files': files})}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def _record(out: Path) -> Path:
    return out / ".work" / "fetched.jsonl"


def _existing(path: Path) -> Path:
    """Return the path, or its nearest folder that exists."""
    path = path.resolve()
    return next(one for one in (path, *path.parents) if one.exists())


def in_words(size_bytes: int) -> str:
    """Return a size for people, in powers of 1000."""
    size, unit = float(size_bytes), "bytes"
    for bigger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, bigger
    return f"{size:.3g} {unit}"
