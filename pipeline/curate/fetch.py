"""Fetch a list of videos by their links with yt-dlp: slowly, once each, dead links by cause.

A finished video appears in the folder by rename, after its picture stream has been read. What has
arrived of others waits in `.work/parts`, named by id and link, and is gone on with by the next run.
The archive, one line of JSON per end, says what is not asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from model.contract.files import write_atomic
from pipeline.curate.links import (
    CAUSES,
    TRANSIENT,
    Link,
    cause_of,
    cause_of_message,
    error_chain,
    read_links,
)
from pipeline.engine.outcome import NO_ROOM, Outcome, attempt
from pipeline.engine.progress import progress
from pipeline.output.folder import locked

INSTALL = "uv pip install -c constraints.txt -e '.[links]'"
MAX_BYTES = 4 << 30


@dataclass(frozen=True)
class Fetching:
    """What the command line says; the defaults are the command's.

    `pause_s` lies between two links, `rate_bytes_s` bounds a download (0: nothing does). A link is
    given up for this run after `tries` that brought no further byte; pauses between them double
    from `retry_s`. `dead_too` asks again for links that the archive knows as dead.
    """

    links: Path
    out: Path
    pause_s: float = 3.0
    rate_bytes_s: int = 0
    max_duration_s: float = 1800.0
    tries: int = 5
    retry_s: float = 1.0
    timeout_s: float = 30.0
    dead_too: bool = False


@dataclass(frozen=True)
class End:
    """How one link ended: `cause` is "" for a video that is there as `file`, else one of CAUSES.

    `limit_s` was --max-duration-s when it was asked for.
    """

    id: str
    url: str
    cause: str = ""
    words: str = ""
    file: str = ""
    bytes: int = 0
    limit_s: float = 0.0


@dataclass
class Fetched:
    """All ends of a run; `asked` counts the links that were not known from the archive."""

    ends: list[End] = field(default_factory=list)
    asked: int = 0

    @property
    def dead_share(self) -> float:
        return sum(bool(end.cause) for end in self.ends) / max(1, len(self.ends))

    def table(self) -> str:
        """Return the printed form: how many are there, and how many not, by cause."""
        causes = Counter(end.cause for end in self.ends)
        lines = [f"{'links':<28}{len(self.ends):>8}   ({self.asked} asked for in this run)"]
        lines.append(f"{'videos':<28}{causes.pop('', 0):>8}")
        for cause, meaning in CAUSES.items():
            if causes[cause]:
                lines.append(f"  {cause:<26}{causes[cause]:>8}   {meaning}")
        return "\n".join(lines)


def check_installed() -> None:
    """Raise ValueError, saying which command installs yt-dlp, where it is not there."""
    if find_spec("yt_dlp") is None:
        raise ValueError(f"links are fetched by yt-dlp, which is not installed here: {INSTALL}")


def fetch_links(options: Fetching) -> Fetched:
    """Fetch what is not there yet into `options.out`, and write `links.json` beside the videos.

    One bad link never ends the run; a full disk does, as OSError.

    Raises ValueError or OSError for what the user must change.
    """
    check_installed()
    links = read_links(options.links)
    with locked(options.out):
        known = _archive(options)
        waiting = [link for link in links if (link.id, link.url) not in known]
        fetched = Fetched(asked=len(waiting))
        for end in progress(_each(options, waiting), "fetch", len(waiting), "link"):
            end = replace(end, limit_s=options.max_duration_s)
            known[end.id, end.url] = end
            _remember(options, end)
        fetched.ends = [known[link.id, link.url] for link in links]
        rows = [asdict(link) | asdict(end) for link, end in zip(links, fetched.ends, strict=True)]
        counts = dict(Counter(end.cause or "ok" for end in fetched.ends))
        text = json.dumps({"links": len(rows), "counts": counts, "rows": rows}, indent=1)
        write_atomic(options.out / "links.json", text.encode())
    return fetched


def _each(options: Fetching, links: list[Link]) -> Iterator[End]:
    for index, link in enumerate(links):
        if index:
            time.sleep(options.pause_s)
        end = attempt("fetch", partial(_one, options, link))
        if isinstance(end, Outcome):
            end = End(link.id, link.url, "unknown", end.message)
        yield end


def _one(options: Fetching, link: Link) -> End:
    """Fetch one video and put it in place, or say why it cannot be had."""
    from yt_dlp.utils import YoutubeDLError

    if link.duration_s is not None and link.duration_s > options.max_duration_s:
        return End(link.id, link.url, "too_long", f"{link.duration_s:g} s by the list")
    try:
        part = _download(options, link)
    except YoutubeDLError as error:
        for cause in error_chain(error):
            if isinstance(cause, OSError) and cause.errno in NO_ROOM:
                raise SystemExit(
                    f"error: {options.out}: {cause}; make room and run again"
                ) from None
        words = re.sub(r"\x1b\[[0-9;]*m|^ERROR: ", "", str(error)).strip()
        return End(link.id, link.url, cause_of(error), words)
    if isinstance(part, End):
        return part
    return _placed(options, link, part)


def _download(options: Fetching, link: Link) -> Path | End:
    """Return the complete file among the parts, or the end of a link that is too long."""
    from yt_dlp import YoutubeDL

    from pipeline.media.program import binary

    def too_long(info: Mapping[str, Any], *, incomplete: bool) -> str | None:
        length_s = info.get("duration") or 0
        return f"{length_s:g} s" if length_s > options.max_duration_s else None

    def wait_s(n: int) -> float:
        return _wait_s(options, n)

    settings = {
        "outtmpl": {"default": str(_part(options, link)) + ".%(ext)s"},
        "format": "best[ext=mp4]/bestvideo*+bestaudio/best",
        "ffmpeg_location": binary(),
        "noplaylist": True,
        "playlist_items": "1",
        "match_filter": too_long,
        "max_filesize": MAX_BYTES,
        "ratelimit": options.rate_bytes_s or None,
        "retries": 0,  # _tried asks for the page again too: addresses of files expire
        "extractor_retries": 0,
        "fragment_retries": options.tries,
        "retry_sleep_functions": {"fragment": wait_s},
        "socket_timeout": options.timeout_s,
        "cachedir": False,
        "updatetime": False,
        "noprogress": True,
        "logger": _Silent(),
    }
    with YoutubeDL(settings) as client:
        info = _tried(options, link, lambda: client.extract_info(link.url))
    if info and info.get("entries"):
        info = info["entries"][0]
    done = (info or {}).get("requested_downloads")
    if done:
        return Path(done[0]["filepath"])
    length_s = (info or {}).get("duration") or 0
    if length_s > options.max_duration_s:
        return End(link.id, link.url, "too_long", f"{length_s:g} s by its page")
    return End(link.id, link.url, "unsupported", "the page has no video, or one of over 4 GB")


def _tried(options: Fetching, link: Link, call: Callable[[], Any]) -> Any:
    """Call until it answers; give up after `tries` passing errors that brought no further byte."""
    from yt_dlp.utils import YoutubeDLError

    part = _part(options, link)
    fruitless, farthest = 0, 0
    while True:
        try:
            return call()
        except YoutubeDLError as error:
            held = sum(file.stat().st_size for file in part.parent.glob(f"{part.name}.*"))
            fruitless = 1 if held > farthest else fruitless + 1
            farthest = max(farthest, held)
            if fruitless >= options.tries or cause_of(error) not in ("busy", "network"):
                raise
            time.sleep(_wait_s(options, fruitless))


def _wait_s(options: Fetching, tried: int) -> float:
    return min(60.0, options.retry_s * 2 ** max(0, tried - 1))


def _placed(options: Fetching, link: Link, part: Path) -> End:
    """Give a complete file its name in the folder, unless it holds no picture or too much."""
    from pipeline.media.container import Limits, MediaError
    from pipeline.media.reader import probe

    limits = Limits(max_duration_s=options.max_duration_s)
    try:
        probe(part, limits)
    except MediaError as error:
        part.unlink()
        cause = "too_long" if error.code == "too_long" else "no_video"
        return End(link.id, link.url, cause, str(error).replace(f"{part}: ", ""))
    path = options.out / f"{link.id}{part.suffix}"
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    return End(link.id, link.url, file=path.name, bytes=path.stat().st_size)


def _part(options: Fetching, link: Link) -> Path:
    """Return where a link's bytes gather, without suffix: another link under the id is another."""
    digest = hashlib.sha256(link.url.encode()).hexdigest()[:10]
    return options.out / ".work" / "parts" / f"{link.id}-{digest}"


def _archive(options: Fetching) -> dict[tuple[str, str], End]:
    """Return the ends that need no asking, by id and link; a torn last line is none.

    A video whose file is gone or of another size is fetched again.
    """
    known: dict[tuple[str, str], End] = {}
    path = _archive_file(options)
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            end = End(**json.loads(line))
        except (ValueError, TypeError):
            continue
        known[end.id, end.url] = end
    return {key: end for key, end in known.items() if _settled(options, end)}


def _settled(options: Fetching, end: End) -> bool:
    if end.cause == "too_long" and options.max_duration_s > end.limit_s:
        return False
    if end.cause in ("removed", "private") and cause_of_message(end.words) in TRANSIENT:
        return False  # told by older words for it
    if end.cause:
        return end.cause not in TRANSIENT and not options.dead_too
    path = options.out / end.file
    return path.is_file() and path.stat().st_size == end.bytes


def _remember(options: Fetching, end: End) -> None:
    with open(_archive_file(options), "ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # torn: what follows must not be lost with it
                file.write(b"\n")
        file.write(f"{json.dumps(asdict(end))}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def _archive_file(options: Fetching) -> Path:
    return options.out / "archive.jsonl"


class _Silent:
    """Takes yt-dlp's words: errors come as exceptions, the rest is not for our screen."""

    def debug(self, words: str) -> None:
        """Progress."""

    def info(self, words: str) -> None:
        """Progress too."""

    def warning(self, words: str) -> None:
        """What did not stop it."""

    def error(self, words: str) -> None:
        """What it then raises."""
