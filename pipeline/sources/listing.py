"""What a source folder offers: the manifest's rows before any file is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.formats import VIDEO_SUFFIXES
from pipeline.manifest import Row


@dataclass(frozen=True)
class Listing:
    """Rows, and the two folders that their `path` and `motion` are relative to.

    `note` says in words which of several forms of the data set was found, "" where there is one.
    `others` counts, by suffix, the files in the folder that are not named like videos.
    """

    root: Path
    motion_root: Path
    rows: list[Row]
    note: str = ""
    others: Mapping[str, int] = field(default_factory=dict)


def source_files(root: Path) -> tuple[list[Path], Counter[str]]:
    """Return what is named like a video under `root`, relative to it, sorted; count the rest.

    The count is by suffix, in lower case. Folders `.work` are left out: what a command has not
    finished lies there. Links to folders are followed, each real folder once. What is no readable
    file (a broken link) is listed too: it ends in the report, not in silence. A folder that cannot
    be read raises OSError: its videos would be lost, and with them what an earlier build made of
    them.
    """
    found: list[Path] = []
    others: Counter[str] = Counter()
    seen: set[str] = set()
    for folder, names, files in os.walk(root, onerror=_refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if name != ".work")
        here = Path(folder).relative_to(root)
        for name in files:
            suffix = Path(name).suffix.lower()
            if suffix in VIDEO_SUFFIXES:
                found.append(here / name)
            else:
                others[suffix] += 1
    return sorted(found), others


def others_words(others: Mapping[str, int]) -> str:
    """Return the sentence that says what was not taken for a video, "" where there is nothing."""
    if not (count := sum(others.values())):
        return ""
    kinds = sorted(others, key=lambda suffix: (-others[suffix], suffix))
    told = ", ".join(f"{suffix or 'no suffix'} {others[suffix]}" for suffix in kinds[:5])
    files, are = ("file", "is") if count == 1 else ("files", "are")
    return (
        f"{count} other {files} in the source folder {are} not named like videos "
        f"({told}{', …' if len(kinds) > 5 else ''})"
    )


def _refuse(error: OSError) -> None:
    raise OSError(
        f"{error.filename}: this folder cannot be read ({error.strerror}), and its videos would be "
        "lost; make it readable, or move it out of --source"
    ) from None


def utf8(path: Path) -> tuple[str, str]:
    """Return a path as text and the code that ends it: "" or `bad_name` where it is not UTF-8."""
    try:
        text = path.as_posix()
        text.encode()
        return text, ""
    except UnicodeEncodeError:
        return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace"), "bad_name"
