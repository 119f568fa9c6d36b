"""Play notes with the sampled instruments of a sound font (.sf2), by the package tinysoundfont."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.contract.notes import DRUM_CHANNEL, DRUM_PROGRAM

if TYPE_CHECKING:
    from tinysoundfont import Synth

INSTALL = "uv pip install -c constraints.txt -e '.[midi]'"
PLAYER_HZ = 44_100
DEFAULT_FONT = "TimGM6mb.sf2"
Sounds = Mapping[str, tuple[int, int]]
"""Sounds by name: the program of General MIDI, or DRUM_PROGRAM, and a pitch."""


@dataclass(frozen=True)
class SoundFont:
    """A sound font that has been opened.

    `sha256` is the hash of the file when it was opened. If the file changes later, playing is
    refused: no song is ever played by another font than the one that is recorded.
    """

    path: Path
    sha256: str

    @classmethod
    def open(cls, path: str | Path, sounds: Sounds | None = None) -> SoundFont:
        """Return the sound font in a file, after a test that it has all of `sounds`.

        Raises FileNotFoundError if there is no such file, and ValueError if it is not a sound font,
        if it lacks sounds, or if the package tinysoundfont is not installed.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; expected a sound font (.sf2)")
        font = cls(path.resolve(), hashlib.sha256(path.read_bytes()).hexdigest())
        if missing := _missing(_player(font), sounds or {}):
            raise ValueError(
                f"{font.path}: this sound font has no sound for {', '.join(missing)}; choose one "
                "with all General MIDI instruments and drums"
            )
        return font

    def play(self, notes: np.ndarray, samples: int) -> np.ndarray:
        """Return notes (N, 7), with the columns of `NOTE_COLUMNS`, as sound.

        The result is mono, float32 (samples,) at 44 100 Hz, and not scaled: several loud notes can
        exceed 1. Every note starts at the sample nearest to its onset. The same notes give the same
        samples. Raises ValueError for more than 15 programs beside the drums, and for notes of a
        program, or of drums, that the font does not have.
        """
        synth = _player(self)
        programs = sorted({int(program) for program in notes[:, 4]} - {DRUM_PROGRAM})
        free = [channel for channel in range(16) if channel != DRUM_CHANNEL]
        if len(programs) > len(free):
            raise ValueError(f"{len(programs)} programs, expected at most {len(free)}")
        channels = dict(zip(programs, free, strict=False))
        if (notes[:, 4] == DRUM_PROGRAM).any():
            channels[DRUM_PROGRAM] = DRUM_CHANNEL
        for program, channel in channels.items():
            if not _select(synth, channel, program):
                lacks = "drum kit" if program == DRUM_PROGRAM else f"program {program}"
                raise ValueError(
                    f"{self.path}: this sound font has no {lacks}; choose one with all General "
                    "MIDI instruments and drums"
                )
        events = []
        for onset_s, duration_s, pitch, velocity, program, *_ in notes:
            channel = channels[int(program)]
            first, last = (round(at_s * PLAYER_HZ) for at_s in (onset_s, onset_s + duration_s))
            events.append((first, True, channel, int(pitch), int(velocity)))
            events.append((last, False, channel, int(pitch), 0))
        sound, at = np.zeros(samples, np.float32), 0
        for time, starts, channel, pitch, velocity in sorted(events):
            if time >= samples:
                break
            sound[at:time] = _mono(synth, time - at)
            at = time
            if starts:
                synth.noteon(channel, pitch, velocity)
            else:
                synth.noteoff(channel, pitch)
        sound[at:] = _mono(synth, samples - at)
        _silence(synth)
        return sound


def default_font() -> SoundFont:
    """Return the sound font that the package pretty_midi contains: 128 programs and drums.

    Raises ValueError, with the command to install it, if the package is not installed. No other
    font is ever taken instead.
    """
    try:
        folder = files("pretty_midi")
    except ModuleNotFoundError:
        raise ValueError(
            "no sound font: give one (.sf2) with --set soundfont=FILE, or install the package "
            f"pretty_midi, which contains one: {INSTALL}"
        ) from None
    return SoundFont.open(Path(str(folder / DEFAULT_FONT)))


@lru_cache(maxsize=1)
def _player(font: SoundFont) -> Synth:
    """Return a silent player of the font, whose file must still have the recorded hash."""
    try:
        import tinysoundfont
    except ImportError:
        raise ValueError(
            f"sampled instruments need the package tinysoundfont, which is not installed: {INSTALL}"
        ) from None
    data = font.path.read_bytes()
    if hashlib.sha256(data).hexdigest() != font.sha256:
        raise ValueError(f"{font.path}: the file has changed while it was in use; run again")
    size = 8 + int.from_bytes(data[4:8], "little")
    if data[:4] == b"RIFF" and len(data) < size:
        raise ValueError(f"{font.path}: has {len(data)} of {size} bytes; copy or download it again")
    synth = tinysoundfont.Synth(samplerate=PLAYER_HZ)
    try:
        synth.sfload(data)
    except RuntimeError:
        raise ValueError(
            f"{font.path}: not a sound font, or damaged; expected an .sf2 file with General MIDI "
            "instruments"
        ) from None
    return synth


def _missing(synth: Synth, sounds: Sounds) -> list[str]:
    """Return those of `sounds` that the font does not have."""
    missing = []
    for name, (program, pitch) in sounds.items():
        channel = DRUM_CHANNEL if program == DRUM_PROGRAM else 0
        found = _select(synth, channel, program)
        if found:
            synth.noteon(channel, pitch, 100)
            found = bool(np.abs(_mono(synth, PLAYER_HZ // 4)).max() > 1e-4)
            _silence(synth)
        if not found:
            number = f"drum key {pitch}" if program == DRUM_PROGRAM else f"program {program}"
            missing.append(f"{name} ({number})")
    return missing


def _select(synth: Synth, channel: int, program: int) -> bool:
    """Choose the sound of a channel; return False if the font has no such preset."""
    bank, preset = (128, 0) if program == DRUM_PROGRAM else (0, program)
    if synth.sfpreset_name(0, bank, preset) is None:
        return False
    synth.program_select(channel, 0, 0, preset, program == DRUM_PROGRAM)
    return True


def _mono(synth: Synth, samples: int) -> np.ndarray:
    """Return the next samples as the mean of left and right, float32 (samples,)."""
    if not samples:
        return np.zeros(0, np.float32)
    stereo = np.frombuffer(synth.generate(samples), np.float32)
    return stereo.reshape(-1, 2).mean(1)


def _silence(synth: Synth) -> None:
    """End all sounds at once, so that the next notes do not depend on these."""
    synth.sounds_off()
    while _mono(synth, 1024).any():
        pass
