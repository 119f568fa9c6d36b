"""Pieces of the same length are generated together, if the family can."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import torch
from token_models import small_inputs, small_model

from model.contract.segment import GENRES
from model.data.inputs import GENRE
from model.data.pieces import Piece
from model.generation.batches import SEGMENTS_AT_ONCE, batches, music_of_batch, music_of_each
from model.generation.run import Run


def piece(segments: int, genre: str = "") -> Piece:
    return Piece("a", 1, segments, 0.0, "", {}, genre=genre)


def lengths(most: int, *pieces: Piece) -> list[list[int]]:
    return [[one.segments for one in batch] for batch in batches(pieces, most)]


def test_neighbours_of_the_same_length_are_together_and_stay_in_order():
    given = [piece(n) for n in (4, 4, 4, 2, 2, 4)]
    assert lengths(2, *given) == [[4, 4], [4], [2, 2], [4]]
    assert lengths(32, *given) == [[4, 4, 4], [2, 2], [4]]
    assert lengths(1, *given) == [[4], [4], [4], [2], [2], [4]]
    assert lengths(32) == []


def test_a_batch_has_genres_or_none_and_a_limited_length():
    assert lengths(8, piece(2, "BR"), piece(2, "PO"), piece(2), piece(2, "BR")) == [
        [2, 2],
        [2],
        [2],
    ]
    half = SEGMENTS_AT_ONCE // 2
    assert lengths(8, *[piece(half)] * 3) == [[half, half], [half]]
    assert lengths(8, *[piece(2 * SEGMENTS_AT_ONCE)] * 2) == [[2 * SEGMENTS_AT_ONCE]] * 2


def test_the_music_of_a_batch_is_that_of_each_dance():
    """Without chance: only the likeliest code is drawn."""
    model = small_model()
    samples = model.inputs.samples
    run = cast(Run, Run(Path("."), "tokens", None, SimpleNamespace(samples=samples), model, 1))
    greedy = model.Options(top_p=(1e-6,), guidance=(2.0, 1.0))
    dances = small_inputs(3, segments=2)
    pieces = []
    for i, genre in enumerate(dances[GENRE].tolist()):
        arrays = {name: x[i].numpy() for name, x in dances.items() if name != GENRE}
        pieces.append(Piece(f"video{i}", 1, 2, 0.0, "", arrays, genre=GENRES[genre]))
    found = [*music_of_each(run, pieces, greedy)]
    assert [one.piece.video_id for one in found] == ["video0", "video1", "video2"]
    for one in found:
        (alone,) = music_of_batch(run, [one.piece], greedy)
        assert one.audio.shape == (2 * samples,) and one.notes is None
        torch.testing.assert_close(one.audio, alone.audio, rtol=1e-4, atol=1e-4)
