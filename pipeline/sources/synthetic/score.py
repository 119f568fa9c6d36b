"""Write the score of a song: which drum or voice sounds when, how long and how loud.

Everything is on a grid of sixteenth notes, so the times of beats and notes are known exactly. A
pattern is a bar of 16 steps. What plays the score is chosen later: `instruments` or `sound_font`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.sources.synthetic.instruments import SAMPLE_RATE_HZ
from pipeline.sources.synthetic.styles import Style

PENTATONIC = (0, 2, 3, 4, 6)
"""Scale degrees that a riff uses: none is a dissonant second to a chord note."""


@dataclass(frozen=True)
class Event:
    """One sound of a song, which starts at sample `first` of 44 100 a second.

    `track` is an index into `model.contract.notes.TRACKS`. `voice` is a name in
    `instruments.TIMBRES`, played at the MIDI pitch `midi` for `steps` sixteenth notes, or one in
    `instruments.DRUMS`, whose `midi` is None and whose `steps` is 0. `gain` is its loudness, about
    0 to 1. `step` counts sixteenth notes from the song's first bar.
    """

    track: int
    voice: str
    midi: int | None
    steps: int
    first: int
    gain: float
    step: int


@dataclass(frozen=True)
class Score:
    """The events of a song of `samples` samples, in the order in which they were written.

    The first beat is at `start_s`, and a beat lasts `beat_s`. `kit` names the drums, and `kit_seed`
    determines their noise. `key` is how many semitones the song is above its style's pitches.
    """

    style: Style
    start_s: float
    beat_s: float
    samples: int
    kit: tuple[str, ...]
    kit_seed: int
    events: tuple[Event, ...]
    key: int


def write_score(
    style: Style, rng: np.random.Generator, start_s: float, beat_s: float, duration_s: float
) -> Score:
    """Return the score of a song in a style; `rng` draws its key, progression, riff and drums."""
    band = _Band(style, rng, start_s, beat_s)
    for bar in range(int(np.ceil((duration_s - start_s) / (4 * beat_s)))):
        band.play(bar)
    samples = round(duration_s * SAMPLE_RATE_HZ)
    events = tuple(event for event in band.events if event.first < samples)
    return Score(
        style, start_s, beat_s, samples, tuple(band.drums), band.kit_seed, events, band.key
    )


class _Band:
    """The musicians of one song. The random parts are drawn once; then it plays bar by bar."""

    def __init__(
        self, style: Style, rng: np.random.Generator, start_s: float, beat_s: float
    ) -> None:
        self.style, self.start_s, self.beat_s = style, start_s, beat_s
        self.key = int(rng.integers(-5, 6))
        self.progression = style.progressions[int(rng.integers(len(style.progressions)))]
        self.drums = dict(style.drums)
        low = "stomp" if "stomp" in self.drums else "kick"
        for step in rng.permutation(style.ghosts)[: int(rng.integers(0, 3))]:
            self.drums[low] = _replace(self.drums[low], int(step), "5")
        self.riff = self._riff(rng)
        self.kit_seed = int(rng.integers(2**32))
        self.events: list[Event] = []

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
                    self._add(0, bar, step, name, None, 0, int(loud) / 9)
        if fill and "snare" in self.drums:
            for step, gain in ((13, 0.35), (14, 0.5), (15, 0.6)):
                self._add(0, bar, step, "snare", None, 0, gain)
        stack = [_pitch(style.scale, root + 2 * i) for i in range(max(4, style.chord_notes))]
        tones = {"1": 0, "3": stack[1] - stack[0], "5": stack[2] - stack[0],
                 "7": stack[3] - stack[0], "8": 12}  # fmt: skip
        for step, tone in enumerate(style.bass):
            if tone != ".":
                pitch = style.bass_midi + self.key + _fold(stack[0], 12) + tones[tone]
                self._add(1, bar, step, style.voices[0], pitch, style.bass_steps)
        chord = [style.chord_midi + self.key + _fold(p, 16) for p in stack[: style.chord_notes]]
        for step, mark in enumerate(style.chords):
            if mark == "x":
                for pitch in chord:
                    self._add(2, bar, step, style.voices[1], pitch, style.chord_steps)
            elif mark.isdigit():
                octave, place = divmod(int(mark), len(chord))
                pitch = sorted(chord)[place] + 12 * octave
                self._add(2, bar, step, style.voices[1], pitch, style.chord_steps)
        for step, degree in self.riff:
            if step // 16 == bar % 2:
                octave, place = divmod(degree, len(PENTATONIC))
                pitch = style.chord_midi + 12 + self.key + 12 * octave
                pitch += style.scale[PENTATONIC[place]]
                self._add(3, bar, step % 16, style.voices[2], pitch, 3)

    def _add(
        self,
        track: int,
        bar: int,
        step: int,
        voice: str,
        midi: int | None,
        steps: int,
        gain: float = 1.0,
    ) -> None:
        gain *= (1.0, 0.5, 0.65, 0.5)[step % 4]  # accent the beat
        swing = self.style.swing * (0.5 if step % 4 == 2 else 0.25) if step % 4 else 0.0
        at_s = self.start_s + self.beat_s * (4 * bar + step / 4 + swing / 2)
        first = round(at_s * SAMPLE_RATE_HZ)
        self.events.append(Event(track, voice, midi, steps, first, gain, 16 * bar + step))


def _replace(text: str, at: int, char: str) -> str:
    return text[:at] + char + text[at + 1 :] if text[at] == "." else text


def _pitch(scale: tuple[int, ...], degree: int) -> int:
    octave, step = divmod(degree, len(scale))
    return scale[step] + 12 * octave


def _fold(pitch: int, limit: int) -> int:
    return pitch - 12 * (pitch // 12) if pitch >= limit else pitch
