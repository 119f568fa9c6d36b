"""AIST++: the AIST Dance Video Database with the AIST++ annotations, in their published layout.

The videos have the file names of AIST (https://aistdancedb.ongaaccel.jp). The annotations are those
of AIST++ (https://google.github.io/aistplusplus_dataset). `pipeline fetch --dataset aist` fetches
both. `videos/*.mp4` and `motions/*.pkl` may be in one folder, or in any of its sub-folders, as the
archives unpack.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, TypeVar

import manifests
from model.contract.options import option
from model.contract.segment import SPLITS
from pipeline.arguments import UsageError, local
from pipeline.sources.base import Source
from pipeline.sources.listing import (
    AnnotationFiles,
    Listing,
    annotation_paths,
    by_name,
    home,
    source_files,
    twice,
    utf8,
)
from pipeline.sources.manifest import Row, video_id
from pipeline.sources.tables import csv_rows

_NAME = re.compile(
    r"^g(?P<genre>[A-Z]{2})_s[A-Z]{2}_(?P<camera>c\d\d|cAll)"
    r"_(?P<dancers>d\d\d(?:-d\d\d)*)_(?P<song>m[A-Z]{2}\d+)_ch\d\d$"
)
T = TypeVar("T")
_HELP = (
    "run pipeline fetch --dataset aist --out DIR, or put the AIST videos "
    "(https://aistdancedb.ongaaccel.jp) into DIR/videos and the AIST++ motions "
    "(https://google.github.io/aistplusplus_dataset) into DIR/motions; then --source DIR"
)
HOME = Path("data/aist")
"""The default folder, of a build and of `pipeline fetch`."""
CAMERAS = tuple(f"c{n:02d}" for n in range(1, 10))
"""The nine cameras of AIST; the published split lists the videos of the first one."""
KINDS = ("motions", "keypoints2d", "keypoints3d")
"""Folders of AIST++'s annotations, one file for each dance. The file names are the same in all."""
NOT_IN_SYNC = "gBR_sBM_c05_d04_mBR0_ch01"
"""The video that AIST++'s own code leaves out, as not synchronous with the other cameras."""
IGNORE_LIST = Path(manifests.__path__[0]) / "aist_ignore_list.txt"
"""The dances that AIST++ advises to ignore.

28 of them are in the training part of the published split.
"""
PUBLISHED, TEXTUAL_INVERSION = "published", "textual-inversion"
SPLITS_BY_NAME = {PUBLISHED: "aist", TEXTUAL_INVERSION: "aist_textual_inversion"}
"""The lists in manifests/ that `--split` chooses from.

`published` is that of D2M-GAN. `textual-inversion` is that of Li et al., "Dance-to-music generation
with encoder-based textual inversion" (SIGGRAPH Asia 2024, arXiv 2401.17800), taken from the
metadata in github.com/kmraven/AudioLDM-ControlNet, which uses the clips that the authors share. Its
`segments` counts clips of 5.12 s: those of a video are its first ones, without a gap. The videos
and their splits are the same in both lists. For each video, `segments` is the length of its dance
(16 or 64 beats at the tempo of its song) in clips, rounded to the nearest integer: a listed last
clip may be shorter than 5.12 s, down to half of it.
"""
CLIP_S = "5.12"
"""The length of the clips of TEXTUAL_INVERSION, in seconds."""


@dataclass(frozen=True)
class Aist(Source):
    """AIST++ in its published layout and published split (default folder data/aist)."""

    name: ClassVar[str] = "aist"
    DEFAULT_MOTION: ClassVar[str] = "smpl"

    cameras: Sequence[str] = option(
        CAMERAS[:1],
        "aist: cameras whose videos are inputs, c01 to c09 (default c01, as published)",
        nargs="+",
        choices=CAMERAS,
        metavar="CAMERA",
    )
    split: str = option(
        PUBLISHED,
        "aist: the list that says which videos are in which split: published (default, D2M-GAN's), "
        f"or {TEXTUAL_INVERSION} (that of Li et al., clips of {CLIP_S} s)",
        choices=tuple(SPLITS_BY_NAME),
    )
    ignore_list: Path | None = option(
        None,
        "aist: leave out the dances that AIST++ advises to ignore, or those listed in FILE",
        type=local,
        nargs="?",
        const=IGNORE_LIST,
        metavar="FILE",
    )

    @property
    def usual_window_s(self) -> str:
        return CLIP_S if self.split == TEXTUAL_INVERSION else super().usual_window_s

    def check_window(self, window_s: Fraction) -> None:
        if self.split == TEXTUAL_INVERSION and window_s != Fraction(CLIP_S):
            raise UsageError(
                f"--window-s {float(window_s):g}: --split {TEXTUAL_INVERSION} lists clips of "
                f"{CLIP_S} s; leave --window-s out, or use --split {PUBLISHED}"
            )

    def list(
        self,
        files: AnnotationFiles | None = None,
        annotations_dir: Path | None = None,
        limit: int | None = None,
    ) -> Listing:
        name = SPLITS_BY_NAME[self.split]
        root, split = self.source or HOME, by_camera(official_split(name), self.cameras)
        listing = list_aist(root, split, files, annotations_dir, self.ignore_list)
        if self.split == PUBLISHED:
            return listing
        counts = by_camera(listed_segments(name), self.cameras)
        rows = [
            replace(row, listed_segments=counts[row.video_id]) if row.split else row
            for row in listing.rows
        ]
        note = (
            f"--split {self.split}: {sum(counts.values())} clips of {CLIP_S} s are listed, of "
            f"{len(counts)} videos; the last one of a video may be shorter in the list (from half "
            "its length on), and is not made then"
        )
        return replace(listing, rows=rows, notes=[*listing.notes, note])


def official_split(name: str) -> dict[str, str]:
    """Return video id → split of a published list: the name of its file in manifests/."""
    return {video: row["split"] for video, row in published(name).items()}


def listed_segments(name: str) -> dict[str, int]:
    """Return video id → number of segments of a published list: the first ones of each video."""
    return {video: int(row["segments"]) for video, row in published(name).items()}


def by_camera(split: Mapping[str, T], cameras: Sequence[str]) -> dict[str, T]:
    """Return video id → value for the dances of `split` as each of the cameras saw them.

    All videos of a dance have its motion, its song and its split.
    """
    return {
        of_camera(name, camera): value
        for name, value in split.items()
        for camera in dict.fromkeys(cameras)
    }


def published(name: str) -> dict[str, dict[str, str]]:
    """Return video id → `split`, `song_id` and `segments` of a published list.

    Raises ValueError, with the file's name, if the file was changed and is invalid.
    """
    path = Path(manifests.__path__[0]) / f"{name}.csv"
    found = {}
    for where, row in csv_rows(path, ("video_id", "split", "song_id", "segments")):
        if not re.fullmatch(r"[A-Za-z0-9_\-]+", row["video_id"]) or row["split"] not in SPLITS:
            raise ValueError(f"{where}: invalid video id, or split other than {', '.join(SPLITS)}")
        if not re.fullmatch(r"[1-9]\d{0,5}", row["segments"]):
            raise ValueError(f"{where}: segments is {row['segments']!r:.80}, expected 1 or more")
        found[row["video_id"]] = row
    return found


def list_aist(
    source: Path,
    membership: Mapping[str, str],
    motion: AnnotationFiles | None,
    motion_dir: Path | None = None,
    ignore_list: Path | None = None,
) -> Listing:
    """List every video that `membership` names and every other video in the folder.

    Videos and motions are found by name in any sub-folder, ignoring upper and lower case. All of
    them are counted, some with an outcome that is known already: `missing_file` for a listed video
    that is not there, `not_in_split` for a video that is not listed, `same_name` for another file
    of a listed video, and `ignored` for a video whose dance is in `ignore_list`.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such folder; {_HELP}")
    root = home(source, membership)
    paths, others = source_files(root)
    files = by_name(paths, membership)
    if not files:
        raise FileNotFoundError(f"{root}: none of the {len(membership)} listed videos; {_HELP}")
    motion_root = motion_dir or source
    wanted = {_annotation(name, motion) for name in membership}
    motions = by_name(_candidates(motion_root, motion), wanted, whole=True)
    advice = _advice(source, ignore_list)
    ignored = read_ignore_list(advice)
    rows = []
    for name, split in membership.items():
        one = row(name, str(files[name][0]) if name in files else f"{name}.mp4", split, motion)
        if one.motion in motions:
            one = replace(one, motion=str(motions[one.motion][0]))
        if ignore_list and dance(name) in ignored:
            one = replace(one, known_code="ignored")
        rows.append(one)
    rows += further(files, paths)
    notes = twice(files, "listed videos") + twice(motions, "motions")
    known = sum(dance(name) in ignored for name in files)
    if ignore_list and advice != ignore_list:
        notes.append(f"--ignore-list: {advice}, {len(ignored)} dances")
    elif known and not ignore_list:
        notes.append(
            f"{known} of {len(files)} listed videos here are of dances that AIST++ advises to "
            "ignore; they are used, because the published split contains them (--ignore-list "
            "leaves them out)"
        )
    dances = {dance(name) for name in membership}
    others_seen = {
        row.video_id
        for row in rows
        if row.known_code == "not_in_split" and dance(Path(row.path).stem) in dances
    }
    if others_seen:
        notes.append(
            f"videos of listed dances from other cameras: {len(others_seen)}; they are left out "
            "(--cameras c01 c02 … names the cameras to use)"
        )
    if NOT_IN_SYNC in files:
        notes.append(f"{NOT_IN_SYNC}: AIST++'s own code leaves it out as not in sync")
    # Other cameras come last: a build with a limit takes its first rows.
    rows.sort(key=lambda row: (row.video_id in others_seen, row.video_id))
    return Listing(root, motion_root, rows, others=others, notes=notes)


def _candidates(root: Path, kind: AnnotationFiles | None) -> list[Path]:
    """Return the annotations under `root` that are not in the folder of another kind."""
    others = set(KINDS) - {kind.home if kind else ""}
    return [path for path in annotation_paths(root, kind) if not others & set(path.parts[:-1])]


def _advice(source: Path, ignore_list: Path | None) -> Path:
    """Return the list of dances to ignore: the user's, the publishers' in the folder, or ours."""
    fetched = source / "ignore_list.txt"
    if ignore_list in (None, IGNORE_LIST) and fetched.is_file():
        return fetched
    return ignore_list or IGNORE_LIST


def further(files: Mapping[str, Sequence[Path]], paths: Sequence[Path]) -> list[Row]:
    """Return rows for the videos in a folder that are not used for a listed video."""
    first = {same[0] for same in files.values()}
    named = {path: name for name, same in files.items() for path in same[1:]}
    rows = []
    for path in (path for path in paths if path not in first):
        text, _ = utf8(path)
        if name := named.get(path):
            why = f"{files[name][0]} is used for the listed {name}; remove or rename one of them"
            rows.append(Row(video_id(path), text, split="", known_code="same_name", why=why))
        else:
            rows.append(row(video_id(path), text, "", None))
    return rows


def read_ignore_list(path: Path) -> frozenset[str]:
    """Return the dances that a list names, one per line, as in AIST++'s ignore_list.txt.

    Raises ValueError, with the line, for a name that is not an AIST name, and OSError if there is
    no such file.
    """
    names = set()
    for number, line in enumerate(path.read_bytes().decode(errors="replace").splitlines(), 1):
        if (name := line.partition("#")[0].strip()) and not _NAME.match(name):
            raise ValueError(
                f"{path}, line {number}: {name!r:.80} is no name of an AIST dance; expected names "
                "like gBR_sBM_cAll_d04_mBR0_ch01, one per line"
            )
        names |= {dance(name)} if name else set()
    return frozenset(names)


def dance(name: str) -> str:
    """Return the name of a dance, which the videos of all its cameras share."""
    return re.sub(r"_c\d\d_", "_cAll_", name, count=1)


def of_camera(name: str, camera: str) -> str:
    """Return the name of the video of a dance as this camera saw it."""
    return re.sub(r"_c(\d\d|All)_", f"_{camera}_", name, count=1)


def row(name: str, path: str, split: str, motion: AnnotationFiles | None) -> Row:
    """Return the row of a video. An AIST name states the genre, song and dancers."""
    match = _NAME.match(name)
    return Row(
        video_id=name,
        path=path,
        split=split,
        song=match["song"] if match else "",
        genre=match["genre"] if match else "",
        dancers=tuple(match["dancers"].split("-")) if match else (),
        motion=_annotation(name, motion),
        known_code="" if split else "not_in_split",
    )


def _annotation(name: str, kind: AnnotationFiles | None) -> str:
    """Return the file name of a video's annotation, "" if `kind` is None."""
    if kind is None:
        return ""
    return f"{dance(name) if kind.any_camera else name}{kind.suffix}"
