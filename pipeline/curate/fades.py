"""Find cross-fades, and fades to and from one colour: candidates by arithmetic, then TransNetV2.

In a cross-fade a frame is the mean of those shortly before and after it. Where something moves it
is not. So the network runs only around frames that are such a mean where the picture changes, and
it sees only the part that changes: a dancer who fades into another one in the same place is small.

Legend: n frames, h, w size of a frame. A span (start, stop) is half-open, in frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipeline.curate.transnet import TransNetV2

SIDES_S = (0.2, 0.3)
"""How far before and after a frame the two others are."""
CHANGE_GREY = 12.0
MIN_CHANGED = 0.015
"""At least this share of the frame changes by more than `CHANGE_GREY` between the two others."""
MAX_ERROR = 0.25
"""The frame differs from their mean by at most this share of the change. A motion has about 0.5."""
GAP_S = 0.3
"""Mixed frames closer than this are one candidate."""
MIN_RUN = 2
"""A single mixed frame is chance."""
FADED = 0.3
"""The least probability of a frame to belong to the transition."""
EDGE_S = 0.04
"""The first and last frames of a fade are too faint for the network; so much is added."""


def find_fades(
    frames: np.ndarray, frame_s: float, net: TransNetV2, least: float
) -> list[tuple[int, int]]:
    """Return the spans of the fades in `frames`, uint8 (n, h, w, 3), in order.

    A candidate is a fade if the network gives its frames a mean probability of at least `least`.
    Its length is the number of frames that the network counts to it; its middle is the frame that
    the network calls the middle, because a dancer who moves on makes one end look longer.
    """
    spans = []
    for start, stop in candidates(frames, frame_s):
        first, middle, within = _probabilities(net, frames, start, stop, frame_s)
        inside = slice(start - first, stop - first)
        if within[inside].mean() >= least:
            peak = start - first + int(middle[inside].argmax())
            begin, end = peak, peak + 1
            while begin > 0 and within[begin - 1] >= FADED:
                begin -= 1
            while end < len(within) and within[end] >= FADED:
                end += 1
            at, half = first + peak, (end - begin) // 2 + round(EDGE_S / frame_s)
            spans.append((max(0, at - half), min(len(frames), at + half + 1)))
    return spans


def candidates(frames: np.ndarray, frame_s: float) -> list[tuple[int, int]]:
    """Return the spans in which the frames (n, h, w, 3) are mixtures of those around them."""
    mixed = np.zeros(len(frames), bool)
    for side in {max(1, round(side_s / frame_s)) for side_s in SIDES_S}:
        for at in range(side, len(frames) - side):
            before, now, after = _grey(frames[[at - side, at, at + side]])
            change = np.abs(after - before)
            changed = change > CHANGE_GREY
            if changed.mean() > MIN_CHANGED:
                error = np.abs(now - (before + after) / 2)[changed].sum()
                mixed[at] |= error < MAX_ERROR * change[changed].sum()
    bounds = np.flatnonzero(np.diff(mixed, prepend=False, append=False)).reshape(-1, 2)
    spans: list[tuple[int, int]] = []
    for start, stop in bounds.tolist():
        if stop - start < MIN_RUN:
            continue
        if spans and start - spans[-1][1] < GAP_S / frame_s:
            start = spans.pop()[0]
        spans.append((start, stop))
    return spans


def changed_part(frames: np.ndarray, start: int, stop: int, frame_s: float) -> tuple[slice, slice]:
    """Return the rows and the columns of `frames` that differ most before and after a span."""
    side = round(max(SIDES_S) / frame_s)
    before, after = _grey(frames[[max(0, start - side), min(stop + side, len(frames)) - 1]])
    change = np.abs(after - before)
    changed = change > max(CHANGE_GREY, change.max() / 2)
    return _range(changed.sum(1)), _range(changed.sum(0))


def _range(changed: np.ndarray) -> slice:
    """Return where `changed` (pixels of a line) is 2 or more, with a margin; 9 lines or more."""
    lines = np.flatnonzero(changed >= 2)
    if not len(lines):
        return slice(None)
    first, last = int(lines[0]), int(lines[-1])
    size = last + 1 - first
    margin = max(round(0.15 * size), (9 - size) // 2)
    return slice(max(0, first - margin), last + 1 + margin)


def _probabilities(
    net: TransNetV2, frames: np.ndarray, start: int, stop: int, frame_s: float
) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the index of the first frame around a candidate that the network judges, and how
    likely these frames are the middle, and any frame, of a transition.
    """
    from pipeline.curate.transnet import MARGIN, STEP, small_frames, transitions

    windows = -(-(stop - start + MARGIN) // STEP)
    first = (start + stop - windows * STEP) // 2
    last = first + windows * STEP
    seen = np.clip(np.arange(first - MARGIN, last + MARGIN), 0, len(frames) - 1)
    small = small_frames(frames[(seen, *changed_part(frames, start, stop, frame_s))])
    kept = slice(max(0, -first), len(small) - 2 * MARGIN - max(0, last - len(frames)))
    middle, within = transitions(net, small, MARGIN, len(small) - MARGIN)
    return max(0, first), middle[kept], within[kept]


def _grey(frames: np.ndarray) -> np.ndarray:
    return frames.mean(-1, dtype=np.float32)
