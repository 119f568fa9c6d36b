"""Describe synthetic songs in words: their genre, tempo, instruments and key, from their scores.

`captions.csv` has the columns `file` (relative to its own folder), `caption`, and `beats`: the
times of the beats in seconds. A caption is phrases between commas, of which the model reads two
kinds as the dance's (`model train-text`): the one that ends in "music" has the genre, and "slow",
"medium", "fast" and "N bpm" are the tempo.

    wav/mWA0.wav,"waack music, medium, 110 bpm, drums, bass, strings, C minor",0.122 0.655 1.187
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from model.contract.files import write_atomic
from model.contract.notes import TRACKS
from pipeline.sources.synthetic.instruments import SAMPLE_RATE_HZ
from pipeline.sources.synthetic.music import score_of
from pipeline.sources.synthetic.score import Score
from pipeline.sources.synthetic.styles import (
    DORIAN,
    MAJOR,
    MINOR,
    MIXOLYDIAN,
    PHRYGIAN,
    STYLES,
)
from pipeline.sources.tables import csv_rows

FILE, COLUMNS = "captions.csv", ("file", "caption", "beats")
GENRE_WORDS = {
    "BR": "break", "PO": "pop", "LO": "lock", "MH": "middle hip-hop", "LH": "LA hip-hop",
    "HO": "house", "WA": "waack", "KR": "krump", "JS": "street jazz", "JB": "ballet jazz",
}  # fmt: skip
"""The genres of AIST++ (Li et al. 2021) as one says them."""
SLOW_BELOW_BPM, FAST_FROM_BPM = 95, 113
VOICE_WORDS = {
    "bass": {
        "round": "bass", "slap": "slap bass", "square": "square bass", "acid": "acid bass",
        "808": "808 bass", "growl": "growling bass", "upright": "upright bass",
    },
    "chords": {
        "brass": "brass", "clav": "clavinet", "guitar": "guitar", "epiano": "electric piano",
        "bell": "bells", "organ": "organ", "strings": "strings", "piano": "piano",
    },
    "lead": {
        "lead": "synth lead", "square": "square lead", "brass": "brass", "flute": "flute",
        "bell": "bells", "stab": "synth stabs", "strings": "strings",
    },
}  # fmt: skip
"""What each voice of `instruments.TIMBRES` is called in each track that it plays."""
DRUM_WORDS = {
    "bongo": "bongos", "cowbell": "cowbell", "tambourine": "tambourine", "shaker": "shaker",
    "brush": "brushes", "tom": "toms", "clap": "claps",
}  # fmt: skip
"""The drums that a caption names beside "drums"; the others belong to any kit."""
MODES: dict[tuple[int, ...], str] = {
    MAJOR: "major", MINOR: "minor", DORIAN: "dorian", PHRYGIAN: "phrygian",
    MIXOLYDIAN: "mixolydian",
}  # fmt: skip
TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def caption_of(score: Score, tempo_bpm: float) -> str:
    """Return the caption of a song; it names only what sounds in it."""
    (genre,) = (code for code, style in STYLES.items() if style is score.style)
    phrases = [f"{GENRE_WORDS[genre]} music", tempo_word(tempo_bpm), rounded(tempo_bpm)]
    phrases += instrument_words(score)
    if key := key_of(score):
        phrases.append(key)
    return ", ".join(phrases)


def tempo_word(tempo_bpm: float) -> str:
    """Return "slow", "medium" or "fast"."""
    if tempo_bpm < SLOW_BELOW_BPM:
        return "slow"
    return "medium" if tempo_bpm < FAST_FROM_BPM else "fast"


def rounded(tempo_bpm: float) -> str:
    """Return the tempo to the nearest ten, such as "120 bpm"."""
    return f"{10 * int(tempo_bpm / 10 + 0.5)} bpm"


def instrument_words(score: Score) -> list[str]:
    """Return what sounds, each once: the drums, or that there are none, then bass, chords, lead."""
    heard = {(TRACKS[event.track], event.voice) for event in score.events}
    drums = [voice for voice in score.kit if ("drums", voice) in heard]
    words = ["drums"] if drums else ["no drums"]
    words += [DRUM_WORDS[voice] for voice in drums if voice in DRUM_WORDS]
    for track in TRACKS[1:]:
        words += sorted(VOICE_WORDS[track][voice] for part, voice in heard if part == track)
    return list(dict.fromkeys(words))


def key_of(score: Score) -> str:
    """Return tonic and mode of the chords and the lead, such as "C minor"; "" for drums alone.

    If neither plays, they are the bass's, which in five of the styles stands on another tonic.
    """
    style, tracks = score.style, {TRACKS[event.track] for event in score.events}
    if not tracks - {"drums"}:
        return ""
    lowest = style.chord_midi if tracks & {"chords", "lead"} else style.bass_midi
    return f"{TONICS[(lowest + score.key) % 12]} {MODES[style.scale]}"


def beats_of(score: Score) -> str:
    """Return the times of a song's beats in seconds, to the millisecond, between spaces."""
    times_s = np.arange(score.start_s, score.samples / SAMPLE_RATE_HZ, score.beat_s)
    return " ".join(f"{time_s:.3f}" for time_s in times_s)


def write_captions(
    root: Path, song_ids: Iterable[str], seed: int = 0, vary_instruments: bool = False
) -> Path:
    """Write `root/captions.csv`; captions of other files that are in it already are kept.

    Raises ValueError if there is such a file that is not a table of captions.
    """
    path = root / FILE
    rows = (
        {row["file"]: (row["caption"], row["beats"]) for _, row in csv_rows(path, COLUMNS)}
        if path.is_file()
        else {}
    )
    for song_id in song_ids:
        score, tempo_bpm = score_of(song_id, seed, vary_instruments=vary_instruments)
        rows[f"wav/{song_id}.wav"] = caption_of(score, tempo_bpm), beats_of(score)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((file, *cells) for file, cells in sorted(rows.items()))
    write_atomic(path, text.getvalue().encode())
    return path
