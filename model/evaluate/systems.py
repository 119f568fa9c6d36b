"""The rows of an evaluation: a run's music, and what it is to be compared with.

Legend: a list has one entry per clip; N samples at 22 050 Hz, S segments, L codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from model.baselines.base import Music
from model.baselines.references import exchanged, partners, references
from model.codecs.base import Codec
from model.data.clips import Clip
from model.data.reader import genre_index
from model.evaluate.training_split import Training
from model.generation.denoise import denoise, removed_share
from model.generation.generate import Trained, generate


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
