"""The rows of an evaluation: a run's music, and what it is to be compared with.

Legend: a list has one entry per clip; N samples at 22 050 Hz, S segments, L codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model.data import genre_index
from model.evaluate.compare import pair_with_other_group
from model.evaluate.denoise import denoise, removed_share
from model.evaluate.material import Clip, Training
from model.generate import Trained, generate, join_codes
from model.jukebox import Codec
from model.segment import LEVELS, SAMPLE_RATE_HZ

TRUTH = "ground truth"
METRONOME_BPM = 120


@dataclass(frozen=True)
class Music:
    """A row: its sounds (N,), and its codes (S, L) where it was made of codes of the run's level.

    `note` is what must be said of it.
    """

    name: str
    audio: list[np.ndarray]
    codes: list[np.ndarray] | None = None
    note: str = ""


def rows(
    trained: Trained,
    whole: Codec,
    clips: Sequence[Clip],
    training: Training,
    denoised: bool,
    seed: int = 0,
    alone: bool = False,
) -> Iterator[Music]:
    """Yield the run's music and, unless `alone`, all that it is to be held against.

    The run's own music for other songs is left out where no clip has another song to take it from.
    """
    if not alone:
        yield from references(trained, whole, clips, training, seed)
    name = f"D2M-GAN, {trained.config.level}"
    sounds = [generate(trained, clip.piece).numpy() for clip in clips]
    if not all(np.isfinite(audio).all() for audio in sounds):
        raise ValueError(f"{name}: sound with NaN or infinity; take an earlier checkpoint")
    codes = [codes_of(trained, clip) for clip in clips]
    yield Music(name, sounds, codes)
    if denoised:
        clean = [denoise(audio) for audio in sounds]
        share = np.mean([removed_share(a, b) for a, b in zip(sounds, clean, strict=True)])
        yield Music(
            f"{name}, denoised", clean, note=f"denoising took {share:.1%} of the energy of {name}"
        )
    partner = None if alone else partners(clips, seed)
    if partner is not None:
        yield Music(f"{name}, other songs", exchanged(sounds, partner, clips))


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
    drawn = [rng.integers(codec.bins(level), size=clip.codes.shape) for clip in clips]
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
def codes_of(trained: Trained, clip: Clip) -> np.ndarray:
    """Return the codes (S, L) that the run gives each segment by itself, as in training."""
    piece, count, device = clip.piece, len(clip.segments), trained.device

    def each(array: np.ndarray | None) -> torch.Tensor | None:
        if array is None:
            return None
        return torch.from_numpy(array.reshape(count, -1, array.shape[-1])).to(device)

    genre = None
    if trained.generator.genre is not None:
        genre = torch.full((count,), genre_index(piece.genre, piece.video_id), device=device)
    steps = clip.codes.shape[1]
    latents = trained.generator(each(piece.motion), each(piece.visual), steps, genre)
    return trained.codec.quantise(latents, trained.config.level).cpu().numpy()


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
