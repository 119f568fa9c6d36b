"""Music by any system, to be scored: a folder of files, one for each video, piece or segment.

A file is named after the video, as `model generate` names it, or after a segment as the shards do:
`VIDEO.wav`, `VIDEO_seg0003-0006.wav`, `VIDEO_seg0003.wav`; wav and mp4 (of which the sound counts)
may be beside each other. Each clip of the split ends as scored, missing or failed.

Symbols: N samples at 22 050 Hz.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ, is_hidden, segment_key
from model.data.clips import Clip
from model.data.music_files import SUFFIXES, Sound, read_sound
from model.generation.pipeline_process import take_sounds

FILMS = (".mp4", ".m4a", ".mov", ".mkv", ".webm")
SLACK_S = 0.05
"""Music may be this much shorter than its clip; it is followed by silence."""


@dataclass
class Heard:
    """The music (N,) that a folder has for each clip: None for one that is missing or failed."""

    audio: list[np.ndarray | None] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """An error for each clip whose file cannot be scored."""
    extra: list[str] = field(default_factory=list)
    """Files that belong to no clip of the split."""
    changed: Counter[str] = field(default_factory=Counter)
    """What was done to how many files."""

    @property
    def scored(self) -> list[int]:
        """The numbers of the clips that have music."""
        return [i for i, audio in enumerate(self.audio) if audio is not None]

    def notes(self, name: str) -> list[str]:
        """Return what the results must say about this music."""
        counts = (
            f"{name}: {len(self.audio)} clips = {len(self.scored)} scored + "
            f"{len(self.missing)} missing + {len(self.failed)} failed; other files: "
            f"{len(self.extra)}"
        )
        changed = "; ".join(f"{count} {what}" for what, count in sorted(self.changed.items()))
        return [counts, *([f"{name}: {changed}"] if changed else [])]


def hear(folder: Path, clips: Sequence[Clip]) -> Heard:
    """Return the music of a folder for each clip.

    Any rate and number of channels is converted to 22 050 Hz, mono. A file as long as its clip is
    the clip's music; a longer one begins with the video. Raises FileNotFoundError if there is no
    such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give one with music as NAME=FOLDER")
    files = files_of(folder)
    named = [names_of(clip) for clip in clips]
    known = {name for names in named for name in names}
    found = Heard(extra=sorted(path.name for name, path in files.items() if name not in known))
    with tempfile.TemporaryDirectory(prefix="dance2music-") as sounds:
        used = {name: path for name, path in files.items() if name in known}
        failed = take_films(used, Path(sounds))
        for clip, names in zip(clips, named, strict=True):
            try:
                found.audio.append(music_of(clip, names, used, failed, found.changed))
            except LookupError:
                found.audio.append(None)
                found.missing.append(clip.name)
            except (ValueError, OSError) as error:
                found.audio.append(None)
                found.failed.append(str(error))
    return found


def names_of(clip: Clip) -> list[str]:
    """Return the names of a clip's files: of its piece, of its video, of each segment."""
    piece = clip.piece
    keys = [segment_key(piece.video_id, n) for n in range(piece.first, piece.last + 1)]
    return [f"{piece.video_id}_seg{piece.first:04d}-{piece.last:04d}", piece.video_id, *keys]


def take_films(used: dict[str, Path], out: Path) -> dict[str, str]:
    """Replace the films in `used` by wav files of their sound; return an error for each failed."""
    films = {name: path for name, path in used.items() if path.suffix.lower() in FILMS}
    if not films:
        return {}
    errors = take_sounds([*films.values()], out)
    for name, path in films.items():
        used[name] = out / f"{path.stem}.wav"
    return {name: errors[path] for name, path in films.items() if path in errors}


def music_of(
    clip: Clip,
    names: Sequence[str],
    files: Mapping[str, Path],
    failed: Mapping[str, str],
    changed: Counter[str],
) -> np.ndarray:
    """Return the music (N,) of a clip.

    Raises LookupError if there is none, and ValueError or OSError if it cannot be scored.
    """
    whole, keys = names[:2], names[2:]
    named = [name for name in whole if name in files][:1] or keys
    if not all(name in files for name in named):
        raise LookupError(clip.name)
    for name in named:
        if name in failed:
            raise ValueError(failed[name])
    if named != keys or len(keys) == 1:
        return fitted(files[named[0]], len(clip.audio), clip.piece.start_s, changed)
    length = clip.segments.shape[1]
    return np.concatenate([fitted(files[key], length, 0.0, changed) for key in keys])


def files_of(folder: Path) -> dict[str, Path]:
    """Return the files with sound in a folder, by name without suffix; sound files come first."""
    found: dict[str, Path] = {}
    for suffix in (*FILMS[::-1], *SUFFIXES[::-1]):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() == suffix and not is_hidden(Path(path.name)):
                found[path.stem] = path
    return found


def fitted(path: Path, samples: int, start_s: float, changed: Counter[str]) -> np.ndarray:
    """Return a file's music (N,), as long as its clip of `samples`.

    `start_s` is the time in the video at which the clip starts. What is done is counted in
    `changed`. Raises ValueError if the file cannot be read, or has another length.
    """
    sound = read_sound(path)
    audio, slack = sound.audio, round(SLACK_S * SAMPLE_RATE_HZ)
    if len(audio) > samples + slack:
        first = round(start_s * SAMPLE_RATE_HZ)
        audio = audio[first:]
    if len(audio) < samples - slack:
        raise ValueError(
            f"{path}: lasts {sound.seconds:.2f} s; expected {samples / SAMPLE_RATE_HZ:.2f} s, the "
            f"length of the clip (or, from the video's start, at least "
            f"{start_s + samples / SAMPLE_RATE_HZ:.2f} s)"
        )
    if not np.isfinite(audio).all():
        raise ValueError(f"{path}: has samples that are NaN or infinite")
    changed.update(converted(sound))
    if len(audio) < samples:
        changed["padded by at most 50 ms"] += 1
    elif len(sound.audio) > samples:
        changed["cut to their clips"] += 1
    return np.pad(audio[:samples], (0, max(0, samples - len(audio))))


def converted(sound: Sound) -> list[str]:
    """Return what reading a sound changed."""
    found = []
    if sound.rate_hz != SAMPLE_RATE_HZ:
        found.append(f"resampled from {sound.rate_hz} Hz")
    if sound.channels != 1:
        found.append(f"mixed from {sound.channels} channels")
    return found
