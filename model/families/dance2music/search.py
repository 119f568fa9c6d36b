"""The search of Dance2Music: notes whose repetitions follow those of the poses.

Source: "Dance2Music: Automatic Dance-driven Music Generation" (Aggarwal and Parikh 2021) and its
code. A pose and a note are alike or not; both are compared with their own past. The music is right
if its matrix of similarities correlates with that of the dance.

Symbols: F frames at 30 a second, P points, n notes of NOTE_FRAMES frames, K kept sequences.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from model.contract.notes import NOTE_COLUMNS, TRACKS
from model.families.notes.poses import BODY_JOINTS, POSE_FPS

NOTE_FRAMES = 6
NOTE_S = NOTE_FRAMES / POSE_FPS
PITCHES = (60, 62, 64, 67, 69)
"""The pentatonic scale of C; a note is an index of it."""
FIRST = 2
"""The first note of every piece."""
MEMORY = 10
"""How many of the last notes are compared with the dance."""
BEAM = 50
DELAY_S = NOTE_S
"""The original plays a note when the frames that it was chosen for are over."""
VELOCITY = 100

BODY_POINTS = (*range(8), *range(9, 19))
"""The 18 points of BODY_25 that the original reads: neither mid-hip nor feet."""
SMPL_POINTS = tuple(range(22))
"""The joints of SMPL without its hands."""

ALIKE = 1 - abs(np.subtract.outer(np.arange(5.0), np.arange(5.0))) / 4
"""The similarity of two notes: 1 if they are the same, 0 for the lowest and the highest."""
HOLD_FIRST = np.array([[a, *(b for b in range(5) if b != a)] for a in range(5)])
"""Which notes to try after each note: itself, then the others from the lowest."""
CONSTANT = 1e-9
"""A matrix whose standard deviation is below this is constant, but for rounding."""


def unit_poses(points: np.ndarray) -> np.ndarray:
    """Return poses as vectors of length 1: (F, 2 P) of the x and y (F, J, 2) of all joints.

    A pose in which all points are in the middle is 0, and resembles none.
    """
    chosen = BODY_POINTS if points.shape[1] == BODY_JOINTS else SMPL_POINTS
    vectors = np.asarray(points, np.float64)[:, list(chosen)].reshape(len(points), -1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def dance_matrix(poses: np.ndarray) -> np.ndarray:
    """Return the mean cosine similarity (n, n) between the frames of each two notes.

    `poses` (F, 2 P) has vectors of length 1; frames after the last whole note are left out. The
    mean over all pairs of frames of two notes is the product of the notes' mean vectors.
    """
    count = len(poses) // NOTE_FRAMES
    means = poses[: count * NOTE_FRAMES].reshape(count, NOTE_FRAMES, poses.shape[1]).mean(1)
    return means @ means.T


def reward(dance: np.ndarray, notes: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of a dance matrix (m, m) with those of K times m notes: (K,).

    It is 0 where either matrix is constant, as for a dancer who stands still.
    """
    music = ALIKE[notes[:, :, None], notes[:, None]].reshape(len(notes), -1)
    music = music - music.mean(1, keepdims=True)
    flat = dance.ravel() - dance.mean()
    scale = np.sqrt((music**2).mean(1)), np.sqrt((flat**2).mean())
    varies = (scale[0] > CONSTANT) & (scale[1] > CONSTANT)
    found = np.zeros(len(notes))
    np.divide(music @ flat / flat.size, scale[0] * scale[1], out=found, where=varies)
    return np.round(found, 12)  # so that the order of a sum breaks no tie


def search(dance: np.ndarray, beam: int = BEAM) -> np.ndarray:
    """Return the notes (n,) found for a dance matrix (n, n), as indices of PITCHES.

    Each kept sequence is continued by every note, and the `beam` best are kept, judged by the last
    MEMORY notes. With `beam` 1 each note is final at once, as the original's "realtime". Of equally
    good sequences that is preferred which holds its notes or else is lower, note by note: so a
    dancer who stands still hears one long note.
    """
    if beam < 1:
        raise ValueError(f"beam is {beam}; expected at least 1")
    if not len(dance):
        return np.zeros(0, int)
    kept = np.array([[FIRST]])
    for count in range(2, len(dance) + 1):
        notes = HOLD_FIRST[kept[:, -1]].reshape(-1, 1)
        longer = np.concatenate([np.repeat(kept, len(PITCHES), 0), notes], 1)
        start = max(0, count - MEMORY)
        found = reward(dance[start:count, start:count], longer[:, start:])
        best = np.sort(np.argsort(-found, kind="stable")[:beam])  # sequences stay in order
        kept, scores = longer[best], found[best]
    return kept[0] if len(dance) == 1 else kept[scores.argmax()]


def note_rows(notes: np.ndarray, seconds: float, delay_s: float = DELAY_S) -> np.ndarray:
    """Return indices of PITCHES (n,) as rows of NOTE_COLUMNS (N, 7): equal neighbours are one note.

    The notes begin `delay_s` after the first pose; what is after `seconds` is left out.
    """
    starts = [0, *np.flatnonzero(np.diff(notes)) + 1, len(notes)] if len(notes) else []
    rows = []
    for start, stop in pairwise(starts):
        onset_s = start * NOTE_S + delay_s
        end_s = min(stop * NOTE_S + delay_s, seconds)
        if onset_s < seconds:
            pitch = PITCHES[notes[start]]
            rows.append((onset_s, end_s - onset_s, pitch, VELOCITY, 0, TRACKS.index("lead"), -1))
    return np.array(rows, np.float64).reshape(-1, len(NOTE_COLUMNS))
