"""Dances with their notes, as families of notes learn from them: whole clips, in memory.

Symbols: T motion frames, J joints, C coordinates, N notes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from model.contract.segment import MOTION
from model.data.notes import read_notes
from model.data.pieces import runs
from model.data.reader import member, meta_of, song_of
from model.data.source import Segments, Source
from model.measures.skeleton import joints_of


@dataclass(frozen=True)
class NoteClip:
    """Consecutive segments of one video, joined.

    `joints` (T, J, C) float32 and `seen` (T, J) bool are those of `model.measures.skeleton`, or
    None without motion. `notes` (N, 7) float64 have the columns of `NOTE_COLUMNS`, in seconds from
    the clip's start; None if they are what is asked for.
    """

    name: str
    song: str
    seconds: float
    joints: np.ndarray | None = None
    seen: np.ndarray | None = None
    fps: float = 0.0
    notes: np.ndarray | None = None
    genre: str = ""

    def since(self, start_s: float) -> NoteClip:
        """Return the rest of the clip from a time on; notes that began before it are left out."""
        first = round(start_s * self.fps)
        notes = self.notes
        if notes is not None:
            notes = notes[notes[:, 0] >= start_s - 1e-9].copy()
            notes[:, 0] -= start_s
        return replace(
            self,
            seconds=self.seconds - start_s,
            joints=None if self.joints is None else self.joints[first:],
            seen=None if self.seen is None else self.seen[first:],
            notes=notes,
        )


@dataclass(frozen=True)
class NoteClips:
    """The clips of a split. `places` has, for each segment's key, its clip and its start in it."""

    clips: list[NoteClip]
    places: Mapping[str, tuple[int, float]]

    def at(self, key: str) -> NoteClip:
        """Return what follows in a segment's clip from the segment's start on."""
        clip, start_s = self.places[key]
        return self.clips[clip].since(start_s)


def dance_of(
    name: str, motion: np.ndarray, seconds: float, song: str = "", genre: str = ""
) -> NoteClip:
    """Return a dance without notes, from its motion (T, D) in any layout."""
    joints, seen = joints_of(motion)
    fps = len(motion) / seconds
    return NoteClip(name, song, seconds, joints.astype(np.float32), seen, fps, genre=genre)


def read_note_clips(source: Segments, notes_id: str | None) -> NoteClips:
    """Return all clips of a split with their notes; with None for `notes_id`, without notes.

    Joints and notes are held in memory.

    Raises ValueError, with advice, if the data set does not have these notes.
    """
    clips: list[NoteClip] = []
    places: dict[str, tuple[int, float]] = {}
    for part in source.sources:
        _add_clips(part, notes_id, clips, places)
    return NoteClips(clips, places)


def _add_clips(
    source: Source,
    notes_id: str | None,
    clips: list[NoteClip],
    places: dict[str, tuple[int, float]],
) -> None:
    """Add the clips of one data set's split, and the places of its segments in them."""
    dataset = source.dataset
    found = None
    if notes_id is not None:
        found = dict(read_notes(source.root, dataset, source.split, notes_id))
    videos: dict[str, list[tuple[dict[str, Any], tuple[str, np.ndarray]]]] = {}
    for number in range(len(source.shards)):
        for raw in source.raw(number):
            meta = meta_of(raw, raw["__url__"])
            motion = member(raw, MOTION, dataset.fields, raw["__url__"])
            videos.setdefault(meta["video_id"], []).append((meta, (raw["__key__"], motion)))
    for video_id, rows in sorted(videos.items()):
        for part in runs(sorted(rows, key=lambda row: row[0]["segment"])):
            starts = [i * dataset.seconds for i in range(len(part))]
            keys = [key for _, (key, _) in part]
            for key, at in zip(keys, starts, strict=True):
                places[source.label + key] = len(clips), at
            meta, motion = part[0][0], np.concatenate([motion for _, (_, motion) in part])
            dance = dance_of(
                f"{source.label}{video_id}/{meta['segment']}", motion, len(part) * dataset.seconds,
                song_of(meta), str(meta.get("genre") or ""),
            )  # fmt: skip
            if found is None:
                clips.append(dance)
                continue
            each = []
            for key, at in zip(keys, starts, strict=True):
                moved = found[key].astype(np.float64)
                moved[:, 0] += at
                each.append(moved)
            clips.append(replace(dance, notes=np.concatenate(each)))
