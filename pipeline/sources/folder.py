"""Any folder of videos, or one video."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from pipeline.sources.aist import motion_name
from pipeline.sources.listing import (
    Listing,
    annotations,
    by_name,
    others_words,
    source_files,
    twice,
    utf8,
)
from pipeline.sources.manifest import Row, video_id


def list_folder(source: Path, motion: str, motion_dir: Path | None = None) -> Listing:
    """List every video under `source` (or `source` itself), all in split `train`.

    Annotations are looked for by the video's path, or by its name where no other has that, in
    `motion_dir`; without it in the folder's `motions` (or `openpose`), beside it, and in the folder
    itself; and where no other video has its name, anywhere under that folder, whatever the case.
    SMPL: `<name>.pkl`, or with `cAll` for the camera as AIST++ names them. OpenPose: a folder
    `<name>` of JSON files.

    Raises FileNotFoundError where there is no such folder or no video in it, OSError where a folder
    in it cannot be read.
    """
    if source.is_file():
        root, paths, others = source.parent, [Path(source.name)], {}
    elif source.is_dir():
        root = source
        paths, others = source_files(source)
    else:
        raise FileNotFoundError(f"--source {source}: no such folder or video")
    if not paths:
        words = others_words(others) or "put videos there, or name another folder"
        raise FileNotFoundError(f"--source {source}: no video in it; {words}")
    home = "openpose" if motion == "openpose" else "motions"
    places = [motion_dir] if motion_dir else [root / home, root.parent / home, root]
    motion_root = next((p for p in places if p.is_dir()), root)
    stems = Counter(path.stem for path in paths)
    rows, lost = [], {}
    for path in paths:
        text, ended = utf8(path)
        names = _annotations(path, motion, stems[path.stem] == 1) if not ended else []
        found = next((name for name in names if (motion_root / name).exists()), "")
        annotation = found or (names or [""])[0]
        rows.append(Row(video_id(path), text, motion=annotation, known_code=ended))
        if names and not found and stems[path.stem] == 1:
            lost[text] = {Path(name).name for name in names}
    notes: list[str] = []
    if lost and (motion_dir or source.is_dir()):
        wanted = {name for names in lost.values() for name in names}
        astray = by_name(annotations(motion_root, motion), wanted, whole=True)
        for k, row in enumerate(rows):
            there = sorted(lost.get(row.path, set()) & astray.keys())
            if there:
                rows[k] = replace(row, motion=astray[there[0]][0].as_posix())
        notes = twice(astray, "annotations")
    return Listing(root, motion_root, rows, others=others, notes=notes)


def _annotations(path: Path, motion: str, alone: bool) -> list[str]:
    """Return where a video's annotation may lie: by its path, and by its name if `alone`."""
    names = [path.with_suffix("")] + ([Path(path.stem)] if alone else [])
    if motion == "openpose":
        return [name.as_posix() for name in names]
    if not motion.startswith("smpl"):
        return []
    plain = [f"{name.as_posix()}.pkl" for name in names]
    return plain + [(name.parent / motion_name(name.name)).as_posix() for name in names]
