"""Compare clips by sound; offset, gain, coding, speed or a voice over the music may differ.

A fingerprint is a clip's spectrum in dB on a scale of 36 steps per octave. Two clips are compared
at all time offsets: first all pairs, coarsely, at one speed; then the likely pairs at three speeds
and with the pitch shifted by one step (2 %) up and down. At the best match their levels are
compared. For the same recording the level difference is constant, except where a voice or noise is
louder than the music of one clip.

Legend: T frames of 46 ms, B = 252 steps from 62 to 7900 Hz, N samples at 22 050 Hz, K clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ

FFT, HOP = 2048, 1024
FRAME_S = HOP / SAMPLE_RATE_HZ
STEPS, OCTAVES, LOWEST_HZ = 36, 7, 62.0
LONGEST_S = 40.0
"""Only the first 40 s of a clip are compared: they identify a song and fit in memory."""
FLOOR_DB = 60.0
SPEEDS, SHIFTS = (0.98, 1.0, 1.02), (-1, 0, 1)
COARSE = (4, 3)
"""Frames and steps that the first comparison averages: 0.19 s and a semitone."""
MIN_COARSE, MIN_FINE = 0.65, 0.7
"""Pairs with lower values (from `_best`) are left out: no threshold would join them."""
NEAREST = 3
MIN_OVERLAP_S = 1.0
ALIKE_DB, LOUD_DB = 6.0, 30.0


@dataclass(frozen=True)
class Pair:
    """Two clips that sound alike; `first` < `second` are indices of the list.

    `score` is a correlation, at most 1. `second` starts `lag_s` after `first` in the song, and they
    overlap by `overlap_s`. `differs` (0 to 1): for each clip, the share of its loud parts that are
    less loud in the other clip; the smaller of the two shares. It stays small if there is a voice
    over only one of the clips.
    """

    first: int
    second: int
    score: float
    lag_s: float
    overlap_s: float
    differs: float


def fingerprint(sound: np.ndarray) -> np.ndarray:
    """Return the fingerprint of `sound` (N,): uint8 (T, 252), in units of 0.5 dB below the maximum.

    T is 0 for less than 0.1 s.
    """
    import librosa

    sound = sound[: round(LONGEST_S * SAMPLE_RATE_HZ)]
    if len(sound) < FFT:
        return np.zeros((0, STEPS * OCTAVES), np.uint8)
    power = np.abs(librosa.stft(sound, n_fft=FFT, hop_length=HOP, center=False)).T
    at = LOWEST_HZ * 2 ** (np.arange(STEPS * OCTAVES) / STEPS) * FFT / SAMPLE_RATE_HZ
    low = np.floor(at).astype(int)
    part = at - low
    steps = power[:, low] * (1 - part) + power[:, low + 1] * part
    below_db = -20 * np.log10(steps / (steps.max() + 1e-9) + 1e-6)
    return np.clip(2 * below_db, 0, 255).round().astype(np.uint8)


def compare(prints: Sequence[np.ndarray]) -> list[Pair]:
    """Return the pairs of `prints`, K arrays (T, 252), that may play the same song.

    Each clip's pairs with its three most similar clips (by the coarse comparison) are always
    included, whatever their score. The coarse comparison of all pairs needs 2 K² bytes.
    """
    places = [k for k, print_ in enumerate(prints) if len(print_) * FRAME_S >= MIN_OVERLAP_S]
    if len(places) < 2:
        return []
    used = [prints[k] for k in places]
    notes = [standing_out(print_) for print_ in used]
    rough = [_coarse(each) for each in notes]
    size = _size(rough)
    held = _transform(rough, size)
    least = MIN_OVERLAP_S / (COARSE[0] * FRAME_S)
    likely = np.zeros((len(places), len(places)), np.float16)
    for row in range(len(places) - 1):
        rest = tuple(part[row + 1 :] for part in held)
        mine = tuple(part[row : row + 1] for part in held)
        likely[row, row + 1 :] = _best(*_slid(mine, rest, (0,), size, least), COARSE[0])[0]
        likely[row + 1 :, row] = likely[row, row + 1 :]
    nearest = np.zeros(likely.shape, bool)
    np.put_along_axis(nearest, np.argsort(-likely, axis=1)[:, :NEAREST], True, axis=1)
    nearest |= nearest.T
    pairs: list[Pair] = []
    for row, first in enumerate(places):
        others = (
            row
            + 1
            + np.flatnonzero(nearest[row, row + 1 :] | (likely[row, row + 1 :] >= MIN_COARSE))
        )
        for other, good, numbers in _closely(row, others, notes, used):
            if good or nearest[row, other]:
                pairs.append(Pair(first, places[other], *numbers))
    return pairs


def standing_out(print_: np.ndarray) -> np.ndarray:
    """Return how much each value of a fingerprint (T, B) exceeds its surroundings, in dB.

    The surroundings are half an octave and 2 s.
    """
    from scipy.ndimage import uniform_filter1d

    level_db = -np.minimum(print_.astype(np.float32) / 2, FLOOR_DB)
    notes = level_db - uniform_filter1d(level_db, STEPS // 2, axis=1)
    return notes - uniform_filter1d(notes, 2 * round(1 / FRAME_S) + 1, axis=0)


def differing(first: np.ndarray, second: np.ndarray, lag: float, speed: float, shift: int) -> float:
    """Return `differs` (see `Pair`) of two fingerprints (T, B) and (T', B).

    Frame t, step b of `second` matches frame (t + lag) * speed, step b + shift of `first`.
    """
    at = (np.arange(len(second)) + lag) * speed
    there = (at >= 0) & (at <= len(first) - 1.001)
    if there.sum() * FRAME_S < MIN_OVERLAP_S / 2:
        return 1.0
    low = at[there].astype(int)
    part = (at[there] - low)[:, None].astype(np.float32)
    mine = -(first[low] * (1 - part) + first[low + 1] * part) / 2
    theirs = -second[there].astype(np.float32) / 2
    mine = mine[:, max(0, shift) : STEPS * OCTAVES + min(0, shift)]
    theirs = theirs[:, max(0, -shift) : STEPS * OCTAVES + min(0, -shift)]
    apart = mine - theirs
    loud = [level > level.max() - LOUD_DB for level in (mine, theirs)]
    counts, edges = np.histogram(apart[loud[0] | loud[1]], np.arange(-60.0, 61.0))
    gain_db = edges[np.convolve(counts, np.ones(6), "same").argmax()]
    louder = (apart[loud[0]] > gain_db + ALIKE_DB).mean()
    return float(min(louder, (apart[loud[1]] < gain_db - ALIKE_DB).mean()))


def _closely(
    row: int,
    others: np.ndarray,
    notes: Sequence[np.ndarray],
    prints: Sequence[np.ndarray],
) -> Iterator[tuple[int, bool, tuple[float, ...]]]:
    """Compare clip `row` with each of `others`, finely.

    Yields the other clip, whether they are similar, and the four numbers of `Pair`.
    """
    if not len(others):
        return
    size = _size([notes[row], *(notes[k] for k in others)])
    theirs = _transform([notes[k] for k in others], size)
    ways = []
    for speed in SPEEDS:
        mine = _transform([_at_speed(notes[row], speed)], size)
        ways.append(_best(*_slid(mine, theirs, SHIFTS, size, MIN_OVERLAP_S / FRAME_S), 1))
    best, score, lag, frames, shift = (np.stack(part) for part in zip(*ways, strict=True))
    for k, other in enumerate(others):
        way = int(best[:, k].argmax())
        at = int(lag[way, k])
        differs = min(
            differing(prints[row], prints[other], at + part, SPEEDS[way], steps)
            for part in (-0.5, -0.25, 0.0, 0.25, 0.5)
            for steps in {0, SHIFTS[shift[way, k]]}
        )
        numbers = score[way, k], at * FRAME_S, frames[way, k] * FRAME_S, differs
        yield other, best[way, k] >= MIN_FINE, tuple(round(float(n), 4) for n in numbers)


def _size(prints: Sequence[np.ndarray]) -> int:
    from scipy.fft import next_fast_len

    return next_fast_len(2 * max((len(print_) for print_ in prints), default=0) + 4, real=True)


def _transform(notes: Sequence[np.ndarray], size: int) -> tuple[np.ndarray, ...]:
    """Return the Fourier transforms over time of K arrays (T, B), their energy and their mask."""
    from scipy.fft import rfft

    spectra = np.stack([rfft(n, size, axis=0) for n in notes])
    energy = np.stack([rfft((n**2).sum(1), size) for n in notes])
    there = np.stack([rfft(np.ones(len(n), np.float32), size) for n in notes])
    return spectra, energy, there


def _slid(
    mine: tuple[np.ndarray, ...],
    theirs: tuple[np.ndarray, ...],
    shifts: Sequence[int],
    size: int,
    least: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Correlate one clip with K others.

    Returns the correlations (shifts, K, lags) and the number of common frames (K, lags). Lag l
    aligns frame t + l of the clip with frame t of the others; lags above half of `size` are
    negative. With fewer than `least` common frames the correlation is 0.
    """
    from scipy.fft import irfft

    def together(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return irfft(a * b.conj(), size, axis=1)

    one, energy, there = mine
    frames = together(there, theirs[2])
    norm = np.sqrt(
        np.maximum(together(energy, theirs[2]), 1) * np.maximum(together(there, theirs[1]), 1)
    )
    norm[frames < least - 0.5] = np.inf
    bands, values = one.shape[2], []
    for shift in shifts:
        a = one[0][:, max(0, shift) : bands + min(0, shift)]
        b = theirs[0][:, :, max(0, -shift) : bands + min(0, -shift)]
        product = np.einsum("fb,kfb->kf", a.conj(), b).conj()
        values.append(irfft(product, size, axis=1) / norm)
    return np.stack(values), frames


def _best(values: np.ndarray, frames: np.ndarray, each: int) -> tuple[np.ndarray, ...]:
    """Return for each of K clips: best value, correlation, lag, common frames, index of the shift.

    The best value is the correlation times the fourth root of the common time, counted in frames of
    46 ms (one frame here has `each` of them). This is because short pieces are often alike by
    chance.
    """
    count, size = frames.shape
    weighed = values * np.maximum(frames * each, 1) ** 0.25
    at = weighed.transpose(1, 0, 2).reshape(count, -1).argmax(1)
    shift, lag = np.divmod(at, size)
    rows = np.arange(count)
    found = values[shift, rows, lag]
    signed = np.where(lag > size // 2, lag - size, lag)
    return weighed[shift, rows, lag], found, signed, frames[rows, lag], shift


def _coarse(notes: np.ndarray) -> np.ndarray:
    """Return notes (T, B) averaged over four frames and three steps, (T / 4, B / 3)."""
    frames, steps = COARSE
    kept = notes[: len(notes) // frames * frames]
    return kept.reshape(len(kept) // frames, frames, -1, steps).mean((1, 3))


def _at_speed(notes: np.ndarray, speed: float) -> np.ndarray:
    """Return `notes` (T, B) of the clip played `speed` times as fast."""
    at = np.arange(0, len(notes) - 1, speed)
    low = at.astype(int)
    part = (at - low)[:, None].astype(np.float32)
    return notes[low] * (1 - part) + notes[low + 1] * part
