"""Write complete songs with their ground truth, and the parts of it that videos share with them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.contract.files import write_atomic
from model.contract.notes import NOTE_COLUMNS, midi_bytes
from model.contract.segment import SAMPLE_RATE_HZ
from pipeline.sources.synthetic.music import compose
from pipeline.sources.synthetic.plan import split_of

if TYPE_CHECKING:
    from model.contract.sound_font import SoundFont


def write_song(
    song_id: str,
    root: Path,
    seed: int = 0,
    instruments: SoundFont | None = None,
    vary_instruments: bool = False,
) -> None:
    """Write a complete song: `wav/<song>.wav`, `truth/<song>.mid` and `truth/<song>.npz`.

    The sound is mono PCM16 at 22 050 Hz. The ground truth is the song's beats, notes, genre, tempo
    and split.
    """
    song = compose(song_id, seed, instruments=instruments, vary_instruments=vary_instruments)
    truth = {
        "beat_times_s": song.beat_times_s,
        "genre": np.array(song.genre),
        "song": np.array(song_id),
        "split": np.array(split_of(song_id)),
        "tempo_bpm": np.array(song.tempo_bpm),
        **note_truth(song.notes, instruments),
    }
    write_atomic(root / "wav" / f"{song_id}.wav", wav_bytes(song.samples, song.sample_rate_hz))
    write_atomic(root / "truth" / f"{song_id}.mid", midi_bytes(song.notes, song.tempo_bpm, song_id))
    write_atomic(root / "truth" / f"{song_id}.npz", npz_bytes(truth))


def recorded(instruments: SoundFont | None) -> dict[str, str]:
    """Return the sound font as every record names it; nothing for the built-in synthesis."""
    return {"instruments_sha256": instruments.sha256} if instruments else {}


def note_truth(notes: np.ndarray, instruments: SoundFont | None) -> dict[str, np.ndarray]:
    """Return what every ground truth has about its notes (N, 7), and about what played them."""
    font = {name: np.array(text) for name, text in recorded(instruments).items()}
    return {"notes": notes.astype(np.float32), "note_columns": np.array(NOTE_COLUMNS), **font}


def wav_bytes(samples: np.ndarray, sample_rate_hz: int) -> bytes:
    """Return sound as a WAV file: mono PCM16 at 22 050 Hz."""
    import soundfile
    import soxr

    samples = soxr.resample(samples, sample_rate_hz, SAMPLE_RATE_HZ)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1, 1), SAMPLE_RATE_HZ, "PCM_16", format="WAV")
    return buffer.getvalue()


def npz_bytes(arrays: dict[str, Any]) -> bytes:
    """Return arrays as an .npz file; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
