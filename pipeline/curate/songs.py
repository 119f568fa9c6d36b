"""Group clips by the song they play, whatever the offset, gain, coding, speed or a voice over it.

A fingerprint is the spectrum on a scale of 36 steps per octave, freed of its envelope so that only
notes stand out. Two clips are slid along each other, at three speeds, and up and down by two
steps, of 2 % of pitch each. Their score is the best correlation; connected clips are one song.

Legend: T frames of 93 ms, B = 144 steps from 131 to 2093 Hz, N samples at 22 050 Hz, K clips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.segment import SAMPLE_RATE_HZ

FFT, HOP = 4096, 2048
FRAME_S = HOP / SAMPLE_RATE_HZ
STEPS, OCTAVES, LOWEST_HZ = 36, 4, 130.8
SHIFTS = (-2, -1, 0, 1, 2)
WAYS = tuple((speed, shift) for speed in (0.98, 1.0, 1.02) for shift in SHIFTS)
PEAK = 24
FEWEST_PEAKS = 20
LEAST_OVERLAP_S = 2.0
KEEP = 0.2
"""Pairs with a lower score are not worth storing: no threshold would join them."""


@dataclass(frozen=True)
class Pair:
    """Clips `first` < `second` (places in the list) that sound alike.

    `score` is a correlation, up to 1; `second` starts `lag_s` after `first` in the song. `within`
    is how much of the notes of the one is in the other, `beyond` the same the other way round, the
    larger first: up to 1, 0 is chance. A voice over one of two clips of a song leaves `within`
    high and `beyond` low.
    """

    first: int
    second: int
    score: float
    lag_s: float
    within: float = 1.0
    beyond: float = 1.0


def fingerprint(sound: np.ndarray) -> np.ndarray:
    """Return the fingerprint of `sound` (N,), int8 (T, 144); T is 0 for less than 0.2 s."""
    from scipy.ndimage import uniform_filter1d

    notes = note_spectra(sound)
    if len(notes):
        notes = notes - uniform_filter1d(notes, 2 * round(0.5 / FRAME_S) + 1, axis=0)
    return np.clip(24 * notes, -127, 127).round().astype(np.int8)


def note_spectra(sound: np.ndarray) -> np.ndarray:
    """Return how far each step stands out of its octave's half around it, log (T, 144)."""
    import librosa
    from scipy.ndimage import uniform_filter1d

    if len(sound) < FFT:
        return np.zeros((0, STEPS * OCTAVES))
    power = np.abs(librosa.stft(sound, n_fft=FFT, hop_length=HOP, center=False)).T
    beyond = STEPS // 4
    hz = LOWEST_HZ * 2 ** (np.arange(-beyond, STEPS * OCTAVES + beyond) / STEPS)
    at = hz * FFT / SAMPLE_RATE_HZ
    low = np.floor(at).astype(int)
    part = at - low
    steps = power[:, low] * (1 - part) + power[:, low + 1] * part
    steps = np.log(steps + 1e-3 * (steps.max() + 1e-9))
    return (steps - uniform_filter1d(steps, STEPS // 2, axis=1))[:, beyond:-beyond]


def compare(prints: Sequence[np.ndarray]) -> list[Pair]:
    """Return the pairs of `prints`, K arrays (T, 144), whose score is at least 0.2."""
    lengths = np.array([len(print_) for print_ in prints])
    least = round(LEAST_OVERLAP_S / FRAME_S)
    usable = [index for index, length in enumerate(lengths) if length >= least]
    pairs: list[Pair] = []
    if len(usable) < 2:
        return pairs
    longest = int(lengths.max())
    held = np.zeros((len(usable), longest, STEPS * OCTAVES), np.float32)
    for row, index in enumerate(usable):
        held[row, : lengths[index]] = prints[index]
    long = lengths[usable]
    size = 1 << int(np.ceil(np.log2(2.1 * longest)))
    spectra, loud, there = _spectra(held, long, size)
    for row, index in enumerate(usable[:-1]):
        rest = slice(row + 1, None)
        best = np.full((len(usable) - row - 1, size), -1.0)
        how = np.zeros(best.shape, np.int8)
        for way, (speed, shift) in enumerate(WAYS):
            if shift == SHIFTS[0]:
                mine = _at_speed(held[row, : long[row]], speed)[None]
                ours, our_loud, our_there = _spectra(mine, np.array([mine.shape[1]]), size)
                # Correlation: entry l of each row is the sum over t of first[t + l] · second[t].
                first = np.fft.irfft(our_loud * there[rest].conj(), size, axis=1)
                second = np.fft.irfft(our_there * loud[rest].conj(), size, axis=1)
                frames = np.fft.irfft(our_there * there[rest].conj(), size, axis=1)
                norm = np.sqrt(np.maximum(first, 1) * np.maximum(second, 1))
                norm[frames < least - 0.5] = np.inf
            a = slice(max(0, shift), STEPS * OCTAVES + min(0, shift))
            b = slice(max(0, -shift), STEPS * OCTAVES + min(0, -shift))
            product = np.einsum("fb,kfb->kf", ours[0][:, a], spectra[rest][:, :, b].conj())
            values = np.fft.irfft(product, size, axis=1) / norm
            how[values > best] = way
            best = np.maximum(best, values)
        lags = best.argmax(1)
        scores = best[np.arange(len(best)), lags]
        for other in np.flatnonzero(scores >= KEEP):
            lag = int(lags[other]) - (size if lags[other] > size // 2 else 0)
            second_row = row + 1 + other
            speed, shift = WAYS[how[other, lags[other]]]
            mine = _at_speed(held[row, : long[row]], speed)
            theirs = held[second_row, : long[second_row]]
            both = sorted(
                (contained(mine, theirs, lag, shift), contained(theirs, mine, -lag, -shift))
            )
            score = round(float(scores[other]), 4)
            pairs.append(Pair(index, usable[second_row], score, lag * FRAME_S, both[1], both[0]))
    return pairs


def contained(part: np.ndarray, whole: np.ndarray, lag: int, shift: int) -> float:
    """Return how much of the notes of `part` (T, B) is in `whole` (T', B), 0 by chance, up to 1.

    Frame t, step b of `part` is frame t - lag, step b - shift of `whole`; one either way counts. A
    note is there if it stands out half as much.
    """
    from scipy.ndimage import maximum_filter

    t, b = np.nonzero((part == maximum_filter(part, (1, 5))) & (part >= PEAK))
    u, c = t - lag, b - shift
    inside = (u >= 0) & (u < len(whole)) & (c >= 0) & (c < whole.shape[1])
    t, b, u, c = t[inside], b[inside], u[inside], c[inside]
    if len(t) < FEWEST_PEAKS:
        return 0.0
    strength = part[t, b]
    around = maximum_filter(whole, 3)
    found = strength[around[u, c] >= 0.5 * strength].sum() / strength.sum()
    ordered = np.sort(around[u.min() : u.max() + 1], axis=None)
    by_chance = 1 - np.searchsorted(ordered, 0.5 * strength).mean() / len(ordered)
    return round(float((found - by_chance) / max(1e-6, 1 - by_chance)), 4)


def _spectra(
    held: np.ndarray, lengths: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the Fourier transforms over time of prints (K, T, B), their energy, their presence."""
    spectra = np.fft.rfft(held, size, axis=1).astype(np.complex64)
    there = np.arange(held.shape[1]) < lengths[:, None]
    return spectra, np.fft.rfft((held**2).sum(2), size, axis=1), np.fft.rfft(there, size, axis=1)


def _at_speed(print_: np.ndarray, speed: float) -> np.ndarray:
    """Return a fingerprint (T, B) as it would be if its clip played `speed` times as fast."""
    at = np.arange(0, len(print_) - 1, speed)
    low = at.astype(int)
    part = (at - low)[:, None].astype(np.float32)
    return print_[low] * (1 - part) + print_[low + 1] * part


@dataclass(frozen=True)
class Joining:
    """When two clips play one song.

    Strong pairs: a score of at least `strong`, and `both` of the notes of either in the other,
    which songs that share chords and drums lack. Pairs that a voice over one would explain: a score
    of at least `weak`, at least `within` of the one in the other, at most `beyond` the other way.
    """

    strong: float
    both: float
    weak: float
    within: float
    beyond: float


def group(count: int, pairs: Sequence[Pair], joining: Joining) -> list[int]:
    """Return for each of `count` clips the lowest place in its group.

    What strong pairs connect is one song. A clip left alone joins the clip most like it where a
    voice would explain the difference; so it connects no two songs.
    """
    leader = list(range(count))

    def find(place: int) -> int:
        while leader[place] != place:
            leader[place] = leader[leader[place]]
            place = leader[place]
        return place

    def join(pair: Pair) -> None:
        first, second = sorted((find(pair.first), find(pair.second)))
        leader[second] = first

    alone = set(range(count))
    for pair in pairs:
        if pair.score >= joining.strong and pair.beyond >= joining.both:
            join(pair)
            alone -= {pair.first, pair.second}
    for pair in sorted(pairs, key=lambda pair: (-pair.score, pair.first, pair.second)):
        voice = pair.within >= joining.within and pair.beyond <= joining.beyond
        if pair.score >= joining.weak and voice and alone & {pair.first, pair.second}:
            join(pair)
            alone -= {pair.first, pair.second}
    return [find(place) for place in range(count)]


def song_id(clip_ids: Sequence[str]) -> str:
    """Return the id of a group: of its clip whose name has the lowest hash.

    So no other song's id depends on a clip that comes or goes, and this one's seldom does.
    """
    return "song-" + min(hashlib.sha256(name.encode()).hexdigest() for name in clip_ids)[:10]
