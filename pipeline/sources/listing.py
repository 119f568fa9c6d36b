"""The contents of a source folder, as rows of the manifest. No file is opened yet."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.contract.segment import is_hidden_name
from pipeline.media.formats import VIDEO_SUFFIXES
from pipeline.sources.manifest import Row, stem_of

HIDDEN = "hidden"
"""Key for files that are hidden or in a recycle bin, among the counted suffixes.

It cannot be confused with a suffix, because every suffix begins with a dot.
"""


@dataclass(frozen=True)
class AnnotationFiles:
    """How the files of one kind of annotation are named: `<name of the video><suffix>`.

    Args:
        home: the default folder, beside the videos.
        suffix: of the file; "" if an annotation is a folder.
        any_camera: whether one file may be for all cameras of a dance, with an AIST++ name.
    """

    home: str
    suffix: str
    any_camera: bool = False


@dataclass(frozen=True)
class Listing:
    """The rows, and the two folders to which their `path` and `motion` are relative.

    `note` says which form of the data set was found, "" if it has only one. `notes` are further
    sentences about the inputs, for the report. `others` counts, by suffix, the files in the folder
    that have no video suffix. Files that are hidden or in a recycle bin are counted under HIDDEN,
    whatever their suffix is.
    """

    root: Path
    motion_root: Path
    rows: Sequence[Row]
    note: str = ""
    others: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


def source_files(root: Path) -> tuple[list[Path], Counter[str]]:
    """Return the sorted paths with a video suffix, relative to `root`, and count the other files.

    The count is by suffix in lower case, and under HIDDEN for files that are hidden or in a recycle
    bin. A path that is not a readable file (a broken link) is also returned, so that the report
    lists it.
    """
    names, others = source_names(root)
    return list(map(Path, names)), others


def source_names(root: Path) -> tuple[list[str], Counter[str]]:
    """Return the same as `source_files`, but the paths as text, which takes a third of the memory.

    They are in the order of Path objects: a folder comes before a longer name.
    """
    found: list[str] = []
    others: Counter[str] = Counter()
    for here, folders, files in walk(root):
        for name in filter(_is_aside, folders):
            others[HIDDEN] += sum(len(names) for _, _, names in os.walk(root / here / name))
        inside = "" if here == Path() else f"{here.as_posix()}/".replace("/", "\0")
        for name in files:
            if is_hidden_name(name):
                others[HIDDEN] += 1
            elif (suffix := name[len(stem_of(name)) :].lower()) in VIDEO_SUFFIXES:
                found.append(f"{inside}{name}")
            else:
                others[suffix] += 1
    found.sort()
    for at, text in enumerate(found):
        found[at] = text.replace("\0", "/")
    return found, +others


def walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder under `root`, relative to it, with the names of its sub-folders and files.

    Hidden folders and recycle bins are named, but not entered. Links to folders are followed, but
    each real folder is visited only once. A folder that cannot be read raises OSError. Otherwise
    its videos would disappear from the data set, and so would the results of an earlier build for
    them.
    """
    seen: set[str] = set()
    for folder, names, files in os.walk(root, onerror=_refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        yield Path(folder).relative_to(root), sorted(names), files
        names[:] = sorted(name for name in names if not is_hidden_name(name))


def home(source: Path, names: Iterable[str]) -> Path:
    """Return the common folder of the listed videos: `source`, or its sub-folder `videos`."""
    videos = source / "videos"
    listed = by_name(source_files(source)[0] if videos.is_dir() else (), names)
    beside = any(path.parts[0] != "videos" for paths in listed.values() for path in paths)
    return videos if videos.is_dir() and not beside else source


def by_name(
    paths: Iterable[Path], names: Iterable[str], whole: bool = False
) -> dict[str, list[Path]]:
    """Return which of `paths` have each of `names`, in any sub-folder; the best match is first.

    Upper and lower case are ignored. The suffix is ignored too, unless `whole` is True. The best
    match is spelled exactly like the name; among equals, it is an .mp4 file, then the least deep
    path.
    """

    def name_of(path: Path) -> str:
        return path.name if whole else path.stem

    wanted = {name.lower(): name for name in names}
    found: dict[str, list[tuple[bool, bool, int, Path]]] = defaultdict(list)
    for path in paths:
        if (name := wanted.get(name_of(path).lower())) and not utf8(path)[1]:
            other = (name_of(path) != name, path.suffix != ".mp4" and not whole, len(path.parts))
            found[name].append((*other, path))
    return {name: [path for *_, path in sorted(same)] for name, same in found.items()}


def annotation_paths(root: Path, kind: AnnotationFiles | None) -> list[Path]:
    """Return the candidates for annotations under `root`: files with the suffix, or folders."""
    found: list[Path] = []
    if kind is None:
        return found
    for here, folders, files in walk(root):
        names = files if kind.suffix else folders
        found += [here / name for name in names if not is_hidden_name(name)]
    return [path for path in found if not kind.suffix or path.suffix.lower() == kind.suffix]


def twice(found: Mapping[str, Sequence[Path]], what: str) -> list[str]:
    """Return one sentence, in a list, about names that several files have; [] if there are none."""
    groups = [paths for _, paths in sorted(found.items()) if len(paths) > 1]
    if not groups:
        return []
    message = "; ".join(f"{paths[0]} is used, not {paths[1]}" for paths in groups[:3])
    more = "; …" if len(groups) > 3 else ""
    return [f"{what} that are in the folder more than once: {len(groups)} ({message}{more})"]


def _is_aside(folder: str) -> bool:
    """Return whether a folder is hidden and not `.work`, the folder of the commands' own files."""
    return is_hidden_name(folder) and folder != ".work"


def others_words(others: Mapping[str, int]) -> str:
    """Return a sentence about the files that do not count as videos, "" if there are none."""
    if not (count := sum(others.values())):
        return ""
    kinds = sorted(others, key=lambda kind: (kind != HIDDEN, -others[kind], kind))
    names = {HIDDEN: "hidden or in a recycle bin", "": "no suffix"}
    message = ", ".join(f"{names.get(kind, kind)} {others[kind]}" for kind in kinds[:5])
    files, are = ("file", "is") if count == 1 else ("files", "are")
    hidden = "hidden, in a recycle bin or " if HIDDEN in others else ""
    return (
        f"{count} other {files} in the source folder {are} {hidden}not named like videos "
        f"({message}{', …' if len(kinds) > 5 else ''})"
    )


def _refuse(error: OSError) -> None:
    raise OSError(
        f"{error.filename}: this folder cannot be read ({error.strerror}), so its videos "
        "would be missing; make it readable, or move it out of --source"
    ) from None


def utf8(path: Path | str) -> tuple[str, str]:
    """Return a path as text, and its outcome code: `bad_name` if it is not UTF-8, otherwise ""."""
    text = str(path)
    try:
        text.encode()
        return text, ""
    except UnicodeEncodeError:
        return os.fsencode(text).decode("utf-8", "backslashreplace"), "bad_name"
