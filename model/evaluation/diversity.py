"""How different are samples of music for the same dance?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch

from model.audio import LogMel
from model.data.clips import Clip
from model.generation.batches import batches, inputs_of_piece
from model.generation.run import Run

SAMPLES, TOGETHER = 3, 12
"""Samples for each clip, and clips generated together."""


@torch.no_grad()
def diversity(run: Run, clips: Sequence[Clip], options: Any = None) -> np.ndarray:
    """Return for each clip (C,) how different the run's samples for its first window are, in dB.

    It is the mean, over pairs of `SAMPLES` samples, bands and frames, of the absolute difference of
    their log-mel spectrograms. It is 0 for a model that has one answer to each dance.
    """
    samples, found = run.dataset.samples, []
    log_mel = LogMel().to(run.device)
    for part in batches([clip.piece for clip in clips], TOGETHER):
        windows = [inputs_of_piece(run, piece, piece.segments) for piece in part]
        inputs = {
            name: torch.cat([window[name][:1].repeat_interleave(SAMPLES, 0) for window in windows])
            for name in windows[0]
        }
        audio, _ = run.model.sound(inputs, samples, options)
        mel = 20 * log_mel(audio)
        mel = mel.reshape(len(part), SAMPLES, *mel.shape[1:])
        pairs = [(mel[:, a] - mel[:, b]).abs().mean((1, 2))
                 for a, b in combinations(range(SAMPLES), 2)]  # fmt: skip
        found.append(torch.stack(pairs).mean(0).cpu().numpy())
    return np.concatenate(found).astype(float)
