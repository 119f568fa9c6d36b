"""Rows that need no training: codec copies, random codes, other songs, a metronome."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from model.baselines.base import TRUTH, Music
from model.codecs.base import Codec
from model.contract.segment import LEVELS, SAMPLE_RATE_HZ
from model.data.clips import Clip
from model.evaluate.training_split import Training
from model.generation.generate import Trained, join_codes
from model.measures.bootstrap import pair_with_other_group

METRONOME_BPM = 120


def references(
    trained: Trained, whole: Codec, clips: Sequence[Clip], training: Training, seed: int
) -> Iterator[Music]:
    """Yield the rows that need no training.

    `whole` is the run's codec with all its levels: each gives a row of reconstructions. Music of
    other songs is left out where no clip has another song to take it from, and the nearest dance's
    where there is no motion.
    """
    codec, level = trained.codec, trained.config.level
    truth = [clip.audio for clip in clips]
    yield Music(TRUTH, truth, [clip.codes for clip in clips])
    for name in whole.levels:
        yield Music(f"reconstruction, {name}", [through(whole, name, a) for a in truth])
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(codec.level(level).size, size=clip.codes.shape) for clip in clips]
    sounds = [decode(codec, level, codes, a) for codes, a in zip(drawn, truth, strict=True)]
    yield Music("random codes", sounds, drawn)
    yield Music(f"metronome, {METRONOME_BPM} BPM", [metronome(len(audio)) for audio in truth])
    if training.nearest is not None:
        yield Music("nearest training dance", [segments.ravel() for segments in training.nearest])
    partner = partners(clips, seed)
    if partner is not None:
        yield Music("shuffled pairing", exchanged(truth, partner, clips))


def partners(clips: Sequence[Clip], seed: int) -> np.ndarray | None:
    """Return for each clip the place of one of another song, None where not all have such a one."""
    songs = [clip.song for clip in clips]
    if max(songs.count(song) for song in set(songs)) * 2 > len(songs):
        return None
    return pair_with_other_group(songs, seed)


def exchanged(
    sounds: Sequence[np.ndarray], partner: Sequence[int], clips: Sequence[Clip]
) -> list[np.ndarray]:
    """Return for each clip its partner's sound, as long as the clip."""
    return [_fit(sounds[j], clip.audio) for j, clip in zip(partner, clips, strict=True)]


@torch.no_grad()
def through(codec: Codec, level: str, audio: np.ndarray) -> np.ndarray:
    """Return audio (N,) encoded and decoded, with zeros for the end that no whole code covers."""
    sound = torch.from_numpy(np.ascontiguousarray(audio))[None].to(codec.device)
    return _fit(codec.decode(codec.encode(sound, level), level)[0].cpu().numpy(), audio, pad=True)


@torch.no_grad()
def decode(codec: Codec, level: str, codes: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return the sound (N,) of the codes (S, L) of consecutive segments, as long as `like`."""
    hop = LEVELS[level].hop
    on_grid = join_codes(
        torch.from_numpy(codes), len(like) // len(codes), hop, -(-len(like) // hop)
    )
    return codec.decode(on_grid.to(codec.device), level)[0, : len(like)].cpu().numpy()


def metronome(samples: int) -> np.ndarray:
    """Return clicks (N,) at 120 BPM: two in each second, off the bounds of seconds."""
    since = (np.arange(samples) / SAMPLE_RATE_HZ - 0.25) % (60 / METRONOME_BPM)
    return (0.8 * np.sin(2 * np.pi * 1500 * since) * np.exp(-since / 0.01)).astype(np.float32)


def _fit(audio: np.ndarray, like: np.ndarray, pad: bool = False) -> np.ndarray:
    """Return audio as long as `like`: cut, or begun again (with `pad`: followed by silence)."""
    if pad and len(audio) < len(like):
        return np.pad(audio, (0, len(like) - len(audio)))
    return np.resize(audio, len(like))
