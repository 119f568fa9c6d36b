"""What a source folder offers: the manifest's rows before any file is opened."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.contract.segment import is_hidden
from pipeline.media.formats import VIDEO_SUFFIXES
from pipeline.sources.manifest import Row

HIDDEN = "hidden"
"""Among the counted suffixes, all of which begin with a dot: files that nobody put there to use."""


@dataclass(frozen=True)
class AnnotationFiles:
    """How one kind of annotation is called: after its video, `<name><suffix>`.

    Args:
        home: the folder beside the videos where it lies by default.
        suffix: of its file; "" where it is a folder.
        any_camera: one file may be for all cameras of a dance, named as AIST++ names it.
    """

    home: str
    suffix: str
    any_camera: bool = False


@dataclass(frozen=True)
class Listing:
    """Rows, and the two folders that their `path` and `motion` are relative to.

    `note` says in words which of several forms of the data set was found, "" where there is one;
    `notes` what else of the inputs is to be known, for the report.
    `others` counts, by suffix, the files in the folder that are not named like videos; those that
    are hidden or thrown away, whatever their suffix, under HIDDEN.
    """

    root: Path
    motion_root: Path
    rows: list[Row]
    note: str = ""
    others: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


def source_files(root: Path) -> tuple[list[Path], Counter[str]]:
    """Return what is named like a video under `root`, relative to it, sorted; count the rest.

    The count is by suffix, in lower case, and under HIDDEN for what is hidden or thrown away. What
    is no readable file (a broken link) is listed too: it ends in the report, not in silence.
    """
    found: list[Path] = []
    others: Counter[str] = Counter()
    for here, folders, files in walk(root):
        for name in filter(_is_aside, map(Path, folders)):
            others[HIDDEN] += sum(len(names) for _, _, names in os.walk(root / here / name))
        for path in map(Path, files):
            suffix = path.suffix.lower()
            if is_hidden(path):
                others[HIDDEN] += 1
            elif suffix in VIDEO_SUFFIXES:
                found.append(here / path)
            else:
                others[suffix] += 1
    return sorted(found), +others


def walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder under `root`, relative to it, with its folders' and its files' names.

    Hidden folders and recycle bins are named, not entered. Links to folders are followed, each real
    folder once. A folder that cannot be read raises OSError: its videos would be lost, and with
    them what an earlier build made of them.
    """
    seen: set[str] = set()
    for folder, names, files in os.walk(root, onerror=_refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        yield Path(folder).relative_to(root), sorted(names), files
        names[:] = sorted(name for name in names if not is_hidden(Path(name)))


def home(source: Path, names: Iterable[str]) -> Path:
    """Return the folder that all of the listed videos lie under: `source`, or its `videos`."""
    videos = source / "videos"
    listed = by_name(source_files(source)[0] if videos.is_dir() else (), names)
    beside = any(path.parts[0] != "videos" for paths in listed.values() for path in paths)
    return videos if videos.is_dir() and not beside else source


def by_name(
    paths: Iterable[Path], names: Iterable[str], whole: bool = False
) -> dict[str, list[Path]]:
    """Return which of `paths` bear each of `names`, wherever they lie, the one to take first.

    The case says nothing, and neither does the suffix, unless names are `whole`. First comes what
    is written exactly so, then what lies least deep.
    """

    def bears(path: Path) -> str:
        return path.name if whole else path.stem

    wanted = {name.lower(): name for name in names}
    found: dict[str, list[tuple[bool, bool, int, Path]]] = defaultdict(list)
    for path in paths:
        if (name := wanted.get(bears(path).lower())) and not utf8(path)[1]:
            other = (bears(path) != name, path.suffix != ".mp4" and not whole, len(path.parts))
            found[name].append((*other, path))
    return {name: [path for *_, path in sorted(same)] for name, same in found.items()}


def annotation_paths(root: Path, kind: AnnotationFiles | None) -> list[Path]:
    """Return where annotations of a kind may lie under `root`: files of its suffix, or folders."""
    found: list[Path] = []
    if kind is None:
        return found
    for here, folders, files in walk(root):
        names = files if kind.suffix else folders
        found += [here / name for name in names if not is_hidden(Path(name))]
    return [path for path in found if not kind.suffix or path.suffix.lower() == kind.suffix]


def twice(found: Mapping[str, Sequence[Path]], what: str) -> list[str]:
    """Return the sentence that names what bears a name that another bears, [] where none does."""
    many = [paths for _, paths in sorted(found.items()) if len(paths) > 1]
    if not many:
        return []
    message = "; ".join(f"{paths[0]} is taken, not {paths[1]}" for paths in many[:3])
    more = "; …" if len(many) > 3 else ""
    return [f"{what} that are in the folder more than once: {len(many)} ({message}{more})"]


def _is_aside(folder: Path) -> bool:
    """Return whether a folder is hidden and no `.work`, where a command leaves its own files."""
    return is_hidden(folder) and folder.name != ".work"


def others_words(others: Mapping[str, int]) -> str:
    """Return the sentence that says what was not taken for a video, "" where there is nothing."""
    if not (count := sum(others.values())):
        return ""
    kinds = sorted(others, key=lambda kind: (kind != HIDDEN, -others[kind], kind))
    names = {HIDDEN: "hidden or in a recycle bin", "": "no suffix"}
    message = ", ".join(f"{names.get(kind, kind)} {others[kind]}" for kind in kinds[:5])
    files, are = ("file", "is") if count == 1 else ("files", "are")
    hidden = "hidden, thrown away or " if HIDDEN in others else ""
    return (
        f"{count} other {files} in the source folder {are} {hidden}not named like videos "
        f"({message}{', …' if len(kinds) > 5 else ''})"
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
