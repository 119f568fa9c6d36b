"""Compose the benchmark's songs: drums, bass, chords and a riff in the manner of each genre.

Everything is additive synthesis and shaped noise on a grid of sixteenths, so the beat times are
known exactly. A song depends on (seed, song id) alone. Patterns are written as 16-step bars.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

SAMPLE_RATE_HZ = 44_100
SONG_S = 32.0
SONGS_PER_GENRE = 6
PEAK = 0.9

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
DORIAN = (0, 2, 3, 5, 7, 9, 10)
PHRYGIAN = (0, 1, 3, 5, 7, 8, 10)
MIXOLYDIAN = (0, 2, 4, 5, 7, 9, 10)
PENTATONIC = (0, 2, 3, 4, 6)
"""Scale degrees a riff walks on: no clashing seconds against the chords."""


@dataclass(frozen=True)
class Timbre:
    """A pitched voice: partials (ratio, amplitude), decays, attack and release.

    A partial of ratio r dies as exp(-(decay + damping · r) t); `drive` saturates the sum.
    """

    partials: tuple[tuple[float, float], ...]
    decay: float = 1.0
    damping: float = 0.5
    attack_s: float = 0.004
    release_s: float = 0.04
    drive: float = 0.0
    vibrato: float = 0.0
    drop: float = 0.0


def _series(count: int, power: float, step: int = 1) -> tuple[tuple[float, float], ...]:
    return tuple((float(k), k**-power) for k in range(1, count + 1, step))


def _detuned(partials: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    return tuple((r * d, a / 2) for r, a in partials for d in (0.9965, 1.0035))


TIMBRES = {
    "round": Timbre(_series(4, 1.8), 1.5, 0.6),
    "slap": Timbre(_series(14, 0.9), 2.5, 1.2, 0.002, drive=1.5),
    "square": Timbre(_series(11, 1.0, 2), 2.0, 0.4),
    "acid": Timbre(_series(16, 0.8), 1.5, 1.5, 0.003, drive=2.0),
    "808": Timbre(((1.0, 1.0), (2.0, 0.15)), 1.6, 0.2, 0.002, 0.08, drive=1.2, drop=0.6),
    "growl": Timbre(_series(9, 0.6), 1.2, 0.1, 0.004, drive=6.0),
    "upright": Timbre(_series(6, 1.5), 3.0, 1.5, 0.006),
    "clav": Timbre(_series(12, 0.5), 9.0, 0.6, 0.001, 0.02),
    "guitar": Timbre(_series(10, 0.9), 7.0, 1.6, 0.002, 0.02),
    "epiano": Timbre(((1, 1.0), (2, 0.3), (3, 0.08), (7, 0.06), (14.1, 0.05)), 1.3, 0.5, 0.003),
    "stab": Timbre(_detuned(_series(10, 0.9)), 4.0, 0.4, 0.003, drive=0.8),
    "organ": Timbre(
        ((0.5, 0.4), (1, 1.0), (1.5, 0.5), (2, 0.7), (4, 0.4), (8, 0.3)), 0.2, 0, 0.006
    ),
    "strings": Timbre(_detuned(_series(8, 1.1)), 0.2, 0.0, 0.06, 0.15, vibrato=0.004),
    "brass": Timbre(_series(12, 0.7), 1.2, 0.15, 0.03, 0.05, drive=1.0),
    "piano": Timbre(tuple((k * (1 + 3e-4 * k * k), k**-1.3) for k in range(1, 9)), 1.2, 0.7, 0.002),
    "bell": Timbre(((1, 1.0), (2.76, 0.5), (5.4, 0.3), (8.93, 0.15)), 3.0, 0.4, 0.001, 0.1),
    "lead": Timbre(_series(9, 0.7, 2), 0.8, 0.1, 0.008, vibrato=0.006),
    "flute": Timbre(((1, 1.0), (2, 0.25), (3, 0.06)), 0.4, 0.1, 0.03, vibrato=0.006),
}


@dataclass(frozen=True)
class Style:
    """What makes a genre: tempo range, drum grid, bass, harmony, voices, loudness of each.

    Drums map a sound of `_DRUMS` to its bar: '.' rest, '1'–'9' loudness. In `bass`, '1' is the
    root, '3' '5' '7' chord notes, '8' the octave. In `chords`, 'x' strikes the chord and a digit
    plays one of its notes. `ghosts` are steps where a song may add kicks of its own.
    """

    tempo_bpm: tuple[float, float]
    drums: dict[str, str]
    bass: str
    chords: str
    scale: tuple[int, ...]
    progressions: tuple[tuple[int, ...], ...]
    voices: tuple[str, str, str]
    levels: tuple[float, float, float, float] = (1.0, 0.5, 0.35, 0.25)  # drums bass chords lead
    chord_notes: int = 3
    chord_steps: int = 2
    bass_steps: int = 3
    bass_midi: int = 36
    chord_midi: int = 60
    swing: float = 0.0
    pump: float = 0.0
    lead_density: float = 0.35
    ghosts: tuple[int, ...] = field(default=(6, 10, 14))


STYLES = {
    "BR": Style(
        (108, 128),
        {"kick": "9...4...8.6.4...", "snare": "....9..2.2..9...", "hat": "7.3.7.3.7.3.7.3.",
         "bongo": "5...4.3.5.3.4.4."},
        "1...1.8.1...5.3.", "x.....x.x.......", DORIAN, ((0, 0, 3, 3), (0, 6, 3, 4), (0, 0, 2, 3)),
        ("slap", "brass", "lead"), chord_notes=4, chord_steps=1, lead_density=0.25,
    ),
    "PO": Style(
        (96, 116),
        {"kick": "9...4...9.5.4...", "zap": "....9.......9...", "clap": "....8.......8...",
         "hat": "7.3.7.3.7.3.7.3.", "cowbell": "6...4...6.3.4..."},
        "1.1.1..81.1.1..5", "x.......x.....x.", MINOR, ((0, 5, 6, 0), (0, 3, 0, 6), (0, 0, 5, 6)),
        ("acid", "clav", "square"), chord_notes=3, chord_steps=1, bass_steps=1, bass_midi=38,
    ),
    "LO": Style(
        (102, 120),
        {"kick": "9...5.4.8.4.5...", "snare": "....9..2.2..9...", "hat": "8242824282428242",
         "tambourine": "6...6...6...6..."},
        "1...1...5...1.8.", "xx..x...xx..x...", MIXOLYDIAN,
        ((0, 0, 3, 3), (0, 3, 0, 4), (0, 4, 3, 0)),
        ("slap", "guitar", "brass"), chord_notes=5, chord_steps=1, bass_steps=2, swing=0.12,
    ),
    "MH": Style(
        (86, 102),
        {"kick": "9......6.39.....", "snare": "....9.......9...", "hat": "6.4.6.4.6.4.6.44",
         "vinyl": "1111111111111111"},
        "1......1..5.3...", "x.......x..x....", DORIAN, ((1, 4, 0, 0), (0, 3, 0, 4), (5, 1, 4, 0)),
        ("round", "epiano", "flute"), (1.0, 0.7, 0.45, 0.2), chord_notes=4, chord_steps=6,
        bass_steps=4, swing=0.3, lead_density=0.2,
    ),
    "LH": Style(
        (82, 96),
        {"kick": "9.....7...8.....", "clap": "....9.......9...", "tick": "5353535353555355",
         "openhat": "......4.......4."},
        "1.....1...1..8..", "0.2.1.2.0.2.1.3.", PHRYGIAN,
        ((0, 0, 1, 0), (0, 5, 1, 0), (0, 3, 1, 1)),
        ("808", "bell", "bell"), (0.9, 0.9, 0.3, 0.18), chord_steps=3, bass_steps=6, bass_midi=28,
        chord_midi=72, lead_density=0.15,
    ),
    "HO": Style(
        (118, 130),
        {"kick": "9...9...9...9...", "clap": "....6.......6...", "openhat": "..7...7...7...7.",
         "hat": "3.3.3.3.3.3.3.3.", "shaker": "2323232323232323"},
        "..1..1.1..1..1.8", "x..x..x...x..x..", MINOR, ((0, 5, 2, 6), (0, 3, 5, 4), (0, 2, 3, 5)),
        ("square", "organ", "stab"), (1.0, 0.4, 0.35, 0.15), chord_notes=4, chord_steps=2,
        bass_steps=2, pump=0.6, ghosts=(15,),
    ),
    "WA": Style(
        (112, 124),
        {"kick": "9...9...9...9...", "snare": "....8.......8...", "openhat": "..6...6...6...6.",
         "hat": "4.344.344.344.34", "tambourine": "4.4.6.4.4.4.6.4."},
        "1.8.1.8.1.8.1.8.", "x...............", MINOR, ((0, 3, 6, 2), (0, 5, 3, 4), (5, 6, 0, 0)),
        ("round", "strings", "strings"), (0.9, 0.5, 0.5, 0.3), chord_notes=4, chord_steps=16,
        bass_steps=1, bass_midi=40, chord_midi=64, lead_density=0.4, ghosts=(15,),
    ),
    "KR": Style(
        (84, 100),
        {"stomp": "9...5...9.5.5...", "clap": "....9.......9..5", "snare": "....7.......7...",
         "tom": "..........5.55.6", "hat": "7...7...7...7..."},
        "1...1...1.1.....", "x.......x.x.....", PHRYGIAN,
        ((0, 0, 1, 0), (0, 1, 0, 4), (0, 0, 5, 1)),
        ("growl", "brass", "brass"), (1.1, 0.6, 0.35, 0.2), chord_notes=3, chord_steps=2,
        bass_midi=30, chord_midi=48, lead_density=0.1,
    ),
    "JS": Style(
        (92, 114),
        {"kick": "7...4...7...4...", "brush": "5...9...5...9...", "ride": "7...9.3.7...9.3.",
         "rim": "5...5.2.5...5..."},
        "1...3...5...7...", "x.....x.x.......", DORIAN, ((1, 4, 0, 5), (0, 5, 1, 4), (1, 4, 1, 4)),
        ("upright", "piano", "flute"), (0.7, 0.8, 0.4, 0.3), chord_notes=5, chord_steps=2,
        bass_steps=4, bass_midi=38, swing=0.5, lead_density=0.45, ghosts=(),
    ),
    "JB": Style(
        (80, 94),
        {"kick": "4.......4.......", "rim": "....3.......3...", "shaker": "3...3...3...3..."},
        "1.......5.......", "0.1.2.3.1.2.3.2.", MAJOR, ((0, 5, 3, 4), (0, 4, 5, 3), (3, 4, 0, 0)),
        ("round", "piano", "strings"), (0.5, 0.5, 0.9, 0.45), chord_notes=4, chord_steps=6,
        bass_steps=8, bass_midi=41, chord_midi=62, lead_density=0.2, ghosts=(),
    ),
}  # fmt: skip


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
        """Return the samples of [start, start + duration) and the beats in it, counted from 0."""
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
    """Return the tempo in BPM of song `index` (from 0): a genre's songs spread over its range."""
    low, high = STYLES[genre].tempo_bpm
    return round(low + (high - low) * (index % SONGS_PER_GENRE) / (SONGS_PER_GENRE - 1), 1)


@lru_cache(maxsize=2)
def compose(song_id: str, seed: int = 0, duration_s: float = SONG_S) -> Song:
    """Compose song `m<genre><index>`; the same id, seed and duration give the same samples."""
    genre, index = song_id[1:3], song_id[3:]
    if song_id[:1] != "m" or genre not in STYLES or not index.isdigit():
        raise ValueError(f"{song_id!r} is no song id; expected m<genre><index>, such as mBR0")
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
    """The players of one song: draws what is the song's own once, then plays bar by bar."""

    def __init__(
        self, style: Style, rng: np.random.Generator, start_s: float, beat_s: float, samples: int
    ) -> None:
        self.style, self.start_s, self.beat_s = style, start_s, beat_s
        self.tracks = np.zeros((4, samples), dtype=np.float32)  # drums bass chords lead
        self.key = int(rng.integers(-5, 6))
        self.progression = style.progressions[int(rng.integers(len(style.progressions)))]
        self.drums = dict(style.drums)
        low = "stomp" if "stomp" in self.drums else "kick"
        for step in rng.permutation(style.ghosts)[: int(rng.integers(0, 3))]:
            self.drums[low] = _replace(self.drums[low], int(step), "5")
        self.riff = self._riff(rng)
        noise = np.random.default_rng(int(rng.integers(2**32)))
        self.kit = {name: _DRUMS[name](noise) for name in self.drums}
        self.notes: dict[tuple[str, int, int], np.ndarray] = {}

    def _riff(self, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Draw two bars of (step, pentatonic degree) as a random walk on eighths."""
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
            for step, loud in ((13, 0.35), (14, 0.5), (15, 0.6)):
                self._add(0, bar, step, self.kit["snare"], loud)
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
                octave, tone = divmod(int(mark), len(chord))
                pitch = sorted(chord)[tone] + 12 * octave
                self._note(2, bar, step, style.voices[1], pitch, style.chord_steps)
        for step, degree in self.riff:
            if step // 16 == bar % 2:
                octave, tone = divmod(degree, len(PENTATONIC))
                pitch = style.chord_midi + 12 + self.key + 12 * octave
                pitch += style.scale[PENTATONIC[tone]]
                self._note(3, bar, step % 16, style.voices[2], pitch, 3)

    def _note(self, track: int, bar: int, step: int, voice: str, midi: int, steps: int) -> None:
        key = (voice, midi, steps)
        if key not in self.notes:
            hz = 440 * 2 ** ((midi - 69) / 12)
            self.notes[key] = _voice(TIMBRES[voice], hz, steps * self.beat_s / 4)
        self._add(track, bar, step, self.notes[key], 1.0)

    def _add(self, track: int, bar: int, step: int, sound: np.ndarray, gain: float) -> None:
        gain *= (1.0, 0.5, 0.65, 0.5)[step % 4]  # the beat is where the accent is
        swing = self.style.swing * (0.5 if step % 4 == 2 else 0.25) if step % 4 else 0.0
        at_s = self.start_s + self.beat_s * (4 * bar + step / 4 + swing / 2)
        first = round(at_s * SAMPLE_RATE_HZ)
        room = self.tracks.shape[1] - first
        if room > 0:
            self.tracks[track, first : first + len(sound)] += gain * sound[:room]

    def mix(self) -> np.ndarray:
        """Sum the tracks at the style's levels; duck all but the drums after each beat."""
        drums, *pitched = (
            level * track / max(1e-6, float(np.sqrt(np.mean(track**2)) * 6))
            for level, track in zip(self.style.levels, self.tracks, strict=True)
        )
        rest = sum(pitched)
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


def _voice(timbre: Timbre, hz: float, duration_s: float) -> np.ndarray:
    """Return one note (N,) float32 of `duration_s` plus the release, loudness about 1."""
    t = np.arange(round((duration_s + timbre.release_s) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * hz * t
    if timbre.drop:
        phase += 2 * np.pi * hz * timbre.drop * 0.03 * (1 - np.exp(-t / 0.03))
    if timbre.vibrato:
        phase += hz * timbre.vibrato / 5.5 * (1 - np.cos(2 * np.pi * 5.5 * t))
    out = np.zeros(len(t))
    for ratio, amplitude in timbre.partials:
        if hz * ratio < 0.4 * SAMPLE_RATE_HZ:
            decay = np.exp(-(timbre.decay + timbre.damping * ratio) * t)
            out += amplitude * decay * np.sin(ratio * phase + 2.4 * ratio)
    out /= sum(amplitude for _, amplitude in timbre.partials) ** 0.5
    if timbre.drive:
        out = np.tanh(timbre.drive * out) / np.tanh(timbre.drive)
    out *= np.minimum(1, t / timbre.attack_s)
    out *= np.clip((t[-1] - t) / timbre.release_s, 0, 1)
    return out.astype(np.float32)


def _clock(duration_s: float) -> np.ndarray:
    return np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ


def _hit(
    rng: np.random.Generator,
    duration_s: float,
    noise: float = 0.0,
    bright: int = 0,
    tone_hz: float = 0.0,
    sweep_hz: float = 0.0,
    sweep_s: float = 0.03,
    tone_s: float = 0.1,
    bursts: int = 1,
) -> np.ndarray:
    """Return one drum stroke: a decaying tone with a falling pitch plus decaying noise.

    `bright` counts first differences (each adds 6 dB per octave to the noise); `bursts` repeats
    the noise's attack 11 ms apart, as hands do.
    """
    t = _clock(duration_s)
    phase = 2 * np.pi * (tone_hz * t + sweep_hz * sweep_s * (1 - np.exp(-t / sweep_s)))
    out = np.sin(phase) * np.exp(-t / tone_s) if tone_hz else np.zeros(len(t))
    hiss = rng.standard_normal(len(t) + bright)
    hiss = np.diff(hiss, n=bright) if bright else hiss
    hiss /= np.abs(hiss).max()
    shape = sum(
        np.where(t >= 0.011 * i, np.exp(-np.maximum(t - 0.011 * i, 0) / (duration_s / 5)), 0)
        * (0.5 if i < bursts - 1 else 1.0)
        for i in range(bursts)
    )
    out = out + noise * hiss * shape
    return (out * np.minimum(1, (t[-1] - t) / 0.005)).astype(np.float32)


_DRUMS = {
    "kick": lambda r: 1.2 * _hit(r, 0.3, 0.15, 1, 48, 160, 0.025, 0.11),
    "stomp": lambda r: np.tanh(3 * _hit(r, 0.45, 0.4, 0, 40, 90, 0.05, 0.18)),
    "snare": lambda r: _hit(r, 0.22, 1.1, 1, 185, 60, 0.02, 0.05),
    "clap": lambda r: _hit(r, 0.2, 1.2, 1, bursts=3),
    "brush": lambda r: _hit(r, 0.25, 0.6, 1, bursts=2),
    "hat": lambda r: 0.45 * _hit(r, 0.06, 1.0, 3),
    "tick": lambda r: 0.4 * _hit(r, 0.035, 1.0, 4),
    "openhat": lambda r: 0.45 * _hit(r, 0.24, 1.0, 3),
    "ride": lambda r: 0.35 * _hit(r, 0.5, 0.7, 3, 5200, tone_s=0.2),
    "rim": lambda r: 0.6 * _hit(r, 0.05, 0.3, 1, 1700, tone_s=0.01),
    "tom": lambda r: _hit(r, 0.3, 0.1, 0, 90, 60, 0.05, 0.12),
    "bongo": lambda r: 0.6 * _hit(r, 0.12, 0.1, 1, 380, 60, 0.01, 0.04),
    "cowbell": lambda r: 0.5 * _hit(r, 0.15, 0.05, 1, 845, tone_s=0.06),
    "zap": lambda r: 0.9 * _hit(r, 0.25, 0.4, 1, 220, 1400, 0.03, 0.08),
    "tambourine": lambda r: 0.4 * _hit(r, 0.12, 0.9, 4, bursts=2),
    "shaker": lambda r: 0.3 * _hit(r, 0.07, 0.8, 2),
    "vinyl": lambda r: 0.08 * _hit(r, 0.1, 0.5, 0) * (r.random(4410) < 0.02),
}
