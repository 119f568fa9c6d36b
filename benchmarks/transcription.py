"""How good transcribed notes are, against the notes that synthetic songs were composed of.

    python -m pipeline.sources.synthetic SONGS --music-only
    python benchmarks/transcription.py SONGS [SONG…]

prints, for each song, precision, recall and F of its pitched notes (onset within 50 ms, offsets
ignored, as mir_eval counts) and F of the onsets of its drums: of all, and by kind.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import mir_eval
import numpy as np
import soundfile

from model.contract.notes import DRUM_PROGRAM
from model.contract.segment import GENRES
from model.contract.terminal import print_anything
from pipeline.features.notes.basic_pitch import BasicPitch
from pipeline.features.notes.transcribe import transcribe

KINDS = {36: (35, 36, 45), 38: (37, 38, 39, 40), 42: (42, 44, 46, 51, 54, 70)}
"""Keys of General MIDI that count as each of the pseudo-drums: kick, snare and hat."""


def note_f(known: np.ndarray, found: np.ndarray) -> tuple[float, float, float]:
    """Return precision, recall and F of pitched notes (N, 7), offsets ignored."""
    if not len(known) or not len(found):
        return 0.0, 0.0, 0.0
    spans = [np.c_[x[:, 0], x[:, 0] + np.maximum(x[:, 1], 0.01)] for x in (known, found)]
    hz = [440 * 2 ** ((x[:, 2] - 69) / 12) for x in (known, found)]
    scores = mir_eval.transcription.precision_recall_f1_overlap(
        spans[0], hz[0], spans[1], hz[1], offset_ratio=None
    )
    return scores[:3]


def onset_f(known: np.ndarray, found: np.ndarray) -> float:
    """Return F of onsets within 50 ms; notes at the same time are one."""
    times = [np.unique(notes[:, 0]) for notes in (known, found)]
    if not all(map(len, times)):
        return float("nan")
    return mir_eval.onset.f_measure(*times, window=0.05)[0]


def main() -> None:
    print_anything()
    root, names = Path(sys.argv[1]), sys.argv[2:]
    if not names:
        every = sorted(path.stem for path in (root / "wav").glob("m*.wav"))
        names = [next(name for name in every if name.startswith(f"m{genre}")) for genre in GENRES]
    network = BasicPitch.installed()
    print(f"basic-pitch {network.version}, SHA-256 {network.sha256}")
    rows, heard_s, cpu_s = [], 0.0, 0.0
    print("song   note P  note R  note F | drums F  kick F  snare F  hat F")
    for name in names:
        audio, _ = soundfile.read(root / "wav" / f"{name}.wav", dtype="float32")
        known = np.load(root / "truth" / f"{name}.npz")["notes"].astype(np.float64)
        started_s = time.process_time()
        found = transcribe(audio, network)
        cpu_s, heard_s = cpu_s + time.process_time() - started_s, heard_s + len(audio) / 22_050
        drums, beats = (x[x[:, 4] == DRUM_PROGRAM] for x in (known, found))
        pitched, notes = (x[x[:, 4] < DRUM_PROGRAM] for x in (known, found))
        kinds = [
            onset_f(drums[np.isin(drums[:, 2], keys)], beats[beats[:, 2] == key])
            for key, keys in KINDS.items()
        ]
        rows.append([*note_f(pitched, notes), onset_f(drums, beats), *kinds])
        print(f"{name:6}", *(f"{x:7.2f}" for x in rows[-1]))
    print("mean  ", *(f"{x:7.2f}" for x in np.nanmean(rows, 0)))
    print(f"{cpu_s:.1f} s of CPU for {heard_s:.0f} s of music")


if __name__ == "__main__":
    main()
