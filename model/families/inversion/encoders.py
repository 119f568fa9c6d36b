"""The two encoders that are trained: a rhythm and a genre become words of the text encoder.

Sizes and layers are those of the MusicGen branch of Li et al.'s code (SIGGRAPH Asia 2024), and so
are the names of the parameters: 4,562,829 and 599,060 at 303 values and a text encoder of width
768.

Symbols: B batch, R values of a rhythm, G genres, C width inside, E width of the text encoder, P
words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEADS, HEAD_WIDTH = 8, 64


class Attention(nn.Module):
    """Attention of words (B, L, C) to each other, with its residual connection."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        inner = HEADS * HEAD_WIDTH
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(width, inner, bias=False)
        self.to_v = nn.Linear(width, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            to(x).unflatten(2, (HEADS, HEAD_WIDTH)).transpose(1, 2)
            for to in (self.to_q, self.to_k, self.to_v)
        )
        heard = F.scaled_dot_product_attention(q, k, v)
        return x + self.to_out(heard.transpose(1, 2).flatten(2))


class RhythmBlock(nn.Module):
    """Two layers of attention, and one linear layer that makes the words."""

    def __init__(self, width: int, out: int, dropout: float = 0.05) -> None:
        super().__init__()
        self.attn1 = Attention(width, dropout)
        self.attn2 = Attention(width, dropout)
        self.net = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, out))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.attn2(self.attn1(x)))


class RhythmEncoder(nn.Module):
    """A rhythm (B, R) of zeros and ones becomes P words (B, P, E).

    As published, the complete rhythm is one position, so that the attention between positions has
    only itself to attend to: queries and keys get no gradient.
    """

    def __init__(self, values: int, width: int, out: int, words: int = 1) -> None:
        super().__init__()
        self.words = words
        self.pos_emb = nn.Parameter(torch.randn(values, 1) * 0.02)
        self.input_projection = nn.Sequential(
            nn.LayerNorm(values),
            nn.Linear(values, width),
            nn.Dropout(0.1),
            nn.SiLU(),
            nn.Linear(width, width),
        )
        self.rembed = RhythmBlock(width, words * out)

    def forward(self, rhythm: Tensor) -> Tensor:
        x = (rhythm[:, None] + self.pos_emb[:, 0]).float()
        return self.rembed(self.input_projection(x)).unflatten(2, (self.words, -1))[:, 0]


class GenreEncoder(nn.Module):
    """A genre (B, G) as one of zeros and a one becomes a word (B, 1, E)."""

    def __init__(self, genres: int, width: int, out: int) -> None:
        super().__init__()
        self.projector = nn.Sequential(
            nn.LayerNorm(genres), nn.Linear(genres, width), nn.SiLU(), nn.Linear(width, out)
        )

    def forward(self, genre: Tensor) -> Tensor:
        return self.projector(genre)[:, None]
