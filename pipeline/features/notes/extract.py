"""`pipeline notes`: find the notes of every segment's music and write them to separate tars.

The unit of work is all segments of one video in a tar. Its notes are stored under the hash of what
they are made from, so a stopped run continues where it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from model.contract.dataset import Dataset, Notes, load_dataset, save_dataset
from model.contract.notes import DRUM_PROGRAM, NOTES, check_notes, notes_in
from model.contract.segment import META, WAV
from model.contract.shards import check_whole, npy_bytes, read_npy, read_shard
from pipeline.engine.base import Engine, LocalEngine
from pipeline.engine.ledger import Ledger, result_key
from pipeline.engine.time_limit import ITEM_LIMIT_S
from pipeline.features.notes.base import NoteSource
from pipeline.features.notes.video import VideoNotes
from pipeline.features.per_video import (
    Results,
    collected,
    lost,
    read_spans,
    reasons,
    tried,
    video_spans,
    write_tars,
)


def extract_notes(
    root: Path,
    source: NoteSource,
    engine: Engine | None = None,
    limit_s: float = ITEM_LIMIT_S,
    allow_missing: bool = False,
) -> NotesMade:
    """Write `notes/<source>/*.tar` for every shard, list them in dataset.json, and count them.

    One video may take `limit_s` seconds (0: no limit). If the notes of some videos cannot be had,
    those of the others are stored in the ledger and no tar is written; with `allow_missing`, the
    windows of these videos are written without notes, and the entry lists the videos.

    Raises FileNotFoundError or ValueError if the user must change something. Raises OSError after
    all videos were tried if some failed, and at once if nothing can be written.
    """
    dataset = load_dataset(root)
    source = source.ready(dataset)
    jobs = {}
    for shard in (shard for shards in dataset.splits.values() for shard in shards):
        check_whole(root / shard.name, shard)
        jobs[shard.name] = videos_of(root / shard.name, dataset)
    stage = FindNotes(source, dataset.seconds, root.resolve() / ".work" / "results", limit_s)
    todo = [video for videos in jobs.values() for video in videos]
    done = (engine or LocalEngine()).run([stage], todo, lost)
    results, failed = collected(done, "notes", len(todo), _failures)
    may_miss = allow_missing and not any(v.outcome.retryable for v in failed if v.outcome)
    if failed and (not may_miss or len(failed) == len(todo)):
        raise OSError(_failures(failed, len(todo)))
    entry = Notes(source.name, source.note, sorted({video.video_id for video in failed}))
    folder = root / "notes" / source.name
    entry.splits = write_tars(folder, dataset, lambda name: _members(stage, jobs[name], results))
    dataset.notes[source.name] = entry
    save_dataset(root, dataset)
    counts = np.array([*_counts(folder, entry)]).reshape(-1, 2)
    pitched, drums = (int(count) for count in counts.sum(0))
    empty = int((counts.sum(1) == 0).sum())
    return NotesMade(entry, len(counts), pitched, drums, empty, tuple(failed), len(todo))


def _counts(folder: Path, entry: Notes) -> Iterator[tuple[int, int]]:
    """Yield how many pitched notes and drums each written window has."""
    for shard in (shard for shards in entry.splits.values() for shard in shards):
        for _, members in read_shard(folder / shard.name):
            drums = int((read_npy(members[NOTES])[:, 4] == DRUM_PROGRAM).sum())
            yield len(read_npy(members[NOTES])) - drums, drums


def videos_of(path: Path, dataset: Dataset) -> list[VideoNotes]:
    """Return the videos of a tar in order, with what their metadata says of time and song.

    Raises ValueError, with the file and segment, for an invalid tar or metadata.
    """
    sounds = {video.keys: video.spans for video in video_spans(path)}
    videos = []
    for found in video_spans(path, META):
        metas = []
        for key, data in zip(found.keys, read_spans(path, found.spans), strict=True):
            try:
                meta = json.loads(data)
                metas.append((float(meta["start_s"]), float(meta.get("gain", 1.0)), meta["song"]))
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                raise ValueError(
                    f"{path}: {key}.{META}: no valid metadata ({error!r:.80}); build it again"
                ) from None
        starts_s, gains, songs = zip(*metas, strict=True)
        spans = sounds[found.keys] if WAV in dataset.fields else ()
        song = str(songs[0] or "")
        videos.append(
            VideoNotes(path, found.keys, spans, song=song, starts_s=starts_s, gains=gains)
        )
    return videos


@dataclass(frozen=True)
class NotesMade:
    """The notes of a data set that were written: how many, and of which videos there are none.

    `pitched` and `drums` count notes, `empty` the windows without any. `failed` has the videos
    whose notes could not be had, with the reasons.
    """

    entry: Notes
    segments: int
    pitched: int
    drums: int
    empty: int
    failed: tuple[VideoNotes, ...]
    videos: int

    def lines(self) -> list[str]:
        lines = [
            f"notes of {self.segments} segments: {self.pitched} pitched, {self.drums} of drums; "
            f"{self.empty} segments have none"
        ]
        if self.failed:
            advice = "their windows are stored without notes (--allow-missing)"
            lines.append(_failures(self.failed, self.videos, advice))
        return [*lines, f"NOTE {self.entry.note}"]


@dataclass
class FindNotes:
    """Finds and stores the notes of videos, from one source."""

    source: NoteSource
    window_s: float
    results: Path
    limit_s: float = ITEM_LIMIT_S
    name: str = "notes"
    batch: int = 8
    gpus: float = 0.0

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.results)

    def setup(self) -> None:
        """Do nothing: a source loads what it needs for the first video."""

    def __call__(self, items: list[VideoNotes]) -> list[VideoNotes]:
        return [tried(video, "notes", partial(self._find, video), self.limit_s) for video in items]

    def _find(self, video: VideoNotes) -> str:
        """Find and store a video's notes, unless they are stored; return their key."""
        config = {"from": self.source.name, "starts_s": video.starts_s, "window_s": self.window_s}
        key = result_key(self.source.content(video), "notes", config, self.source.version)
        if self.ledger.read("notes", key) is None:
            notes = self.source.notes(video, self.window_s)
            windows = [notes_in(notes, start_s, self.window_s) for start_s in video.starts_s]
            for window in windows:
                check_notes(window, self.window_s)
            arrays = {"notes": np.concatenate(windows), "counts": np.array([*map(len, windows)])}
            self.ledger.write("notes", key, arrays, {})
        return key


def _members(
    stage: FindNotes, videos: Sequence[VideoNotes], results: Results
) -> Iterator[tuple[str, dict[str, bytes]]]:
    for video in videos:
        windows = [np.zeros((0, 7), np.float32)] * len(video.keys)
        if result := results[video.shard.name, video.keys]:
            found = stage.ledger.read("notes", result)
            if found is None:  # damaged on the disk, or taken away
                raise OSError(
                    f"{video.keys[0]}: its stored notes are gone; run the same command again"
                )
            windows = np.split(found.arrays["notes"], np.cumsum(found.arrays["counts"])[:-1])
        for key, window in zip(video.keys, windows, strict=True):
            yield key, {NOTES: npy_bytes(window)}


def _failures(failed: Sequence[VideoNotes], total: int, advice: str = "") -> str:
    """Return a message: how many of `total` videos failed, some of the reasons, and what to do."""
    ends = [(video.video_id, video.outcome) for video in failed if video.outcome]
    if not advice:
        advice = "run the same command again: it continues with the missing videos"
        if any(end.code == "no_room" for _, end in ends):
            advice = "free disk space at --shards and run the same command again"
        elif not all(end.retryable for _, end in ends):
            advice = "correct these files, and run the same command again"
            if len(failed) < total:
                advice += ", or go on without their notes: --allow-missing"
    return f"no notes of {len(failed)} of {total} videos: {reasons(ends)}; {advice}"
