"""Baselines without training: codec reconstructions, random codes, other songs, a metronome."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np
import torch

from model.baselines.base import TRUTH, Given, Music
from model.codecs.base import Codec, join_codes, samples_per_code
from model.contract.segment import SAMPLE_RATE_HZ
from model.data.clips import Clip
from model.measures.bootstrap import pair_with_other_group

METRONOME_BPM = 120


def ground_truth(given: Given) -> Iterator[Music]:
    """Yield the true music."""
    yield Music(TRUTH, [clip.audio for clip in given.clips], [clip.codes for clip in given.clips])


def reconstructions(given: Given) -> Iterator[Music]:
    """Yield the true music, encoded and decoded by each level of the codec."""
    for level in given.codec.levels:
        sounds = [through(given.codec, level, clip.audio) for clip in given.clips]
        yield Music(f"reconstruction, {level}", sounds)


def random_codes(given: Given) -> Iterator[Music]:
    """Yield the audio of uniformly random codes."""
    codec, level = given.codec, given.level
    rng = np.random.default_rng(given.seed)
    size = codec.level(level).size
    drawn = [rng.integers(size, size=clip.codes.shape) for clip in given.clips]
    sounds = [decode(codec, level, codes, clip.audio)
              for codes, clip in zip(drawn, given.clips, strict=True)]  # fmt: skip
    yield Music("random codes", sounds, drawn)


def metronomes(given: Given) -> Iterator[Music]:
    """Yield clicks at a constant tempo, independent of the dance."""
    sounds = [metronome(len(clip.audio)) for clip in given.clips]
    yield Music(f"metronome, {METRONOME_BPM} BPM", sounds)


def nearest_dance(given: Given) -> Iterator[Music]:
    """Yield the music of the training dance most similar to each clip; nothing without motion."""
    if given.nearest is not None:
        yield Music("nearest training dance", [segments.ravel() for segments in given.nearest])


def shuffled_pairing(given: Given) -> Iterator[Music]:
    """Yield the true music of other songs; nothing if not every clip can get another song."""
    partner = partners(given.clips, given.seed)
    if partner is not None:
        truth = [clip.audio for clip in given.clips]
        yield Music("shuffled pairing", exchanged(truth, partner, given.clips))


def partners(clips: Sequence[Clip], seed: int) -> np.ndarray | None:
    """Return for each clip the index of a clip of another song; None if that is impossible."""
    songs = [clip.song for clip in clips]
    if max(songs.count(song) for song in set(songs)) * 2 > len(songs):
        return None
    return pair_with_other_group(songs, seed)


def exchanged(
    sounds: Sequence[np.ndarray], partner: np.ndarray, clips: Sequence[Clip]
) -> list[np.ndarray]:
    """Return for each clip the audio of its partner, as long as the clip."""
    return [_fit(sounds[j], clip.audio) for j, clip in zip(partner, clips, strict=True)]


@torch.no_grad()
def through(codec: Codec, level: str, audio: np.ndarray) -> np.ndarray:
    """Return audio (N,) encoded and decoded; the end that no complete code covers is zero."""
    sound = torch.from_numpy(np.ascontiguousarray(audio))[None].to(codec.device)
    return _fit(codec.decode(codec.encode(sound, level), level)[0].cpu().numpy(), audio, pad=True)


@torch.no_grad()
def decode(codec: Codec, level: str, codes: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return the audio (N,) of the codes (S, L) of consecutive segments, as long as `like`."""
    hop = samples_per_code(codec, level)
    on_grid = join_codes(
        torch.from_numpy(codes), len(like) // len(codes), hop, ceil(len(like) / hop)
    )
    return codec.decode(on_grid.to(codec.device), level)[0, : len(like)].cpu().numpy()


def metronome(samples: int) -> np.ndarray:
    """Return clicks (N,) at 120 BPM: two in each second, not at the start of a second."""
    since = (np.arange(samples) / SAMPLE_RATE_HZ - 0.25) % (60 / METRONOME_BPM)
    return (0.8 * np.sin(2 * np.pi * 1500 * since) * np.exp(-since / 0.01)).astype(np.float32)


def _fit(audio: np.ndarray, like: np.ndarray, pad: bool = False) -> np.ndarray:
    """Return audio as long as `like`: cut, or repeated (with `pad`: followed by silence)."""
    if pad and len(audio) < len(like):
        return np.pad(audio, (0, len(like) - len(audio)))
    return np.resize(audio, len(like))
