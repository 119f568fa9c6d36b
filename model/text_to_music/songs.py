"""Captioned music as codes, from which training draws windows.

Files are encoded once and kept in the cache, by the hash of their content and by codec.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.codecs.base import Codec
from model.contract.files import sha256_of, write_atomic
from model.contract.weights_folder import cache_folder
from model.data.music_files import SUFFIXES, music_files, read_music
from model.families.tokens.music import encoded, scaled
from model.text_to_music.build import level_of
from model.text_to_music.captions import (
    STEP_MS,
    Caption,
    beats_at,
    read_captions,
)

HOLD_OUT_EVERY = 20


@dataclass(frozen=True, eq=False)
class Song:
    """A file of music: its codes (Q, L) uint16, and its caption."""

    name: str
    codes: np.ndarray
    caption: Caption


@dataclass(frozen=True)
class Songs:
    """Captioned songs, of at least a window's length; `held_out` is never used for training.

    A code step lasts `step_s` seconds.
    """

    train: list[Song]
    held_out: list[Song]
    step_s: float

    @property
    def fingerprint(self) -> str:
        """What tells these songs and captions from others: a hash of both, in order."""
        found = hashlib.sha256()
        for song in (*self.train, *self.held_out):
            found.update(f"{song.name}\0{song.caption.text}\0".encode())
            if song.caption.beats:
                found.update(repr(song.caption.beats).encode())
            found.update(np.ascontiguousarray(song.codes).tobytes())
        return found.hexdigest()

    @property
    def captions(self) -> list[Caption]:
        return [song.caption for song in (*self.train, *self.held_out)]

    def texts(self, frames: int) -> list[str]:
        """Return texts with all words that captions of windows of so many steps can have."""
        texts = [caption.text for caption in self.captions]
        if any(caption.beats for caption in self.captions):
            stop_ms = round(1000 * frames * self.step_s) + STEP_MS
            texts.append(beats_at(ms / 1000 for ms in range(0, stop_ms, STEP_MS)))
        return texts

    def batch(
        self, rng: np.random.Generator, count: int, frames: int
    ) -> tuple[Tensor, list[Caption]]:
        """Return codes (B, Q, T) of windows, each place as likely as any other, and captions."""
        places = np.array([song.codes.shape[1] - frames + 1 for song in self.train])
        codes, captions = [], []
        for number in rng.choice(len(self.train), count, p=places / places.sum()):
            first = int(rng.integers(places[number]))
            codes.append(self.train[number].codes[:, first : first + frames])
            captions.append(self._caption(self.train[number], first, frames))
        return torch.from_numpy(np.stack(codes).astype(np.int64)), captions

    def _caption(self, song: Song, first: int, frames: int) -> Caption:
        return song.caption.at(first * self.step_s, frames * self.step_s)

    def windows(self, frames: int, most: int) -> tuple[Tensor, list[Caption]]:
        """Return codes (B, Q, T) of windows of the held-out songs, side by side, and captions.

        All songs take part, each with about the same number of windows.
        """
        each = max(1, -(-most // len(self.held_out)))
        found = []
        for song in self.held_out:
            firsts = range(0, song.codes.shape[1] - frames + 1, frames)
            step = max(1, len(firsts) // each)
            found += [
                (song.codes[:, i : i + frames], self._caption(song, i, frames))
                for i in firsts[::step][:each]
            ]
        found = found[:: -(-len(found) // most)]
        codes = torch.from_numpy(np.stack([codes for codes, _ in found]).astype(np.int64))
        return codes, [caption for _, caption in found]


def read_songs(music: Path, captions: Path, codec: Codec, frames: int) -> Songs:
    """Encode the captioned music below a folder; every 20th song, or the last one, is held out.

    A row of `captions` names a file by its path below the folder, or by its name alone. Files
    without a caption, too short or unreadable ones are reported and left out. Raises
    FileNotFoundError if the folder or the table is missing, and ValueError if the table is invalid,
    names a file that does not exist, or fewer than two songs are left.
    """
    from tqdm import tqdm

    named = captions_of(music, captions)
    found, failed, short = [], [], 0
    for path, caption in tqdm(named.items(), unit="file", desc="encode", disable=None):
        try:
            codes = codes_of(path, codec)
        except ValueError as error:
            failed.append(str(error))
            continue
        if codes.shape[1] < frames:
            short += 1
            continue
        found.append(Song(path.relative_to(music).as_posix(), codes, caption))
    for message in failed:
        print(f"error: {message}", file=sys.stderr)
    if len(found) < 2:
        raise ValueError(
            f"{music}: {len(found)} songs with a caption and a window's length ({short} are "
            f"shorter, {len(failed)} not readable); expected at least 2: one to train on and one "
            "held out"
        )
    every = min(HOLD_OUT_EVERY, len(found))
    held_out = found[every - 1 :: every]
    step_s = level_of(codec).hop / codec.sample_rate_hz
    songs = Songs([song for song in found if song not in held_out], held_out, step_s)
    print(
        f"{len(songs.train)} songs to train on, {len(songs.held_out)} held out ({short} too short, "
        f"{len(failed)} not readable)"
    )
    return songs


def captions_of(music: Path, captions: Path) -> dict[Path, Caption]:
    """Return the caption of each music file that has one, by path, sorted."""
    table, paths = read_captions(captions), music_files(music, "--music")
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        by_name.setdefault(path.name, []).append(path)
    found: dict[Path, Caption] = {}
    for file, caption in table.items():
        named = _named(file, music, by_name)
        if named is None:
            raise ValueError(
                f"{captions}: {file}: no such file of music ({', '.join(SUFFIXES)}) below {music}; "
                "correct the table, or give its folder to --music"
            )
        if named in found:
            raise ValueError(f"{captions}: {file}: a second caption of {named}; remove one")
        found[named] = caption
    if left := len(paths) - len(found):
        print(f"{music}: {left} files without a caption are left out")
    return dict(sorted(found.items()))


def _named(file: str, music: Path, by_name: Mapping[str, Sequence[Path]]) -> Path | None:
    """Return the file that a row names: by its path, or else by a name that only one file has."""
    same = by_name.get(Path(file).name, [])
    exact = [path for path in same if path == music / file]
    return (exact or same)[0] if exact or len(same) == 1 else None


def codes_of(path: Path, codec: Codec) -> np.ndarray:
    """Return the codes (Q, L) of a file, scaled to a peak of 0.95; from the cache if it has them.

    Raises ValueError if the file cannot be read.
    """
    level = level_of(codec)
    cached = cache_folder() / "text-to-music" / codec.codes_id / f"{sha256_of(path)}.npy"
    try:
        codes = np.load(cached, allow_pickle=False)
        if codes.shape[0] == level.codebooks and codes.max() < level.size:
            return np.asarray(codes)
    except (OSError, ValueError, EOFError, IndexError):
        pass  # not there, or damaged: encoded again
    sound = scaled(read_music(path, "remove it, or its caption"))[None].to(codec.device)
    codes = encoded(sound, codec, [level.name])[level.name][0].cpu().numpy().astype(np.uint16)
    codes = codes.reshape(level.codebooks, -1)
    buffer = io.BytesIO()
    np.save(buffer, codes, allow_pickle=False)
    write_atomic(cached, buffer.getvalue())
    return codes
