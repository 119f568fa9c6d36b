"""A list of links to videos, and why a link gave none: yt-dlp's errors by their cause."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.sources.tables import csv_rows

COLUMNS = ["id", "url", "song", "duration", "dancers"]
CAUSES = {
    "private": "only its owner or those logged in may see it",
    "removed": "deleted, or its account is gone",
    "geo_blocked": "not shown in this country",
    "refused": "the server refuses it (HTTP 401, 403, 451)",
    "unsupported": "no video that yt-dlp knows how to fetch",
    "too_long": "longer than --max-duration-s",
    "no_video": "what came holds no picture that can be read",
    "busy": "the server is overloaded, or asks for fewer requests or a human (HTTP 429, 5xx)",
    "unavailable": "the site does not show it and gives no reason",
    "not_read": "yt-dlp finds no video or format in the page; a newer yt-dlp may",
    "network": "no connection, or it broke too often",
    "unknown": "another error; its words are in links.json",
}
TRANSIENT = ("refused", "busy", "unavailable", "not_read", "network", "unknown")
"""The next run tries these again; all others are remembered as dead."""
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
"""How yt-dlp's downloader and sites tell causes that have no type, in this order.

Only words that say so make a link dead: a site that shows nothing today may show it tomorrow.
"""
DATA = re.compile(r"download (video data|m3u8|mpd|f4m)|fragment", re.I)
"""What the page gave the address of: where that is not found, the page is, and was read wrong."""


@dataclass(frozen=True)
class Link:
    """A row of the list. `duration_s` and `dancers` are None where their field is empty."""

    id: str
    url: str
    song: str
    duration_s: float | None
    dancers: int | None


def read_links(path: Path) -> list[Link]:
    """Read the CSV id,url,song,duration,dancers; ValueError names the line that cannot be used."""
    links: dict[str, Link] = {}
    for where, row in csv_rows(path, COLUMNS):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", row["id"]):
            raise ValueError(
                f"{where}: id {row['id']!r:.80} is no file name of up to 64 of A-Za-z0-9_.-"
            )
        if not _is_web(row["url"]):
            raise ValueError(f"{where}: {row['url']!r:.200} is no http or https address")
        if row["id"].lower() in links:
            raise ValueError(f"{where}: {row['id']} is there twice; ids name the files")
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
    """Return which of CAUSES an error of yt-dlp stands for: by type, by HTTP status, by words."""
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
    """Return the cause by an error's words alone."""
    plain = words.replace("\u2019", "'")  # as sites' pages write it
    return next((cause for cause, pattern in WORDS if re.search(pattern, plain, re.I)), "unknown")


def error_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that it came from, each once."""
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
    except ValueError:  # brackets that are no address
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
