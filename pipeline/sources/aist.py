"""AIST++: the AIST Dance Video Database with AIST++ annotations, in their published layout.

Videos by AIST's names (https://aistdancedb.ongaaccel.jp), annotations by AIST++
(https://google.github.io/aistplusplus_dataset): `videos/*.mp4` and `motions/*.pkl` in one folder;
the annotations may also lie in `aist_plusplus_final/` as their archive unpacks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import manifests
from model.segment import SPLITS
from pipeline.lists import csv_rows
from pipeline.manifest import Row, video_id
from pipeline.sources.listing import Listing, source_files, utf8

_NAME = re.compile(
    r"^g(?P<genre>[A-Z]{2})_s[A-Z]{2}_(?P<camera>c\d\d|cAll)"
    r"_(?P<dancers>d\d\d(?:-d\d\d)*)_(?P<song>m[A-Z]{2}\d)_ch\d\d$"
)
_HELP = (
    "put the AIST videos (https://aistdancedb.ongaaccel.jp) into DIR/videos and the AIST++ motions "
    "(https://google.github.io/aistplusplus_dataset) into DIR/motions, then --source DIR"
)


def official_split(name: str) -> dict[str, str]:
    """Return video id → split of the published lists: `aist` or `tiktok`."""
    return {video: row["split"] for video, row in published(name).items()}


def published(name: str) -> dict[str, dict[str, str]]:
    """Return video id → `split`, `song_id` and `segments` of a published list.

    Raises ValueError, naming the file, where it was changed into something else.
    """
    path = Path(manifests.__path__[0]) / f"{name}.csv"
    found = {}
    for where, row in csv_rows(path, ("video_id", "split", "song_id", "segments")):
        if not re.fullmatch(r"[A-Za-z0-9_\-]+", row["video_id"]) or row["split"] not in SPLITS:
            raise ValueError(f"{where}: no id of a video, or no split of {', '.join(SPLITS)}")
        found[row["video_id"]] = row
    return found


def list_aist(source: Path, membership: Mapping[str, str], motion: str) -> Listing:
    """List every video that `membership` names and every other video in the folder.

    A listed video that is not there ends as `missing_file`, one that is there and not listed as
    `not_in_split`: both are counted.
    """
    root = source / "videos" if (source / "videos").is_dir() else source
    if not root.is_dir():
        raise FileNotFoundError(f"{source}: no such folder; {_HELP}")
    places = [source / "motions", source / "aist_plusplus_final" / "motions", root]
    motion_root = next((p for p in places if p.is_dir()), root)
    paths, others = source_files(root)
    files = {video_id(path): utf8(path)[0] for path in paths}
    if not files.keys() & membership.keys():
        raise FileNotFoundError(f"{root}: none of the {len(membership)} listed videos; {_HELP}")
    rows = [
        row(name, files.get(name, f"{name}.mp4"), membership.get(name, ""), motion)
        for name in sorted(files.keys() | membership.keys())
    ]
    return Listing(root, motion_root, rows, others=others)


def motion_name(name: str) -> str:
    """Return the annotation's file name for a video: all cameras of a dance share one."""
    return re.sub(r"_c\d\d_", "_cAll_", name, count=1) + ".pkl"


def row(name: str, path: str, split: str, motion: str) -> Row:
    """Return the row of a video whose AIST name tells genre, song and dancers."""
    match = _NAME.match(name)
    return Row(
        video_id=name,
        path=path,
        split=split,
        song=match["song"] if match else "",
        genre=match["genre"] if match else "",
        dancers=tuple(match["dancers"].split("-")) if match else (),
        motion=_annotation(name, motion),
        ended="" if split else "not_in_split",
    )


def _annotation(name: str, motion: str) -> str:
    """Return where a kind of motion has a video's annotation, "" for kinds without one."""
    if motion.startswith("smpl"):
        return motion_name(name)
    return name if motion == "openpose" else ""
