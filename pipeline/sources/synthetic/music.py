"""Compose the songs of the benchmark: drums, bass, chords and a riff in the style of each genre.

A song's beats, notes and tempo are known exactly, for it is played from a score: by additive
synthesis and shaped noise, or by the sampled instruments of a sound font. A song depends only on
(seed, song id) and, if one is given, on the sound font.

    from pipeline.sources.synthetic import open_instruments, song_ids, songs

    font = open_instruments("FILE.sf2")
    for song in songs(song_ids(songs_per_genre=100, split="train"), instruments=font):
        print(song.genre, song.samples.shape, song.beat_times_s[:4], song.notes[:4])
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from model.contract.notes import TRACKS
from model.contract.sound_font import SoundFont
from pipeline.sources.synthetic.arrangement import rearranged
from pipeline.sources.synthetic.instruments import SAMPLE_RATE_HZ, synthesise
from pipeline.sources.synthetic.notes import note_array
from pipeline.sources.synthetic.score import Score, write_score
from pipeline.sources.synthetic.styles import STYLES

SONG_S = 32.0
SONGS_PER_GENRE = 6
PEAK = 0.9
GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, are spread evenly over 0 to 1, however many there are."""


@dataclass(frozen=True)
class Song:
    """A song: `samples` (N,) float32 mono, peak 0.9; `beat_times_s` (K,) of every quarter note.

    `notes` (M, 7) float64 has the columns of `NOTE_COLUMNS`, sorted by onset. All times are
    in seconds from the first sample.
    """

    song_id: str
    genre: str
    tempo_bpm: float
    samples: np.ndarray
    beat_times_s: np.ndarray
    notes: np.ndarray
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

    def notes_in(self, start_s: float, duration_s: float) -> np.ndarray:
        """Return the notes that begin in `excerpt(start_s, duration_s)`, in seconds from start.

        A note keeps its length, also if it ends after the excerpt.
        """
        notes = self.notes.copy()
        onsets = np.round(notes[:, 0] * self.sample_rate_hz) - round(start_s * self.sample_rate_hz)
        notes[:, 0] = onsets / self.sample_rate_hz
        return notes[(onsets >= 0) & (onsets < round(duration_s * self.sample_rate_hz))]


def tempo_of(genre: str, index: int) -> float:
    """Return the tempo in BPM of song `index` (from 0); a genre's songs cover its tempo range."""
    low, high = STYLES[genre].tempo_bpm
    if index < SONGS_PER_GENRE:
        return round(low + (high - low) * index / (SONGS_PER_GENRE - 1), 1)
    return round(low + (high - low) * (index * GOLDEN % 1), 1)


def score_of(
    song_id: str, seed: int = 0, duration_s: float = SONG_S, vary_instruments: bool = False
) -> tuple[Score, float]:
    """Return the score of a song, and its tempo in BPM; the arguments are those of `compose`."""
    genre, index = song_id[1:3], song_id[3:]
    if song_id[:1] != "m" or genre not in STYLES or not index.isdigit():
        raise ValueError(f"{song_id!r} is not a song id; expected m<genre><index>, such as mBR0")
    style, rng = STYLES[genre], np.random.default_rng([seed, *song_id.encode()])
    tempo_bpm = tempo_of(genre, int(index))
    beat_s = 60 / tempo_bpm
    start_s = float(rng.uniform(0.05, beat_s / 2))
    score = write_score(style, rng, start_s, beat_s, duration_s)
    if vary_instruments:
        score = rearranged(score, np.random.default_rng([3, seed, *song_id.encode()]))
    return score, tempo_bpm


@lru_cache(maxsize=2)
def compose(
    song_id: str,
    seed: int = 0,
    duration_s: float = SONG_S,
    instruments: SoundFont | None = None,
    vary_instruments: bool = False,
) -> Song:
    """Compose a song; the same arguments give the same samples.

    A sound font in `instruments` plays the same notes on the same beats as the built-in synthesis.
    With `vary_instruments`, some songs are played by fewer or by other instruments: `rearranged`.
    """
    score, tempo_bpm = score_of(song_id, seed, duration_s, vary_instruments)
    start_s, beat_s = score.start_s, score.beat_s
    notes = note_array(score)
    if instruments is None:
        tracks = synthesise(score)
    else:
        parts = (notes[notes[:, 5] == track] for track in range(len(TRACKS)))
        tracks = np.stack([instruments.play(part, score.samples) for part in parts])
    beats = start_s + beat_s * np.arange(int(np.ceil((duration_s - start_s) / beat_s)))
    genre, mixed = song_id[1:3], _mix(score, tracks)
    return Song(song_id, genre, tempo_bpm, mixed, beats[beats < duration_s], notes)


def songs(
    ids: Iterable[str],
    seed: int = 0,
    instruments: SoundFont | None = None,
    vary_instruments: bool = False,
) -> Iterator[Song]:
    """Compose complete songs, one after the other."""
    for song_id in ids:
        yield compose(song_id, seed, instruments=instruments, vary_instruments=vary_instruments)


def _mix(score: Score, tracks: np.ndarray) -> np.ndarray:
    """Sum the tracks at the levels of the style; lower all but the drums after each beat."""
    style = score.style
    drums, *pitched = (
        level * track / max(1e-6, float(np.sqrt(np.mean(track**2)) * 6))
        for level, track in zip(style.levels, tracks, strict=True)
    )
    rest = np.asarray(sum(pitched))
    if style.pump:
        since_s = (np.arange(len(rest)) / SAMPLE_RATE_HZ - score.start_s) % score.beat_s
        rest = rest * (1 - style.pump * np.exp(-since_s / 0.1))
    mixed = np.tanh(drums + rest)
    return (PEAK * mixed / np.abs(mixed).max()).astype(np.float32)
