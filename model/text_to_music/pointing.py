"""Words of times that point to their place in the music, before anything is learnt.

In "beats at 240ms 800ms", "240ms" means a place: the 12th of 50 code steps a second. A small model
that has to learn each such word by itself does not get there (docs/results/inversion.md). Here some
heads of the decoder's first attention to the text are made for it, and stay as they are made. The
word of a time has the sines and cosines that MusicGen's decoder adds to its input at that place; a
head compares the two, and says how near the place is to a time. What that means for the codes is
learnt.

The comparison is linear, so one word can stand for all beats: the sum of the words of their times.
Such a word is what textual inversion learns for a dance.

Symbols: E width of the text encoder, D of the decoder.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from model.text_to_music.build import seconds_of

if TYPE_CHECKING:
    from transformers import MusicgenForConditionalGeneration

TIME = re.compile(r"(\d+)ms")
TEXT_PARTS = ("text_encoder.", "enc_to_dec_proj.")
"""The names of the weights that words go through on their way to the decoder begin so."""
OFFSETS = (0, 5, -5, 10, -10)
"""At which place a head looks for a time, in steps from its own: one head each, in this order."""
FASTEST, SLOWEST = 0.64, 0.12
"""The sines and cosines that are compared, by their radians a step. Slower ones hardly tell
neighbouring places apart; faster ones repeat within a beat."""
SCORE, DOUBT = 12.0, 6.0
"""How much a time at its place scores, and how much is taken from it as from no other word, so that
a head far from all times attends to other words, which say nothing to it."""
QUIET = 0.1
"""The share of what the text encoder's layers add to a word, so that words keep what they say."""
LOUD = 4.0
"""What a head says at a time; 0 elsewhere."""


def has_times(tokenizer: Any) -> bool:
    """Return whether some word is a time, such as "240ms"."""
    return any(TIME.fullmatch(word) for word in tokenizer.get_vocab())


@torch.no_grad()
def keep_words_apart(model: MusicgenForConditionalGeneration) -> None:
    """Let the layers of a new text encoder add little to each word."""
    for block in model.text_encoder.encoder.block:
        block.layer[0].SelfAttention.o.weight.mul_(QUIET)
        block.layer[1].DenseReluDense.wo.weight.mul_(QUIET)


@torch.no_grad()
def point_to_times(
    model: MusicgenForConditionalGeneration, tokenizer: Any, heads: int
) -> dict[str, Tensor]:
    """Make the words of times and so many heads that find them, and freeze the text encoder.

    Returns the rows that training must not change, at the beginning of the weights of these names.
    """
    turns = Turns.of(model)
    set_words(model, tokenizer, turns)
    layer = "decoder.model.decoder.layers.0.encoder_attn."
    kept = {f"{layer}{name}.weight": rows for name, rows in heads_of(model, turns, heads).items()}
    weights = dict(model.named_parameters())
    keep(weights, kept)
    for name, weight in weights.items():
        if name.startswith(TEXT_PARTS):
            weight.requires_grad_(False)
    return kept


@torch.no_grad()
def keep(weights: Mapping[str, nn.Parameter], kept: Mapping[str, Tensor]) -> None:
    """Write rows into the beginning of the weights of their names."""
    for name, rows in kept.items():
        weights[name][: len(rows)] = rows


@dataclass(frozen=True)
class Turns:
    """The sines and cosines of places that are compared, and where a word has what.

    Of a word's E values the first are the cosines and as many sines of its time; one says that it
    is a time, and one what a head then says. Words that are no times have zeros there.
    """

    places: Tensor
    """Which of the decoder's cosines they are, (n,); its sines come `half` later."""
    speeds: Tensor
    """Radians a step, (n,)."""
    half: int

    @classmethod
    def of(cls, model: MusicgenForConditionalGeneration) -> Turns:
        """Choose those of a model: as many as a head has room for, all between two speeds."""
        config = model.config.decoder
        half, wide = config.hidden_size // 2, config.hidden_size // config.num_attention_heads
        speeds = torch.exp(torch.arange(half) * (-math.log(10_000) / (half - 1)))
        fit = torch.nonzero((speeds <= FASTEST) & (speeds >= SLOWEST))[:, 0]
        count = min(len(fit), (wide - 2) // 2)
        places = fit[torch.linspace(0, len(fit) - 1, count).round().long()]
        return cls(places, speeds[places], half)

    @property
    def is_time(self) -> int:
        return 2 * len(self.speeds)

    @property
    def says(self) -> int:
        return self.is_time + 1

    def size(self, width: int) -> float:
        """Return the size of each value that gives a word of E values a mean square of 1."""
        return math.sqrt(width / (len(self.speeds) + 2))


def set_words(model: MusicgenForConditionalGeneration, tokenizer: Any, turns: Turns) -> None:
    """Write the words of times into the text encoder's table, and make room in the others."""
    table = model.text_encoder.shared.weight
    table[:, : turns.says + 1] = 0
    for word, number in tokenizer.get_vocab().items():
        if found := TIME.fullmatch(word):
            angle = turns.speeds * int(found[1]) / 1000 / seconds_of(model, 1)
            values = torch.cat([angle.cos(), angle.sin(), torch.ones(2)])
            table[number] = 0
            table[number, : turns.says + 1] = (turns.size(table.shape[1]) * values).to(table)


def heads_of(
    model: MusicgenForConditionalGeneration, turns: Turns, heads: int
) -> dict[str, Tensor]:
    """Return the first rows of the projections of queries, keys and values, for so many heads."""
    config, table = model.config.decoder, model.text_encoder.shared.weight
    wide, n = config.hidden_size // config.num_attention_heads, len(turns.speeds)
    # From what the decoder attends to, back to the text encoder's values.
    into = getattr(model, "enc_to_dec_proj", None)
    back = torch.eye(table.shape[1]) if into is None else torch.linalg.pinv(into.weight.cpu())
    queries, keys, values = (torch.zeros(heads, wide, config.hidden_size) for _ in range(3))
    for head, offset in enumerate(OFFSETS[:heads]):
        cos, sin = (turns.speeds * offset).cos(), (turns.speeds * offset).sin()
        for i, place in enumerate(turns.places):
            queries[head, i, place], queries[head, i, turns.half + place] = cos[i], -sin[i]
            queries[head, n + i, place], queries[head, n + i, turns.half + place] = sin[i], cos[i]
    queries[:, turns.is_time, turns.half - 1] = 1  # so slow a turn that its cosine stays 1
    # The decoder's sines and cosines have a mean square of 1/2; a norm comes before the attention.
    size = turns.size(table.shape[1])
    gain = math.sqrt(wide / 2) / size
    keys[:, : turns.is_time] = SCORE / n * gain * back[: turns.is_time]
    keys[:, turns.is_time] = -DOUBT * gain * back[turns.is_time]
    values[:, 0] = LOUD / size * back[turns.says]
    named = {"q_proj": queries, "k_proj": keys, "v_proj": values}
    return {name: rows.flatten(0, 1).to(table) for name, rows in named.items()}
