"""The rows of an evaluation: the music of the baselines and of a run.

Symbols: a list has one entry per clip; N samples at 22 050 Hz, S segments, L codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from model.baselines.base import Given, Music, play
from model.baselines.references import exchanged, partners
from model.data.clips import Clip
from model.generation.denoise import denoise, removed_share
from model.generation.generate import inputs_of_piece, music_of
from model.generation.run import Run


def rows(
    run: Run,
    given: Given,
    baselines: Sequence[str],
    denoised: bool,
    others: bool,
    options: Any = None,
) -> Iterator[Music]:
    """Yield the baselines' rows, then the run's music, named `run.name`.

    With `denoised`, a row of the run's denoised music follows. With `others`, a row of its music
    for other songs follows, if every clip can get one of another song. `options` are those of
    generation of the run's family.
    """
    for name in baselines:
        yield from play(name, given)
    sounds = [music_of(run, clip.piece, options).numpy() for clip in given.clips]
    if not all(np.isfinite(audio).all() for audio in sounds):
        raise ValueError(f"{run.name}: audio with NaN or infinity; use an earlier checkpoint")
    yield Music(run.name, sounds, [codes_of(run, clip, options) for clip in given.clips])
    if denoised:
        clean = [denoise(audio) for audio in sounds]
        share = np.mean([removed_share(a, b) for a, b in zip(sounds, clean, strict=True)])
        note = f"denoising removed {share:.1%} of the energy of {run.name}"
        yield Music(f"{run.name}, denoised", clean, note=note)
    partner = partners(given.clips, given.seed) if others else None
    if partner is not None:
        yield Music(f"{run.name}, other songs", exchanged(sounds, partner, given.clips))


@torch.no_grad()
def codes_of(run: Run, clip: Clip, options: Any = None) -> np.ndarray:
    """Return the codes (S, L) that the run generates for each segment separately."""
    inputs = inputs_of_piece(run, clip.piece, len(clip.segments))
    samples = run.dataset.samples
    steps = {level: run.codec.steps(samples, level) for level in run.model.levels}
    return run.model.generate(inputs, steps, options)[run.level].cpu().numpy()
