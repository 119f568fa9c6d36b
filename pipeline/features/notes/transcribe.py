"""Notes transcribed from any sound: pitches by basic-pitch, drums by onsets."""

from __future__ import annotations

import numpy as np

from model.contract.segment import PEAK, SAMPLE_RATE_HZ
from pipeline.features.notes.basic_pitch import BasicPitch
from pipeline.features.notes.drums import pseudo_drums

PROGRAM, TRACK = 0, 1
"""All pitched notes are one part of a piano: the network does not tell instruments apart."""
UNKNOWN_STEP = -1
VERSION = 1
"""Raise it when other notes are found in the same sound."""


def transcribe(audio: np.ndarray, network: BasicPitch) -> np.ndarray:
    """Return the notes of audio (N,) at 22 050 Hz, float64 (M, 7), sorted by onset.

    The loudness of the whole does not matter. Silence has no notes.
    """
    peak = np.abs(audio).max(initial=0)
    if not peak:
        return np.zeros((0, 7))
    audio = (PEAK / peak * audio).astype(np.float32)
    pitched = network.notes(audio)
    rest = np.tile([PROGRAM, TRACK, UNKNOWN_STEP], (len(pitched), 1))
    notes = np.concatenate([np.hstack([pitched, rest]), pseudo_drums(audio)])
    notes = notes[notes[:, 0] < len(audio) / SAMPLE_RATE_HZ]
    return notes[np.argsort(notes[:, 0], kind="stable")]
