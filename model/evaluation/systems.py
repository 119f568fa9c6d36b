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
from model.generation.batches import batches, inputs_of_piece, music_of_each
from model.generation.denoise import denoise, removed_share
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
    pieces = [clip.piece for clip in given.clips]
    sounds = [audio.numpy() for _, audio in music_of_each(run, pieces, options)]
    if not all(np.isfinite(audio).all() for audio in sounds):
        raise ValueError(f"{run.name}: audio with NaN or infinity; use an earlier checkpoint")
    yield Music(run.name, sounds, codes_of_each(run, given.clips, options))
    if denoised:
        clean = [denoise(audio) for audio in sounds]
        share = np.mean([removed_share(a, b) for a, b in zip(sounds, clean, strict=True)])
        note = f"denoising removed {share:.1%} of the energy of {run.name}"
        yield Music(f"{run.name}, denoised", clean, note=note)
    partner = partners(given.clips, given.seed) if others else None
    if partner is not None:
        yield Music(f"{run.name}, other songs", exchanged(sounds, partner, given.clips))


@torch.no_grad()
def codes_of_each(run: Run, clips: Sequence[Clip], options: Any = None) -> list[np.ndarray]:
    """Return the codes (S, L) that the run generates for each segment of each clip, separately."""
    samples, found = run.dataset.samples, []
    steps = {level: run.codec.steps(samples, level) for level in run.model.levels}
    for batch in batches([clip.piece for clip in clips], run.model.pieces_at_once):
        each = [inputs_of_piece(run, piece, piece.segments) for piece in batch]
        inputs = {name: torch.cat([one[name] for one in each]) for name in each[0]}
        codes = run.model.generate(inputs, steps, options)[run.level].cpu().numpy()
        found += [*codes.reshape(len(batch), batch[0].segments, *codes.shape[1:])]
    return found
