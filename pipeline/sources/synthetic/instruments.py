"""The built-in instruments of the synthetic songs: voices by additive synthesis, noise drums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipeline.sources.synthetic.score import Score

SAMPLE_RATE_HZ = 44_100


@dataclass(frozen=True)
class Timbre:
    """A pitched voice: partials (ratio, amplitude), decay, attack and release.

    A partial of ratio r decays as exp(-(decay + damping · r) t); `drive` saturates the sum.
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


def voice_of(timbre: Timbre, hz: float, duration_s: float) -> np.ndarray:
    """Return one note (N,) float32 of `duration_s` plus the release; its amplitude is about 1."""
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
    """Return one drum stroke: a decaying tone with a falling pitch, plus decaying noise.

    `bright` is how often the noise is differenced; each time adds 6 dB per octave. `bursts` is the
    number of attacks of the noise, 11 ms apart, as of clapping hands.
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


DRUMS = {
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


def synthesise(score: Score) -> np.ndarray:
    """Play a score: float32 (4, samples), one row for each of `TRACKS`, not scaled."""
    noise = np.random.default_rng(score.kit_seed)
    kit = {name: DRUMS[name](noise) for name in score.kit}
    notes: dict[tuple[str, int, int], np.ndarray] = {}
    tracks = np.zeros((4, score.samples), dtype=np.float32)
    for event in score.events:
        if event.midi is None:
            sound = kit[event.voice]
        else:
            key = (event.voice, event.midi, event.steps)
            if key not in notes:
                hz = 440 * 2 ** ((event.midi - 69) / 12)
                notes[key] = voice_of(TIMBRES[event.voice], hz, event.steps * score.beat_s / 4)
            sound = notes[key]
        part = tracks[event.track, event.first : event.first + len(sound)]
        part += event.gain * sound[: len(part)]
    return tracks
