"""What a data set that can be fetched is asked, and what becomes of its files.

A fetcher is a frozen dataclass. Its fields made by `option` are flags of `pipeline fetch`. One of
another package is registered under `dance2music.fetchers` and chosen with `--dataset NAME`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from model.contract.registry import Registry

FETCHERS = Registry("fetchers", "data set to fetch", {"aist": "pipeline.fetch.aist:FetchAist"})
CAUSES = {
    "gone": "the server does not have it (HTTP 404, 410)",
    "refused": "the server refuses it (another HTTP status)",
    "network": "no connection, or too many interruptions; run again to continue",
    "wrong": "what the server sent is not the file: a page, cut short or damaged",
    "unknown": "an error of this program or machine; fetch.json has the message",
}
"""Why a file is not here. The next run tries all of them again."""
REPORT = "fetch.json"


class Fetcher(Protocol):
    """Downloads a data set. The class is called with `out` and its options."""

    out: Path

    def fetch(self) -> Fetched:
        """Fetch what is missing.

        Raises UsageError if the user has not accepted the publishers' terms, and OSError or
        ValueError if the user must change something first.
        """
        ...


class WrongBytes(ValueError):
    """What was downloaded is not the file that was expected. The message says why."""


@dataclass(frozen=True)
class Wanted:
    """A file to fetch; see place.py for the kinds.

    `name` is its name in the report, which no other file has. `needed` says whether the data set is
    unusable without it.
    """

    name: str
    url: str
    needed: bool

    def put(self, part: Path) -> list[Path]:
        """Check a complete download, and put it or what it contains in place.

        Returns the paths of these files. Raises WrongBytes.
        """
        raise NotImplementedError

    def put_by_hand(self) -> list[Path]:
        """Return the files in this place that the user has from elsewhere, if they are usable."""
        return []


@dataclass(frozen=True)
class End:
    """What became of a file. `cause` is "" if it is here, else one of CAUSES."""

    name: str
    url: str
    cause: str = ""
    message: str = ""
    files: int = 0
    bytes: int = 0
    fresh: bool = False
    """Whether this run fetched it."""


@dataclass
class Fetched:
    """All outcomes, one for each file that is listed."""

    ends: list[End]
    needed: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)

    @property
    def failed_share(self) -> float:
        return sum(bool(end.cause) for end in self.ends) / max(1, len(self.ends))

    @property
    def failed_needed(self) -> list[str]:
        """The files that failed and without which the data set is unusable."""
        return [end.name for end in self.ends if end.cause and end.name in self.needed]

    def table(self) -> str:
        """Return the summary for printing: how many files are here, and the others by cause."""
        by_cause = Counter(end.cause for end in self.ends)
        fresh = sum(end.fresh for end in self.ends)
        lines = [
            f"{'files':<28}{len(self.ends):>8}",
            f"{'  ok':<28}{by_cause.pop('', 0):>8}   ({fresh} fetched in this run)",
        ]
        for cause, meaning in CAUSES.items():
            failed = [end for end in self.ends if end.cause == cause]
            if failed:
                lines.append(f"{'  ' + cause:<28}{len(failed):>8}   {meaning}")
                lines += [f"    {end.name}: {end.message:.300}" for end in failed[:3]]
                lines += ["    …"] if len(failed) > 3 else []
        return "\n".join([*lines, *self.notes])

    def save(self, out: Path) -> None:
        """Write all outcomes to `fetch.json`."""
        from model.contract.files import write_atomic

        counts: Mapping[str, int] = Counter(end.cause or "ok" for end in self.ends)
        rows = [asdict(end) for end in self.ends]
        facts = {"files": len(rows), "counts": counts, "notes": self.notes, "rows": rows}
        write_atomic(out / REPORT, json.dumps(facts, indent=1).encode())
