"""Music without dances, as codes: a folder of audio files, or the music of a data set's shards.

All codes are in memory: 2 kB for a second of both levels of JukeBox. Audio files are encoded once
and kept in the cache, by the hash of their content and by codec, so that the next run starts at
once.

Symbols: B segments, N codes of a level, L positions, Q pieces of music.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.codecs.base import Codec, encode_in_chunks
from model.contract.dataset import load_dataset
from model.contract.files import sha256_of, write_atomic
from model.contract.segment import PEAK, SAMPLE_RATE_HZ
from model.contract.storage import to_location
from model.contract.weights_folder import cache_folder
from model.data.music_files import SUFFIXES, music_files, read_music
from model.data.source import open_source
from model.families.tokens.network import TokenNetwork
from model.families.tokens.onsets import OnsetStrength, strength


@dataclass(frozen=True)
class Piece:
    """The codes (N,) of one piece of music by level, and the rise of its sound (L,) per position.

    The rise is that of `OnsetStrength.rise`; its scale is arbitrary.
    """

    codes: Mapping[str, np.ndarray]
    rise: np.ndarray


@dataclass(frozen=True)
class Drawn:
    """B segments of music: codes (B, N) by level, and the strength of onsets (B, L), 0 to 1."""

    codes: dict[str, Tensor]
    onsets: Tensor


class Music:
    """Pieces of music, from which segments are drawn, beginning anywhere.

    `counts` are the codes of a segment by level, `patches` the codes of a position by level, and
    `window` the positions of a segment. Pieces shorter than a segment are left out.
    """

    def __init__(
        self, pieces: Sequence[Piece], counts: Mapping[str, int], patches: Mapping[str, int],
        window: int,
    ) -> None:  # fmt: skip
        self.counts, self.patches, self.window = dict(counts), dict(patches), window
        self.pieces = [piece for piece in pieces if self.places(piece) > 0]
        self.left_out = len(pieces) - len(self.pieces)
        self.ends = torch.tensor([self.places(piece) for piece in self.pieces]).cumsum(0)

    def places(self, piece: Piece) -> int:
        """Return at how many positions of a piece a segment can begin."""
        free = [
            (len(piece.codes[name]) - count) // self.patches[name]
            for name, count in self.counts.items()
        ]
        return min(*free, len(piece.rise) - self.window) + 1

    @property
    def fingerprint(self) -> str:
        """What tells this music from other music: a hash of all codes, in order."""
        found = hashlib.sha256()
        for piece in self.pieces:
            for name in self.counts:
                found.update(np.ascontiguousarray(piece.codes[name]).tobytes())
        return found.hexdigest()

    @property
    def positions(self) -> int:
        """The positions of all pieces together."""
        return sum(len(piece.rise) for piece in self.pieces)

    def draw(self, count: int, device: torch.device) -> Drawn:
        """Return segments, each place in the music as likely as any other.

        The random numbers are those of torch's generator on the CPU, whose state a checkpoint has.
        """
        places = torch.randint(int(self.ends[-1]), (count,)).tolist()
        segments = [self.segment(place) for place in places]
        codes = {
            name: torch.from_numpy(np.stack([s.codes[name] for s in segments]).astype(np.int64))
            for name in self.counts
        }
        rise = torch.from_numpy(np.stack([s.rise for s in segments]))
        return Drawn(
            {name: each.to(device) for name, each in codes.items()}, strength(rise).to(device)
        )

    def segment(self, place: int) -> Piece:
        """Return the segment at one of all places, counted through all pieces."""
        number = int(torch.searchsorted(self.ends, place, right=True))
        piece = self.pieces[number]
        start = place - (int(self.ends[number - 1]) if number else 0)
        codes = {}
        for name, count in self.counts.items():
            first = start * self.patches[name]
            codes[name] = piece.codes[name][first : first + count]
        return Piece(codes, piece.rise[start : start + self.window])


def load_music(
    source: str, codec: Codec, network: TokenNetwork, counts: Mapping[str, int]
) -> Music:
    """Return the music of a folder of audio files, or of the split `train` of a folder of shards.

    Files that cannot be read are reported and left out. Raises ValueError if no music is left that
    is as long as a segment, and FileNotFoundError if the folder is missing.
    """
    window = network.positions(counts)
    onsets = OnsetStrength(network.step_samples).to(codec.device)
    failed: list[str] = []
    if is_shards(source):
        pieces = list(pieces_of_shards(source, codec, onsets, [*counts]))
    else:
        paths = music_files(Path(source), "--music")
        pieces = list(pieces_of_files(paths, codec, onsets, [*counts], failed))
    music = Music(pieces, counts, network.patches, window)
    for message in failed:
        print(f"error: {message}", file=sys.stderr)
    minutes = music.positions * network.step_samples / SAMPLE_RATE_HZ / 60
    print(
        f"music without dances: {len(music.pieces)} pieces, {minutes:.0f} minutes "
        f"({music.left_out} too short for a segment, {len(failed)} not readable)"
    )
    if not music.pieces:
        raise ValueError(
            f"{source}: no music of at least a segment's length; give a folder with "
            f"{', '.join(SUFFIXES)} files, or of shards with codes, to --music"
        )
    return music


def is_shards(source: str) -> bool:
    """Return whether a folder or URL has a dataset.json."""
    return "://" in source or (Path(source) / "dataset.json").is_file()


def pieces_of_shards(
    source: str, codec: Codec, onsets: OnsetStrength, levels: Sequence[str]
) -> Iterator[Piece]:
    """Yield each segment of the split `train` as a piece."""
    root = to_location(source)
    shards = open_source(root, load_dataset(root), "train", codec, levels, ())
    for number in range(len(shards.dataset.splits["train"])):
        for raw in shards.raw(number):
            batch = shards.collate([raw])
            codes = {name: each[0].numpy().astype(np.uint16) for name, each in batch.codes.items()}
            yield Piece(codes, rise_of(batch.audio.to(codec.device), onsets))


def pieces_of_files(
    paths: Sequence[Path],
    codec: Codec,
    onsets: OnsetStrength,
    levels: Sequence[str],
    failed: list[str],
) -> Iterator[Piece]:
    """Yield the codes of each file; a message for each that cannot be read goes into `failed`."""
    from tqdm import tqdm

    for path in tqdm(paths, unit="file", desc="music without dances", disable=None):
        cached = cache_folder() / "music" / codec.codes_id / f"{sha256_of(path)}.npz"
        try:
            piece = read_piece(cached, levels)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            try:
                piece = encode_piece(read_music(path, "remove it"), codec, onsets, levels)
            except (ValueError, OSError) as error:
                failed.append(str(error))
                continue
            write_piece(cached, piece)
        yield piece


def encode_piece(
    audio: np.ndarray, codec: Codec, onsets: OnsetStrength, levels: Sequence[str]
) -> Piece:
    """Return the codes of music (N,) of any length, scaled to a peak of 0.95."""
    sound = scaled(audio)[None].to(codec.device)
    codes = encoded(sound, codec, levels)
    plain = {name: each[0].cpu().numpy().astype(np.uint16) for name, each in codes.items()}
    return Piece(plain, rise_of(sound, onsets))


def scaled(audio: np.ndarray) -> Tensor:
    """Return music (N,) scaled to a peak of 0.95."""
    peak = float(np.abs(audio).max(initial=0.0))
    return torch.from_numpy(audio * np.float32(PEAK / max(peak, 1e-9)))


@torch.no_grad()
def encoded(sound: Tensor, codec: Codec, levels: Sequence[str]) -> dict[str, Tensor]:
    """Return the codes (B, N') of sound (B, N) of any length, by level."""
    return {name: encode_in_chunks(codec, sound, name) for name in levels}


def rise_of(audio: Tensor, onsets: OnsetStrength) -> np.ndarray:
    """Return the rise (L,) of audio (1, N), computed in parts of bounded memory."""
    step = round(onsets.step_samples)
    length, part = -(-audio.shape[1] // step), 4096
    margin = 16  # more positions than a frame of the spectrum reaches
    found = []
    for first in range(0, length, part):
        start = max(0, first - margin)
        stop = min(first + part + margin, length)
        rise = onsets.rise(audio[:, start * step : stop * step], stop - start)
        found.append(rise[0, first - start : first - start + part])
    return torch.cat(found).cpu().numpy()


def read_piece(path: Path, levels: Sequence[str]) -> Piece:
    """Return a piece from the cache; KeyError or OSError if it is not there with all levels."""
    with np.load(path) as arrays:
        return Piece({name: arrays[name] for name in levels}, arrays["rise"])


def write_piece(path: Path, piece: Piece) -> None:
    """Write a piece to the cache."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **piece.codes, rise=piece.rise)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())
