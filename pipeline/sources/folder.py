"""Any folder of videos, or one video."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from pipeline.arguments import UsageError
from pipeline.sources.aist import dance
from pipeline.sources.base import Source
from pipeline.sources.listing import (
    AnnotationFiles,
    Listing,
    annotation_paths,
    by_name,
    others_words,
    source_names,
    twice,
    utf8,
)
from pipeline.sources.manifest import Row, stem_of, video_id
from pipeline.sources.rows import Rows, repeated


@dataclass(frozen=True)
class Folder(Source):
    """Any folder of videos, or one video; all in split `train`."""

    name: ClassVar[str] = "folder"

    def check(self) -> None:
        if self.source is None:
            raise UsageError(
                "--dataset folder needs --source DIR (a folder of videos, or one video)"
            )

    def list(
        self,
        files: AnnotationFiles | None = None,
        annotations_dir: Path | None = None,
        limit: int | None = None,
    ) -> Listing:
        assert self.source is not None, "`check` raises without it"
        return list_folder(self.source, files, annotations_dir)


def list_folder(
    source: Path, motion: AnnotationFiles | None = None, motion_dir: Path | None = None
) -> Listing:
    """List every video under `source` (or `source` itself), all in split `train`.

    Annotations are searched in `motion_dir`. Without it, they are searched in the first of these
    folders that exists: the folder of this kind (`motion.home`) inside the video folder, the same
    beside the video folder, the video folder itself.

    There, an annotation is found by the path of its video. If no other video has the same name, it
    is also found by this name, in any sub-folder, ignoring upper and lower case. If an annotation
    may be for any camera, its name may contain `cAll` instead of the camera, as in AIST++.

    Raises FileNotFoundError if the folder is missing or contains no video, and OSError if one of
    its sub-folders cannot be read.
    """
    others: Mapping[str, int] = {}
    if source.is_file():
        root, names = source.parent, [source.name]
    elif source.is_dir():
        root = source
        names, others = source_names(source)
    else:
        raise FileNotFoundError(f"--source {source}: no such folder or video")
    if not names:
        advice = others_words(others) or "put videos there, or name another folder"
        raise FileNotFoundError(f"--source {source}: no video in it; {advice}")
    home = motion.home if motion else "motions"
    places = [motion_dir] if motion_dir else [root / home, root.parent / home, root]
    motion_root = next((p for p in places if p.is_dir()), root)
    shared = repeated(lambda: (stem_of(os.path.basename(n)) for n in names)) if motion else set()
    missing: dict[str, set[str]] = {}

    def annotation(name: str, text: str) -> str:
        path = Path(name)
        alone = path.stem not in shared
        wanted = _annotations(path, motion, alone)
        found = next((name for name in wanted if (motion_root / name).exists()), "")
        if wanted and not found and alone:
            missing[text] = {Path(name).name for name in wanted}
        return found or (wanted or [""])[0]

    def listed() -> Iterator[tuple[str, str, str, str]]:
        for name in names:
            text, code = utf8(name)
            yield video_id(name), text, annotation(name, text) if motion and not code else "", code

    rows = Rows.of_columns(("video_id", "path", "motion", "known_code"), listed())
    notes: list[str] = []
    if missing and (motion_dir or source.is_dir()):
        every = {name for wanted in missing.values() for name in wanted}
        elsewhere = by_name(annotation_paths(motion_root, motion), every, whole=True)
        if elsewhere:
            rows = Rows.of(_found_elsewhere(row, missing, elsewhere) for row in rows)
        notes = twice(elsewhere, "annotations")
    return Listing(root, motion_root, rows, others=others, notes=notes)


def _found_elsewhere(
    row: Row, missing: Mapping[str, set[str]], elsewhere: Mapping[str, Sequence[Path]]
) -> Row:
    names = sorted(missing.get(row.path, set()) & elsewhere.keys())
    return replace(row, motion=elsewhere[names[0]][0].as_posix()) if names else row


def _annotations(path: Path, kind: AnnotationFiles | None, alone: bool) -> list[str]:
    """Return the possible paths of an annotation: by path, and also by name if `alone`."""
    if kind is None:
        return []
    names = [path.with_suffix("")] + ([Path(path.stem)] if alone else [])
    if kind.any_camera:
        names += [name.parent / dance(name.name) for name in names]
    return [f"{name.as_posix()}{kind.suffix}" for name in names]
