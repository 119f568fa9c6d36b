"""Compose the songs of the benchmark: drums, bass, chords and a riff in the style of each genre.

Everything is additive synthesis and shaped noise on a grid of sixteenth notes, so the beat times
are known exactly. A song depends only on (seed, song id). A pattern is a bar of 16 steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipeline.sources.synthetic.instruments import DRUMS, SAMPLE_RATE_HZ, TIMBRES, voice_of
from pipeline.sources.synthetic.styles import STYLES, Style

SONG_S = 32.0
SONGS_PER_GENRE = 6
PEAK = 0.9

PENTATONIC = (0, 2, 3, 4, 6)
"""Scale degrees that a riff uses: none is a dissonant second to a chord note."""


@dataclass(frozen=True)
class Song:
    """A song: `samples` (N,) float32 mono, peak 0.9; `beat_times_s` (K,) of every quarter note."""

    song_id: str
    genre: str
    tempo_bpm: float
    samples: np.ndarray
    beat_times_s: np.ndarray
    sample_rate_hz: int = SAMPLE_RATE_HZ

    def excerpt(self, start_s: float, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the samples of [start, start + duration), and its beats in seconds from start."""
        first = round(start_s * self.sample_rate_hz)
        count = round(duration_s * self.sample_rate_hz)
        if first < 0 or first + count > len(self.samples):
            raise ValueError(
                f"{self.song_id}: excerpt {start_s}+{duration_s} s lies outside the song's "
                f"{len(self.samples) / self.sample_rate_hz:.2f} s"
            )
        beats = self.beat_times_s - first / self.sample_rate_hz
        return self.samples[first : first + count], beats[(beats >= 0) & (beats < duration_s)]


def tempo_of(genre: str, index: int) -> float:
    """Return the tempo in BPM of song `index` (from 0); a genre's songs cover its tempo range."""
    low, high = STYLES[genre].tempo_bpm
    return round(low + (high - low) * (index % SONGS_PER_GENRE) / (SONGS_PER_GENRE - 1), 1)


@lru_cache(maxsize=2)
def compose(song_id: str, seed: int = 0, duration_s: float = SONG_S) -> Song:
    """Compose song `m<genre><index>`; the same id, seed and duration give the same samples."""
    genre, index = song_id[1:3], song_id[3:]
    if song_id[:1] != "m" or genre not in STYLES or not index.isdigit():
        raise ValueError(f"{song_id!r} is not a song id; expected m<genre><index>, such as mBR0")
    style, rng = STYLES[genre], np.random.default_rng([seed, *song_id.encode()])
    tempo_bpm = tempo_of(genre, int(index))
    beat_s = 60 / tempo_bpm
    start_s = float(rng.uniform(0.05, beat_s / 2))
    bars = int(np.ceil((duration_s - start_s) / (4 * beat_s)))
    band = _Band(style, rng, start_s, beat_s, round(duration_s * SAMPLE_RATE_HZ))
    for bar in range(bars):
        band.play(bar)
    beats = start_s + beat_s * np.arange(4 * bars)
    return Song(song_id, genre, tempo_bpm, band.mix(), beats[beats < duration_s])


class _Band:
    """The musicians of one song. The random parts are drawn once; then it plays bar by bar."""

    def __init__(
        self, style: Style, rng: np.random.Generator, start_s: float, beat_s: float, samples: int
    ) -> None:
        self.style, self.start_s, self.beat_s = style, start_s, beat_s
        self.tracks = np.zeros((4, samples), dtype=np.float32)  # drums, bass, chords, lead
        self.key = int(rng.integers(-5, 6))
        self.progression = style.progressions[int(rng.integers(len(style.progressions)))]
        self.drums = dict(style.drums)
        low = "stomp" if "stomp" in self.drums else "kick"
        for step in rng.permutation(style.ghosts)[: int(rng.integers(0, 3))]:
            self.drums[low] = _replace(self.drums[low], int(step), "5")
        self.riff = self._riff(rng)
        noise = np.random.default_rng(int(rng.integers(2**32)))
        self.kit = {name: DRUMS[name](noise) for name in self.drums}
        self.notes: dict[tuple[str, int, int], np.ndarray] = {}

    def _riff(self, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Draw two bars of (step, pentatonic degree) as a random walk on eighth notes."""
        degree, riff = int(rng.integers(0, 5)), []
        for step in range(0, 32, 2):
            weight = 1.6 if step % 4 == 0 else 0.8
            if rng.random() < self.style.lead_density * weight:
                riff.append((step, degree))
                degree = int(np.clip(degree + rng.integers(-2, 3), -2, 7))
        return riff or [(0, degree)]

    def play(self, bar: int) -> None:
        style, root = self.style, self.progression[bar % len(self.progression)]
        fill = bar % 4 == 3
        for name, pattern in self.drums.items():
            for step, loud in enumerate(pattern):
                if loud.isdigit():
                    self._add(0, bar, step, self.kit[name], int(loud) / 9)
        if fill and "snare" in self.kit:
            for step, gain in ((13, 0.35), (14, 0.5), (15, 0.6)):
                self._add(0, bar, step, self.kit["snare"], gain)
        stack = [_pitch(style.scale, root + 2 * i) for i in range(max(4, style.chord_notes))]
        tones = {"1": 0, "3": stack[1] - stack[0], "5": stack[2] - stack[0],
                 "7": stack[3] - stack[0], "8": 12}  # fmt: skip
        for step, tone in enumerate(style.bass):
            if tone != ".":
                pitch = style.bass_midi + self.key + _fold(stack[0], 12) + tones[tone]
                self._note(1, bar, step, style.voices[0], pitch, style.bass_steps)
        chord = [style.chord_midi + self.key + _fold(p, 16) for p in stack[: style.chord_notes]]
        for step, mark in enumerate(style.chords):
            if mark == "x":
                for pitch in chord:
                    self._note(2, bar, step, style.voices[1], pitch, style.chord_steps)
            elif mark.isdigit():
                octave, place = divmod(int(mark), len(chord))
                pitch = sorted(chord)[place] + 12 * octave
                self._note(2, bar, step, style.voices[1], pitch, style.chord_steps)
        for step, degree in self.riff:
            if step // 16 == bar % 2:
                octave, place = divmod(degree, len(PENTATONIC))
                pitch = style.chord_midi + 12 + self.key + 12 * octave
                pitch += style.scale[PENTATONIC[place]]
                self._note(3, bar, step % 16, style.voices[2], pitch, 3)

    def _note(self, track: int, bar: int, step: int, voice: str, midi: int, steps: int) -> None:
        key = (voice, midi, steps)
        if key not in self.notes:
            hz = 440 * 2 ** ((midi - 69) / 12)
            self.notes[key] = voice_of(TIMBRES[voice], hz, steps * self.beat_s / 4)
        self._add(track, bar, step, self.notes[key], 1.0)

    def _add(self, track: int, bar: int, step: int, sound: np.ndarray, gain: float) -> None:
        gain *= (1.0, 0.5, 0.65, 0.5)[step % 4]  # accent the beat
        swing = self.style.swing * (0.5 if step % 4 == 2 else 0.25) if step % 4 else 0.0
        at_s = self.start_s + self.beat_s * (4 * bar + step / 4 + swing / 2)
        first = round(at_s * SAMPLE_RATE_HZ)
        room = self.tracks.shape[1] - first
        if room > 0:
            self.tracks[track, first : first + len(sound)] += gain * sound[:room]

    def mix(self) -> np.ndarray:
        """Sum the tracks at the levels of the style; lower all but the drums after each beat."""
        drums, *pitched = (
            level * track / max(1e-6, float(np.sqrt(np.mean(track**2)) * 6))
            for level, track in zip(self.style.levels, self.tracks, strict=True)
        )
        rest = np.asarray(sum(pitched))
        if self.style.pump:
            since_s = (np.arange(len(rest)) / SAMPLE_RATE_HZ - self.start_s) % self.beat_s
            rest = rest * (1 - self.style.pump * np.exp(-since_s / 0.1))
        mixed = np.tanh(drums + rest)
        return (PEAK * mixed / np.abs(mixed).max()).astype(np.float32)


def _replace(text: str, at: int, char: str) -> str:
    return text[:at] + char + text[at + 1 :] if text[at] == "." else text


def _pitch(scale: tuple[int, ...], degree: int) -> int:
    octave, step = divmod(degree, len(scale))
    return scale[step] + 12 * octave


def _fold(pitch: int, limit: int) -> int:
    return pitch - 12 * (pitch // 12) if pitch >= limit else pitch
