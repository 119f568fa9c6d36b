"""The network of Dance2Music that chooses each note from the dance so far.

Symbols: B batch, n notes, F frames, P points, S = SIDE frames, M = MEMORY notes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from model.families.dance2music.search import MEMORY, NOTE_FRAMES, PITCHES

SIDE = MEMORY * NOTE_FRAMES
"""The frames that the network compares: the last two seconds."""
NO_NOTE = len(PITCHES)
"""Stands for a note before the first."""


class OnlineNetwork(nn.Module):
    """A convolutional network over the matrix of poses, and an LSTM over the last notes.

    `channels` are those of the six convolutions; the last one is the width of the dance's vector.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        embedding: int,
        hidden: int,
        mlp: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(a, b, 3) for a, b in pairwise((1, *channels))]
        pool = nn.MaxPool2d(2)
        layers: list[nn.Module] = []
        for index, convolution in enumerate(convolutions):
            layers += [convolution, nn.ReLU(), *([pool] if index in (0, 2) else [])]
        self.convolutions = nn.Sequential(*layers[:-1])
        self.embedding = nn.Embedding(len(PITCHES) + 1, embedding)
        self.lstm = nn.LSTM(embedding, hidden, 2, batch_first=True, bidirectional=True)
        head: list[nn.Module] = []
        for index, (a, b) in enumerate(pairwise((channels[-1] + 2 * hidden, *mlp))):
            head += [nn.Linear(a, b), nn.ReLU(), *([] if index else [nn.Dropout(dropout)])]
        self.head = nn.Sequential(*head, nn.Linear(mlp[-1], len(PITCHES)))

    def see(self, matrices: Tensor) -> Tensor:
        """Return the vectors (B, channels[-1]) of matrices of similarity (B, S, S)."""
        return self.convolutions(matrices[:, None]).mean((2, 3))

    def choose(self, dance: Tensor, notes: Tensor) -> Tensor:
        """Return the logits (B, 5) of the note that follows the last `notes` (B, M)."""
        heard = self.lstm(self.embedding(notes))[0][:, -1]
        return self.head(torch.cat([dance, heard], 1))

    def forward(self, matrices: Tensor, notes: Tensor) -> Tensor:
        """Return the logits (B, 5) for matrices (B, S, S) and the last notes (B, M)."""
        return self.choose(self.see(matrices), notes)


def window_of(poses: Tensor, note: int) -> Tensor:
    """Return the matrix (S, S) of the last frames when note `note` (from 0) is due.

    `poses` (F, 2 P) has vectors of length 1. The note is due when its own frames are over. Rows and
    columns before the first frame are 0.
    """
    stop = (note + 1) * NOTE_FRAMES
    last = poses[max(0, stop - SIDE) : stop]
    matrix = poses.new_zeros(SIDE, SIDE)
    matrix[SIDE - len(last) :, SIDE - len(last) :] = last @ last.T
    return matrix


def notes_before(notes: Tensor, note: int) -> Tensor:
    """Return the M notes before note `note` of `notes` (n,), filled with NO_NOTE from the left."""
    last = notes[max(0, note - MEMORY) : note]
    return torch.cat([last.new_full((MEMORY - len(last),), NO_NOTE), last])


@torch.no_grad()
def play(network: OnlineNetwork, poses: Tensor) -> Tensor:
    """Return the notes (n,) that the network chooses one after another for `poses` (F, 2 P)."""
    count = len(poses) // NOTE_FRAMES
    notes = torch.zeros(count, dtype=torch.long, device=poses.device)
    for start in range(0, count, 64):  # the dance does not depend on the notes
        some = range(start, min(start + 64, count))
        seen = network.see(torch.stack([window_of(poses, note) for note in some]))
        for note, dance in zip(some, seen, strict=True):
            notes[note] = network.choose(dance[None], notes_before(notes, note)[None])[0].argmax()
    return notes
