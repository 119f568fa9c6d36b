"""Draw codes from MusicGen's decoder, with guidance, from a prompt of earlier codes on.

transformers' own `generate` returns sound, but a longer piece is continued from codes.

Symbols: B batch, Q codebooks, L codes, P codes that are known, S words, D width of the decoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from model.text_to_music.delay import delayed, straightened


@torch.no_grad()
def draw(
    decoder: Any,
    words: Tensor,
    mask: Tensor,
    known: Tensor,
    length: int,
    guidance: float,
    top_k: int,
    temperature: float,
) -> Tensor:
    """Return codes (B, Q, length) that begin with the `known` ones (B, Q, P).

    `words` (B, S, D) are what the text encoder has made of the prompts, `mask` (B, S) int64 which
    of them are there. With a guidance other than 1, logits are those without words plus `guidance`
    times what the words add. `top_k` 1 takes the likeliest code; 0 draws among all.
    """
    start = decoder.config.pad_token_id
    count, books = len(words), known.shape[1]
    guides = guidance != 1
    if guides:
        words = torch.cat([words, torch.zeros_like(words)])
        mask = torch.cat([mask, torch.zeros_like(mask)])
    free = known.new_full((count, books, length), -1)
    free[..., : known.shape[2]] = known
    rows = delayed(free, start)
    # The first column is the start token of all codebooks.
    rows = torch.cat([rows.new_full((count, books, 1), start), rows], 2)
    cache, at = None, 0
    for step in range(1, rows.shape[2]):
        if not (rows[..., step] == -1).any():
            continue
        new = rows[..., at:step]
        new = new.repeat(2, 1, 1) if guides else new
        found = decoder(
            input_ids=new.flatten(0, 1),
            encoder_hidden_states=words,
            encoder_attention_mask=mask,
            cache=cache,
            use_cache=True,
        )
        cache, at = found.cache, step
        logits = found.logits[:, -1].float().unflatten(0, (-1, books))
        if guides:
            with_words, without = logits.chunk(2)
            logits = without + guidance * (with_words - without)
        drawn = choose(logits, top_k, temperature)
        rows[..., step] = torch.where(rows[..., step] == -1, drawn, rows[..., step])
    return straightened(rows[..., 1:])


def choose(logits: Tensor, top_k: int, temperature: float) -> Tensor:
    """Return a code (...) for logits (..., K), drawn among the `top_k` likeliest."""
    if top_k == 1:
        return logits.argmax(-1)
    logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, -1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    shares = logits.softmax(-1)
    return torch.multinomial(shares.flatten(0, -2), 1).view(shares.shape[:-1])
