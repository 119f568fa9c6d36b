"""How likely a run finds the true codes of a split, and what the dance tells it about them.

The references are n-grams of the training split's codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from model.data.clips import Clip
from model.generation.batches import inputs_of_piece
from model.generation.run import Run
from model.measures.base import Measure
from model.measures.ngrams import ORDERS, fit


def likelihood_measures(levels: Sequence[str]) -> dict[str, Measure]:
    """Return the measures of `likelihood`, in the order of their columns."""
    found: dict[str, Measure] = {}
    for level in levels:
        bits = Measure(f"bits/code, {level}", "segment", lower_is_better=True)
        gain = Measure(f"gain of the dance, bits, {level}", "segment")
        others = Measure(f"gain of others' dances, bits, {level}", "segment", lower_is_better=True)
        found |= {f"bits_{level}": bits, f"gain_{level}": gain, f"gain_others_{level}": others}
    return found


@torch.no_grad()
def likelihood(
    run: Run, clips: Sequence[Clip], partner: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return the scores of `likelihood_measures` for each segment (S,).

    `bits` are those of the true codes, given the codes before them in the segment and the dance.
    `gain` is how many more the music alone takes, without the dance; `gain_others` how many more it
    takes than with the dance of another song, which `partner` names for each clip (None: no such
    scores).
    """
    rows: dict[str, list[np.ndarray]] = {}
    for i, clip in enumerate(clips):
        count = len(clip.segments)
        codes = {
            level: torch.from_numpy(each).to(run.device) for level, each in clip.by_level.items()
        }
        inputs = inputs_of_piece(run, clip.piece, count)
        own, alone = run.model.bits(inputs, codes), run.model.bits({}, codes)
        found = {f"bits_{level}": bits for level, bits in own.items()}
        found |= {f"gain_{level}": alone[level] - bits for level, bits in own.items()}
        if partner is not None:
            other = clips[partner[i]]
            theirs = inputs_of_piece(run, other.piece, len(other.segments))
            place = torch.arange(count, device=run.device) % len(other.segments)
            wrong = run.model.bits({name: x[place] for name, x in theirs.items()}, codes)
            found |= {f"gain_others_{level}": alone[level] - bits for level, bits in wrong.items()}
        for name, values in found.items():
            rows.setdefault(name, []).append(values.cpu().numpy())
    return {name: np.concatenate(each) for name, each in rows.items()}


def ngram_likelihood(
    clips: Sequence[Clip],
    training: Mapping[str, np.ndarray],
    validation: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
) -> dict[str, dict[str, np.ndarray]]:
    """Return the bits per code (S,) of n-grams, by the name of a row, then of the measure.

    `training` and `validation` have the codes (R, L) of their splits by level, `sizes` the number
    of entries of each level's codebook. Levels that the clips do not have are left out, and those
    with several codebooks, whose codes are no sequence.
    """
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in ORDERS.values()}
    for level in (name for name, codes in clips[0].by_level.items() if codes.ndim == 2):
        grams = fit(training[level], validation[level], sizes[level])
        codes = np.concatenate([clip.by_level[level] for clip in clips])
        for order, name in ORDERS.items():
            found[name][f"bits_{level}"] = grams.bits(codes, order)
    return {name: bits for name, bits in found.items() if bits}
