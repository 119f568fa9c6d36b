"""New music for a part of a video: spans of given music are replaced, the rest is kept.

The music is encoded by the run's codec. Codes inside the spans are drawn anew, from the dance and
from the codes around them; all other codes stay exactly as they are. All codes are decoded
together, so that sound near a span may change a little, as far as the decoder looks around.

Symbols: N samples at 22 050 Hz, L codes of a level.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model.codecs.base import decode_in_chunks, encode_in_chunks, samples_per_code
from model.contract.exit_codes import UsageError
from model.contract.segment import PEAK, SAMPLE_RATE_HZ
from model.data.music_files import read_music
from model.data.pieces import Piece
from model.generation.batches import inputs_of_piece
from model.generation.run import Run

MISSING_S = 0.5
"""Music that ends this much before the dance is padded with silence."""

Span = tuple[float, float]


@dataclass(frozen=True)
class Replacement:
    """Music (N,) float32 from the start of the video on, and the spans of it to replace."""

    file: Path
    music: np.ndarray
    spans_s: tuple[Span, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """What generated.json reports."""
        return {"music": str(self.file), "replaced_s": [list(span) for span in self.spans_s]}


def replacement(
    run: Run, spans: Iterable[str], music: str | os.PathLike[str] | None, video: bool
) -> Replacement | None:
    """Return what to replace, or None if there are neither spans nor music.

    Raises ValueError, with advice, if one of the two is missing, if there is no video to follow,
    or if the run's family cannot keep a part of the music.
    """
    spans = list(spans)
    if not spans and music is None:
        return None
    if not spans:
        raise UsageError(
            f"--music {music} is the music of which a part is replaced: say which part, in "
            "seconds, with --replace START-END, such as --replace 3.0-5.0"
        )
    if music is None:
        raise UsageError(f"--replace {spans[0]} needs the music to keep: give it with --music FILE")
    if not video:
        raise UsageError("--replace works on one video and its music: give --video, not --shards")
    if not run.model.inpaints:
        raise ValueError(
            f"{run.folder}: a run of family {run.family} cannot keep a part of given music; train "
            "one that can with --family masked"
        )
    return Replacement(Path(music), read_music(Path(music)), parse_spans(spans))


def parse_spans(texts: Iterable[str]) -> tuple[Span, ...]:
    """Return the spans of texts such as "3.0-5.0" or "3-5,7-8.5", in seconds."""
    found = []
    for text in (part for whole in texts for part in whole.split(",")):
        start, dash, stop = text.strip().partition("-")
        try:
            span = float(start), float(stop)
        except ValueError:
            span = (1.0, 0.0)
        if not dash or not 0 <= span[0] < span[1] < float("inf"):
            raise UsageError(
                f"--replace {text.strip()}: expected START-END in seconds, with 0 <= START < END, "
                "such as 3.0-5.0; several with commas"
            )
        found.append(span)
    return tuple(found)


def check_fits(wanted: Replacement, pieces: Sequence[Piece], window_s: float) -> None:
    """Print how music and dance differ in length, if by little.

    Raises ValueError if they differ by more, or if a span is outside the music or the dance.
    """
    spans = [(piece.start_s, piece.start_s + piece.segments * window_s) for piece in pieces]
    end_s, music_s = max(stop for _, stop in spans), len(wanted.music) / SAMPLE_RATE_HZ
    # The rest of a video that is shorter than a window has no features, and gets no music.
    if not end_s - MISSING_S <= music_s < end_s + window_s + MISSING_S:
        raise ValueError(
            f"{wanted.file}: lasts {music_s:.2f} s, but the dance in the video is known until "
            f"{end_s:.2f} s; give the music of this video, from its first picture on"
        )
    known = ", ".join(f"{start:.2f}-{stop:.2f}" for start, stop in spans)
    for start, stop in wanted.spans_s:
        if stop > music_s + 1e-6:
            raise ValueError(
                f"--replace {start:g}-{stop:g}: {wanted.file} lasts {music_s:.2f} s; choose a "
                "span inside it"
            )
        if not any(first - 1e-6 <= start and stop <= last + 1e-6 for first, last in spans):
            raise ValueError(
                f"--replace {start:g}-{stop:g}: the dance is known at {known} s; choose a span "
                "inside one of these parts"
            )
    if music_s < end_s - 1e-3:
        print(f"note: {wanted.file}: {end_s - music_s:.2f} s of silence added at the end")
    elif music_s > end_s + 1e-3:
        print(f"note: {wanted.file}: the last {music_s - end_s:.2f} s are left out")


@torch.no_grad()
def inpainted(run: Run, piece: Piece, wanted: Replacement, options: Any = None) -> Tensor:
    """Return the music (N,) of a piece, as long as its windows, with new music in the spans."""
    samples = piece.segments * run.dataset.samples
    first = round(piece.start_s * SAMPLE_RATE_HZ)
    music = np.zeros(samples, np.float32)
    part = wanted.music[first : first + samples]
    music[: len(part)] = part
    peak = float(np.abs(music).max())
    gain = PEAK / peak if peak > 0 else 1.0
    codes = codes_of(run, music * gain)
    spans = [(start - piece.start_s, stop - piece.start_s) for start, stop in wanted.spans_s]
    replaced = {
        name: inside(spans, each.shape[1], samples_per_code(run.codec, name)).to(run.device)
        for name, each in codes.items()
    }
    made = run.model.inpaint(inputs_of_piece(run, piece, 1), codes, replaced, options)
    audio = decode_in_chunks(run.codec, made[run.level], run.level)[0, :samples].cpu() / gain
    return F.pad(audio, (0, samples - len(audio)))


def codes_of(run: Run, music: np.ndarray) -> dict[str, Tensor]:
    """Return the codes (1, L) of music (N,) by level, as many as `music_of` generates."""
    found = {}
    for name in run.model.levels:
        hop = samples_per_code(run.codec, name)
        count = ceil(len(music) / hop)
        # The last code may need samples after the end; a codec drops a part of a code.
        audio = F.pad(torch.from_numpy(music), (0, ceil(hop)))[None]
        found[name] = encode_in_chunks(run.codec, audio.to(run.device), name)[:, :count]
    return found


def inside(spans_s: Iterable[Span], count: int, hop: float) -> Tensor:
    """Return which of `count` codes (L,), of `hop` samples each, have their middle in a span."""
    middle_s = (torch.arange(count, dtype=torch.float64) + 0.5) * hop / SAMPLE_RATE_HZ
    found = torch.zeros(count, dtype=torch.bool)
    for start, stop in spans_s:
        found |= (middle_s >= start) & (middle_s < stop)
    return found
