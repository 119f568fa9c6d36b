"""The clips of a listening test: music of several systems for the same videos, and true music."""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.contract.dataset import load_dataset
from model.contract.segment import SAMPLE_RATE_HZ, split_key
from model.contract.storage import Location
from model.contract.wav import decode_wav
from model.data.clips import Clip as SplitClip
from model.data.clips import read_clips
from model.data.reader import meta_of, pcm_of, read_tar
from model.data.source import Source
from model.evaluation.music_folder import hear
from model.generation.generate import SUMMARY
from model.generation.pipeline_process import has_pipeline
from model.listening.plan import ANCHOR, PARTS, TRUTH
from model.listening.sounds import level

Span = tuple[str, int, int]
"""(video id, first segment, last segment): the part of a video that a piece of music is for."""
SYSTEM_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,39}$")


@dataclass(frozen=True)
class Settings:
    """The settings of a listening test.

    `blocks` is the number of clips of each system that each listener hears in each part; None means
    all clips.
    """

    parts: tuple[str, ...] = PARTS
    clips: int = 10
    blocks: int | None = None
    clip_s: float = 10.0
    checks: int = 2
    raters: int = 100
    seed: int | None = None


@dataclass(frozen=True)
class System:
    """A folder with music: its pieces, and the facts that results must report.

    `pieces` are the rows of generated.json. A folder that another program wrote has none: its rows
    are empty, and `sounds` has the music (N,) of each piece.
    """

    folder: Path
    facts: dict[str, Any]
    pieces: dict[Span, dict[str, Any]]
    sounds: Mapping[Span, np.ndarray] = field(default_factory=dict)

    def music(self, span: Span) -> np.ndarray:
        """Return the music (N,) of a piece."""
        if span in self.sounds:
            return self.sounds[span]
        path = self.folder / self.pieces[span]["file"]
        return decode_wav(path.read_bytes(), str(path))


@dataclass(frozen=True)
class Clip:
    """One piece in the versions of all systems: music (N,) by system's name.

    `start_s` is the time in the mp4 `picture` at which the music starts.
    """

    span: Span
    song: str
    start_s: float
    picture: Path
    music: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        return f"{self.span[0]}_seg{self.span[1]:04d}-{self.span[2]:04d}"


def check_names(folders: dict[str, Path]) -> None:
    if not folders:
        raise ValueError(
            "no system: give --system NAME=DIR, a folder written by model generate, or any folder "
            "of music with files named after the videos"
        )
    for name in folders:
        if not SYSTEM_NAME.match(name) or name in (TRUTH, ANCHOR):
            raise ValueError(
                f"system {name!r}: a name has only letters, digits, space, . _ + - and is neither "
                f"{TRUTH} nor {ANCHOR}, which are part of every set"
            )


def read_systems(folders: Mapping[str, Path], shards: Location, split: str) -> dict[str, System]:
    """Return the systems: folders of `model generate`, and folders that another program wrote.

    In the latter, files are named after the videos or segments of the split, as for `model evaluate
    --music` (`model.evaluation.music_folder`).

    Raises FileNotFoundError or ValueError if a folder has no music, or music that cannot be read.
    """
    made = {name: (folder / SUMMARY).is_file() for name, folder in folders.items()}
    clips = [] if all(made.values()) else read_split(shards, split)
    return {
        name: read_system(name, folder) if made[name] else read_outside(name, folder, clips)
        for name, folder in folders.items()
    }


def read_split(shards: Location, split: str) -> list[SplitClip]:
    """Return the clips of a split with their true music, without codes."""
    return read_clips(Source(shards, load_dataset(shards), split, "", {}, ()))


def read_outside(name: str, folder: Path, clips: Sequence[SplitClip]) -> System:
    """Return the music that a folder has for the clips of a split; errors as `read_systems`."""
    heard = hear(folder, clips)
    if heard.failed:
        raise ValueError(f"system {name!r}: {heard.failed[0]}")
    spans = [(clip.piece.video_id, clip.piece.first, clip.piece.last) for clip in clips]
    sounds = {span: audio for span, audio in zip(spans, heard.audio, strict=True)
              if audio is not None}  # fmt: skip
    if not sounds:
        raise FileNotFoundError(
            f"{folder}: system {name!r} has neither {SUMMARY}, which model generate writes, nor "
            f"music for a video of the split; name its files after the videos, such as "
            f"{spans[0][0]}.wav"
        )
    facts = {
        "folder": str(folder), "codec": None, "step": None, "level": None,
        "labels": heard.notes(name),
    }  # fmt: skip
    return System(folder, facts, {span: {} for span in sounds}, sounds)


def read_system(name: str, folder: Path) -> System:
    """Read generated.json; ValueError if it is invalid, or `name` is that of another level."""
    path = folder / SUMMARY
    try:
        raw = json.loads(path.read_bytes())
        facts = {
            "folder": str(folder),
            **{k: raw.get(k) for k in ("codec", "step", "level")},
            "labels": list(raw.get("labels", [])),
        }
        pieces = {(r["video_id"], *r["segments"]): r for r in raw["generated"]}
        for row in pieces.values():
            if Path(row["file"]).name != row["file"]:
                raise ValueError(f"invalid file name {row['file']!r:.80}")
        for video, *segments in pieces:
            if type(video) is not str or not all(type(number) is int for number in segments):
                raise ValueError(f"invalid piece {video!r:.80}, {segments!r:.80}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: not valid output of model generate ({error!s:.300})") from None
    if name in ("high", "low") and facts["level"] not in (name, None):
        raise ValueError(f"system {name!r}: {path} has level {facts['level']}; rename the system")
    return System(folder, facts, pieces)


def choose_clips(
    shards: Location, split: str, systems: dict[str, System], settings: Settings, rng: random.Random
) -> tuple[list[Clip], Clip, list[str]]:
    """Return the clips, an additional one for practice, and notes; clips alternate over songs.

    If there are only two pieces, the practice clip is one of the test's.
    """
    common = set.intersection(*(set(system.pieces) for system in systems.values()))
    most = max(len(system.pieces) for system in systems.values())
    video = "coherence" in settings.parts
    if video and not has_pipeline():
        raise ValueError(
            "coherence: needs the packages pipeline and av to write mp4; or use --parts quality"
        )
    first = next((s for s in systems.values() if not s.sounds), None)
    pictures: dict[Span, Path] = {}
    if first is not None:
        pictures = {s: (first.folder / first.pieces[s]["file"]).with_suffix(".mp4") for s in common}
    elif video:
        raise ValueError(
            "coherence: the videos are those of a system that model generate has written, and "
            "there is none: add one, or use --parts quality"
        )
    if video:
        common = {span for span in common if pictures[span].is_file()}
    if len(common) < 2:
        need = " with an mp4 beside the first system's wav" if video else ""
        raise ValueError(
            f"{len(common)} pieces of the same segments{need} in all of {', '.join(systems)}; "
            "a test needs at least 2: generate from the same shards and split"
        )
    notes = []
    if len(common) < most:
        notes.append(f"{len(common)} pieces of {most} are common to all systems")
    truth, songs = read_truth(shards, split, common)
    chosen = spread(sorted(common), songs, rng)
    spare = len(chosen) > 2
    count = min(settings.clips, len(chosen) - spare)
    if count < settings.clips:
        kept = "; one more is reserved for practice" if spare else ""
        notes.append(f"only {count} of the {settings.clips} requested clips{kept}")
    if not spare:
        notes.append("too few clips: the practice clip is also a test clip")
    clips = []
    for span in chosen[: count + 1]:
        music = {TRUTH: truth[span]}
        music |= {name: system.music(span) for name, system in systems.items()}
        samples = min(round(settings.clip_s * SAMPLE_RATE_HZ), *(len(a) for a in music.values()))
        music = {name: level(audio[:samples]) for name, audio in music.items()}
        start_s = 0.0
        if video and first is not None:
            start_s = music_start_s(first.folder, first.pieces[span])
        clips.append(Clip(span, songs[span], start_s, pictures.get(span, Path()), music))
    return clips[:count], clips[-1], notes


def music_start_s(folder: Path, piece: dict[str, Any]) -> float:
    """Return the time at which the music starts in the piece's mp4; ValueError if missing."""
    start_s = piece.get("mp4_start_s")
    if not isinstance(start_s, int | float) or not 0 <= start_s < math.inf:
        raise ValueError(
            f"{folder / SUMMARY}: mp4_start_s of {piece['file']} is {start_s!r:.80}, expected the "
            "time at which its music starts in its mp4; run model generate again"
        )
    return float(start_s)


def read_truth(
    shards: Location, split: str, spans: Iterable[Span]
) -> tuple[dict[Span, np.ndarray], dict[Span, str]]:
    """Return the true music (N,) and the song name of each span."""
    dataset = load_dataset(shards)
    wanted = {(v, i): (v, a, b) for v, a, b in spans for i in range(a, b + 1)}
    found: dict[tuple[str, int], np.ndarray] = {}
    songs: dict[Span, str] = {}
    for shard in dataset.splits.get(split, []):
        for raw in read_tar(shards / shard.name):
            place = split_key(raw["__key__"])
            if place in wanted:
                found[place] = pcm_of(raw, dataset.samples, shard.name).astype(np.float32) / 32768
                songs[wanted[place]] = str(meta_of(raw, shard.name).get("song") or place[0])
    if missing := sorted(set(wanted) - set(found)):
        raise ValueError(
            f"{shards}: split {split} lacks segment {missing[0][1]} of {missing[0][0]} and "
            f"{len(missing) - 1} other generated segments; give the shards they were generated from"
        )
    truth = {
        (v, a, b): np.concatenate([found[v, i] for i in range(a, b + 1)])
        for v, a, b in set(wanted.values())
    }
    return truth, songs


def spread(spans: list[Span], songs: dict[Span, str], rng: random.Random) -> list[Span]:
    """Return the spans in random order, but one of each song before the second of any song."""
    rng.shuffle(spans)
    seen: Counter[str] = Counter()
    ranked = []
    for span in spans:
        ranked.append((seen[songs[span]], span))
        seen[songs[span]] += 1
    return [span for _, span in sorted(ranked, key=lambda pair: pair[0])]
