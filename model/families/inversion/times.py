"""The beats of the training music in the base model's own words, as an example for the rhythm's.

A base that was taught times, such as "240ms" in "beats at 240ms 800ms" (model/text_to_music/),
hears the sum of such words as all of these times. From the codes alone the encoder of the rhythm
hardly finds that sum: it rather learns to say nothing. So it may be shown what to say, with the
beats that librosa tracks in the music. Generation has no music, and needs none.

Symbols: R values of a rhythm, E width of the text encoder.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.families.inversion.base_model import TextToMusic
from model.families.inversion.rhythm import FPS
from model.measures.rhythm import beats_s
from model.text_to_music.captions import time_word

COMMON = 0.3
"""The share of what all words of times have in common: it does not add up with their number."""


def times_of(base: TextToMusic, values: int) -> Tensor:
    """Return the base's words (R, E) for the times of a rhythm's values.

    Raises ValueError if it has no words for them.
    """
    known = base.tokenizer.get_vocab()
    names = [time_word((i + 1) / FPS) for i in range(values)]
    if missing := [name for name in names if name not in known]:
        raise ValueError(
            f"{base.source}: no word for {missing[0]!r}, and hear_beats is not 0; set "
            "hear_beats=0, or give --base a model whose captions told beats in complete segments"
        )
    table = base.model.text_encoder.get_input_embeddings().weight
    return table[[known[name] for name in names]].detach()


def word_of(rhythms: Tensor, times: Tensor) -> Tensor:
    """Return the word (B, E) that says all times of rhythms (B, R), with `times_of` (R, E)."""
    common = times.mean(0)
    own = rhythms @ (times - common)
    length = own.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return own * (times.norm(dim=1).mean() / length) + COMMON * common


def beats_as_rhythm(audio: np.ndarray, values: int) -> Tensor:
    """Return 1 at each beat of music (N,), else 0: (R,) float32."""
    rhythm = torch.zeros(values)
    places = np.round(beats_s(audio) * FPS).astype(int) - 1
    rhythm[places[(places >= 0) & (places < values)]] = 1
    return rhythm
