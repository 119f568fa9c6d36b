"""Download a list of videos with yt-dlp: slowly, each once; dead links are recorded with a cause.

A finished video is moved into the folder after its video stream has been read once. Incomplete
downloads stay in `.work/parts`, named by id and link, and the next run continues them. The archive
has one line of JSON for each outcome; it lists the links that need no further request.
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
from model.contract.options import option
from pipeline.arguments import natural, positive, seconds
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
    """The options of the command line, with the same defaults.

    `pause_s` is the pause between two links, `rate_bytes_s` the speed limit of a download (0: no
    limit). A link is given up for this run after `tries` attempts without a further byte. The pause
    between attempts starts at `retry_s` and doubles each time. With `dead_too` links are tried
    again that the archive lists as dead.
    """

    links: Path
    out: Path
    pause_s: float = option(3.0, "seconds between links (default 3)", type=seconds)
    rate_bytes_s: int = option(
        0, "download at most this many bytes a second (default 0: no limit)", type=natural
    )
    max_duration_s: float = option(
        1800.0, "skip videos longer than this many seconds (default 1800)", type=seconds
    )
    tries: int = option(
        5,
        "give up a link for this run after this many attempts without progress (default 5)",
        type=positive,
    )
    dead_too: bool = option(False, "try links again that are recorded as dead", action="store_true")
    retry_s: float = 1.0
    timeout_s: float = 30.0


@dataclass(frozen=True)
class End:
    """The outcome of one link.

    `cause` is "" if the video was stored as `file`, else one of CAUSES. `words` is the error
    message. `limit_s` is the value of --max-duration-s of that run.
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
    """All outcomes of a run; `asked` counts the links that were not known from the archive."""

    ends: list[End] = field(default_factory=list)
    asked: int = 0

    @property
    def dead_share(self) -> float:
        return sum(bool(end.cause) for end in self.ends) / max(1, len(self.ends))

    def table(self) -> str:
        """Return the summary for printing: videos found, and dead links by cause."""
        causes = Counter(end.cause for end in self.ends)
        lines = [f"{'links':<28}{len(self.ends):>8}   ({self.asked} requested in this run)"]
        lines.append(f"{'videos':<28}{causes.pop('', 0):>8}")
        for cause, meaning in CAUSES.items():
            if causes[cause]:
                lines.append(f"  {cause:<26}{causes[cause]:>8}   {meaning}")
        return "\n".join(lines)


def check_installed() -> None:
    """Raise ValueError if yt-dlp is missing; the message has the command that installs it."""
    if find_spec("yt_dlp") is None:
        raise ValueError(f"links are fetched by yt-dlp, which is not installed; run: {INSTALL}")


def fetch_links(options: Fetching) -> Fetched:
    """Download missing videos into `options.out`, and write `links.json` to the same folder.

    A failed link does not stop the run. A full disk stops it.

    Raises ValueError or OSError if the user must change something.
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
    """Download one video and store it, or return the cause of the failure."""
    from yt_dlp.utils import YoutubeDLError

    if link.duration_s is not None and link.duration_s > options.max_duration_s:
        return End(
            link.id, link.url, "too_long", f"{link.duration_s:g} s, as the list of links says"
        )
    try:
        part = _download(options, link)
    except YoutubeDLError as error:
        for cause in error_chain(error):
            if isinstance(cause, OSError) and cause.errno in NO_ROOM:
                raise SystemExit(
                    f"error: {options.out}: {cause}; free disk space and run again"
                ) from None
        message = re.sub(r"\x1b\[[0-9;]*m|^ERROR: ", "", str(error)).strip()
        return End(link.id, link.url, cause_of(error), message)
    if isinstance(part, End):
        return part
    return _placed(options, link, part)


def _download(options: Fetching, link: Link) -> Path | End:
    """Return the downloaded file, or the outcome if there is none (too long, no video)."""
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
        "retries": 0,  # _tried repeats the page request, too: file addresses expire
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
        return End(link.id, link.url, "too_long", f"{length_s:g} s, as its page says")
    return End(link.id, link.url, "unsupported", "the page has no video, or it is larger than 4 GB")


def _tried(options: Fetching, link: Link, call: Callable[[], Any]) -> Any:
    """Call until it succeeds; give up after `tries` transient errors without a further byte."""
    from yt_dlp.utils import YoutubeDLError

    part = _part(options, link)
    no_progress, most_bytes = 0, 0
    while True:
        try:
            return call()
        except YoutubeDLError as error:
            held = sum(file.stat().st_size for file in part.parent.glob(f"{part.name}.*"))
            no_progress = 1 if held > most_bytes else no_progress + 1
            most_bytes = max(most_bytes, held)
            if no_progress >= options.tries or cause_of(error) not in ("busy", "network"):
                raise
            time.sleep(_wait_s(options, no_progress))


def _wait_s(options: Fetching, tried: int) -> float:
    return min(60.0, options.retry_s * 2 ** max(0, tried - 1))


def _placed(options: Fetching, link: Link, part: Path) -> End:
    """Move a complete file into the folder, unless it has no readable video or is too long."""
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
    """Return the path of a link's partial download, without suffix; it depends on id and URL."""
    digest = hashlib.sha256(link.url.encode()).hexdigest()[:10]
    return options.out / ".work" / "parts" / f"{link.id}-{digest}"


def _archive(options: Fetching) -> dict[tuple[str, str], End]:
    """Return the outcomes that need no new request, by id and link; a broken line is ignored.

    A video is downloaded again if its file is missing or has another size.
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
        return False  # classified by an older version of the patterns
    if end.cause:
        return end.cause not in TRANSIENT and not options.dead_too
    path = options.out / end.file
    return path.is_file() and path.stat().st_size == end.bytes


def _remember(options: Fetching, end: End) -> None:
    with open(_archive_file(options), "ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # incomplete last line: the new one must not be appended to it
                file.write(b"\n")
        file.write(f"{json.dumps(asdict(end))}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def _archive_file(options: Fetching) -> Path:
    return options.out / "archive.jsonl"


class _Silent:
    """Discards yt-dlp's log messages: errors are raised as exceptions, the rest is not shown."""

    def debug(self, words: str) -> None:
        """Discard progress messages."""

    def info(self, words: str) -> None:
        """Discard progress messages."""

    def warning(self, words: str) -> None:
        """Discard warnings."""

    def error(self, words: str) -> None:
        """Discard errors: yt-dlp raises them, too."""
