"""Read a list of links to videos, and map the errors of yt-dlp to causes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.sources.tables import csv_rows

COLUMNS = ["id", "url", "song", "duration", "dancers"]
CAUSES = {
    "private": "only its owner or logged-in users may see it",
    "removed": "the video or its account was deleted",
    "geo_blocked": "not available in this country",
    "refused": "the server refuses it (HTTP 401, 403, 451)",
    "unsupported": "yt-dlp cannot download from this address",
    "too_long": "longer than --max-duration-s",
    "no_video": "the downloaded file has no readable video stream",
    "busy": "the server is overloaded, limits requests or asks for a captcha (HTTP 429, 5xx)",
    "unavailable": "the site does not show the video and gives no reason",
    "not_read": "yt-dlp found no video or format on the page; try a newer yt-dlp",
    "network": "no connection, or too many interruptions",
    "unknown": "another error; links.json has the message",
}
TRANSIENT = ("refused", "busy", "unavailable", "not_read", "network", "unknown")
"""The next run tries these links again; all others are recorded as dead."""
WORDS = (
    ("busy", r"HTTP Error (408|429|5\d\d)|rate.?limit|too many requests|try again later|captcha|"
             r"not a (ro)?bot|IP address is blocked|unusual traffic"),
    ("network", r"\[download\] Got error|timed out|connection (reset|refused)"),
    ("geo_blocked", r"(your|this) (country|region|location)|geo.?(restrict|block)"),
    ("not_read", r"format is not available|no (video )?formats? found|unable to extract|"
                 r"failed to (parse|extract)"),
    ("unavailable", r"empty media response"),
    ("private", r"\bprivate\b|\blog ?in(to)?\b|\blogged.in\b|\bsign ?in\b|do not have permission|"
                r"--cookies|age.restrict|members.only"),
    ("refused", r"HTTP Error (401|403|451)"),
    ("removed", r"HTTP Error (404|410)|\b(been|was|is|were) (removed|deleted|terminated)|"
                r"\b(removed|deleted) by\b|no longer (available|exist)|does(n't| not) exist|"
                r"\b(video|post|clip|page|account|user|channel|content) (was |is )?not found|"
                r"couldn't be found|not available, status code 10204"),
    ("unavailable", r"unavailable|not available|isn't available"),
    ("not_read", r"please report this issue"),
)  # fmt: skip
"""Patterns in error messages for causes without an exception type; the first match counts.

A link is dead only if the message says so clearly: a video that is not shown today may return.
"""
DATA = re.compile(r"download (video data|m3u8|mpd|f4m)|fragment", re.I)
"""The error concerns a file that the page refers to. If that file is not found (404), the page
itself exists, and yt-dlp read it wrongly."""


@dataclass(frozen=True)
class Link:
    """A row of the list. `duration_s` and `dancers` are None if their field is empty."""

    id: str
    url: str
    song: str
    duration_s: float | None
    dancers: int | None


def read_links(path: Path) -> list[Link]:
    """Read the CSV id,url,song,duration,dancers; ValueError names an invalid line."""
    links: dict[str, Link] = {}
    for where, row in csv_rows(path, COLUMNS):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", row["id"]):
            raise ValueError(
                f"{where}: id {row['id']!r:.80} is no file name: use 1 to 64 of A-Za-z0-9_.-"
            )
        if not _is_web(row["url"]):
            raise ValueError(f"{where}: {row['url']!r:.200} is no http or https address")
        if row["id"].lower() in links:
            raise ValueError(
                f"{where}: {row['id']} appears twice; use a different id for each link"
            )
        duration_s, dancers = (_number(where, row, name) for name in ("duration", "dancers"))
        links[row["id"].lower()] = Link(
            row["id"],
            row["url"],
            row["song"],
            duration_s,
            None if dancers is None else int(dancers),
        )
    return list(links.values())


def cause_of(error: BaseException) -> str:
    """Return the cause (a key of CAUSES) of a yt-dlp error: by type, HTTP status or message."""
    from yt_dlp.networking.exceptions import HTTPError, TransportError
    from yt_dlp.utils import ContentTooShortError, GeoRestrictedError, UnsupportedError

    chain = list(error_chain(error))
    for kind, cause in (
        (GeoRestrictedError, "geo_blocked"),
        (UnsupportedError, "unsupported"),
        (ContentTooShortError, "network"),
    ):
        if any(isinstance(link, kind) for link in chain):
            return cause
    for link in chain:
        if isinstance(link, HTTPError):
            if link.status in (404, 410):
                return "not_read" if DATA.search(str(error)) else "removed"
            return "busy" if link.status in (408, 429) or link.status >= 500 else "refused"
    if any(isinstance(link, TransportError | ConnectionError | TimeoutError) for link in chain):
        return "network"
    return cause_of_message(str(error))


def cause_of_message(words: str) -> str:
    """Return the cause of an error from its message alone."""
    plain = words.replace("\u2019", "'")  # web pages use this apostrophe
    return next((cause for cause, pattern in WORDS if re.search(pattern, plain, re.I)), "unknown")


def error_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all errors that caused it, each once."""
    todo, seen = [error], set()
    while todo:
        one = todo.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (getattr(one, "exc_info", None) or (None, None))[1]
        todo += [inner, getattr(one, "cause", None), one.__cause__, one.__context__]


def _is_web(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
    except ValueError:  # invalid brackets in the host name
        return False


def _number(where: str, row: Mapping[str, str], name: str) -> float | None:
    if not row[name]:
        return None
    try:
        value = float(row[name])
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or (name == "dancers" and value != int(value)):
        raise ValueError(f"{where}: {name} is {row[name]!r:.80}, expected a number, or nothing")
    return value
