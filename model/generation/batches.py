"""The music of several pieces at once: on any machine much faster than one after the other.

Symbols: N samples at 22 050 Hz.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.data.inputs import GENRE
from model.data.pieces import Piece
from model.data.reader import genre_index
from model.generation.run import Run


@dataclass(frozen=True)
class Made:
    """The music (N,) of a piece, as long as its windows, not clipped.

    `notes` (M, 7) are its notes, if it was played from notes (`model.contract.notes`).
    """

    piece: Piece
    audio: Tensor
    notes: np.ndarray | None = None


SEGMENTS_AT_ONCE = 128
"""At most so many segments are drawn together, which bounds the memory."""


def music_of_each(run: Run, pieces: Iterable[Piece], options: Any = None) -> Iterator[Made]:
    """Yield the music of each piece.

    Neighbouring pieces of the same length are generated together, if the family can. The pieces,
    their order and the seed then decide the music of each.
    """
    for batch in batches(pieces, run.model.pieces_at_once):
        yield from music_of_batch(run, batch, options)


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
def music_of_batch(run: Run, pieces: Sequence[Piece], options: Any = None) -> list[Made]:
    """Return the music of pieces of the same length."""
    samples = pieces[0].segments * run.dataset.samples
    each = [inputs_of_piece(run, piece, 1) for piece in pieces]
    inputs = {name: torch.cat([one[name] for one in each]) for name in each[0]}
    audio, notes = run.model.sound(inputs, samples, options)
    if notes is None:
        return [Made(*one) for one in zip(pieces, audio.cpu(), strict=True)]
    return [Made(*one) for one in zip(pieces, audio.cpu(), notes, strict=True)]


def inputs_of_piece(run: Run, piece: Piece, count: int) -> dict[str, Tensor]:
    """Return the run's inputs of a piece, split into `count` equal parts: (count, T, D) by name."""
    inputs: dict[str, Tensor] = {}
    for name in run.model.inputs.specs:
        if name == GENRE:
            if not piece.genre and GENRE in run.model.optional:
                continue
            index = genre_index(piece.genre, piece.video_id)
            inputs[name] = torch.full((count,), index, device=run.device)
        else:
            array = piece.inputs[name]
            array = array.reshape(count, -1, array.shape[-1])
            inputs[name] = torch.from_numpy(array).to(run.device)
    return inputs
