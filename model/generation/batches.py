"""The music of several pieces at once: on any machine much faster than one after the other.

Symbols: N samples at 22 050 Hz.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor

from model.codecs.base import decode_in_chunks, samples_per_code
from model.data.inputs import GENRE
from model.data.pieces import Piece
from model.data.reader import genre_index
from model.generation.run import Run

SEGMENTS_AT_ONCE = 128
"""At most so many segments are drawn together, which bounds the memory."""


def music_of_each(
    run: Run, pieces: Iterable[Piece], options: Any = None
) -> Iterator[tuple[Piece, Tensor]]:
    """Yield each piece with its music (N,), as long as its windows, not clipped.

    Neighbouring pieces of the same length are generated together, if the family can. The pieces,
    their order and the seed then decide the music of each.
    """
    for batch in batches(pieces, run.model.pieces_at_once):
        yield from zip(batch, music_of_batch(run, batch, options), strict=True)


def batches(pieces: Iterable[Piece], most: int) -> Iterator[list[Piece]]:
    """Yield neighbouring pieces of the same length, all with or all without a genre."""
    held: list[Piece] = []
    for piece in pieces:
        fits = (
            held
            and len(held) < min(most, SEGMENTS_AT_ONCE // piece.segments)
            and piece.segments == held[0].segments
            and bool(piece.genre) == bool(held[0].genre)
        )
        if held and not fits:
            yield held
            held = []
        held.append(piece)
    if held:
        yield held


@torch.no_grad()
def music_of_batch(run: Run, pieces: Sequence[Piece], options: Any = None) -> Tensor:
    """Return the music (B, N) of B pieces of the same length."""
    samples = pieces[0].segments * run.dataset.samples
    steps = {name: ceil(samples / samples_per_code(run.codec, name)) for name in run.model.levels}
    each = [inputs_of_piece(run, piece, 1) for piece in pieces]
    inputs = {name: torch.cat([one[name] for one in each]) for name in each[0]}
    codes = run.model.generate(inputs, steps, options)
    found, level = codes[run.level], run.level
    if run.model.flat_memory:
        return decode_in_chunks(run.codec, found, level)[:, :samples].cpu()
    return run.codec.decode(found, level)[:, :samples].cpu()


def inputs_of_piece(run: Run, piece: Piece, count: int) -> dict[str, Tensor]:
    """Return the run's inputs of a piece, split into `count` equal parts: (count, T, D) by name."""
    inputs: dict[str, Tensor] = {}
    for name, spec in run.model.inputs.specs.items():
        if name == GENRE:
            if not piece.genre and GENRE in run.model.optional:
                continue
            index = genre_index(piece.genre, piece.video_id)
            inputs[name] = torch.full((count,), index, device=run.device)
        else:
            array = piece.inputs[name].reshape(count, -1, spec.features)
            inputs[name] = torch.from_numpy(array).to(run.device)
    return inputs
