"""Describe generated music in numbers, beside the synthetic benchmark's truth, and draw it.

Takes the wavs that `model generate --shards DIR --split test` wrote and describes three of them:
the first video of the first, the middle and the last song in alphabetical order.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import librosa
import mir_eval
import numpy as np
import torch

from model.audio import LogMel
from model.contract.dataset import load_dataset
from model.contract.segment import SAMPLE_RATE_HZ, WAV, split_key
from model.contract.terminal import print_anything
from model.contract.wav import decode_wav
from model.data.reader import read_tar
from model.measures.beats import ONSET_WINDOW_S, onsets_s

COLUMNS = (
    "video", "", "tempo, BPM", "beats F", "onsets on a beat", "beats with an onset", "RMS",
    "centroid",
)  # fmt: skip


def main() -> None:
    """Print the table and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generated", type=Path, required=True, help="folder of wavs")
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--truth", type=Path, default=Path("data/synthetic/truth"))
    parser.add_argument("--picture", type=Path, default=Path("docs/results/unseen-videos.png"))
    arguments = parser.parse_args()
    rows = []
    for video in three(arguments.generated):
        name = f"{video}.wav"
        generated = decode_wav((arguments.generated / name).read_bytes(), name)
        true = true_music(arguments.shards, arguments.split, video)
        with np.load(arguments.truth / f"{video}.npz", allow_pickle=False) as held:
            beats_s, tempo_bpm = held["beat_times_s"], float(held["tempo_bpm"])
        rows.append((video, generated, true, beats_s, tempo_bpm))
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for video, generated, true, beats_s, tempo_bpm in rows:
        print(f"| `{video}` | true beats | {tempo_bpm:.1f} | | | | | |")
        for what, audio in (("true music", true), ("generated", generated)):
            print(f"| | {what} | {describe(audio, beats_s)} |")
    draw(rows, arguments.picture)


def three(folder: Path) -> list[str]:
    """Return the ids of the three videos."""
    rows = json.loads((folder / "generated.json").read_text(encoding="utf-8"))["generated"]
    first: dict[str, str] = {}
    for video in sorted(row["video_id"] for row in rows):
        first.setdefault(video.split("_")[4], video)  # gBR_sBM_c01_d06_mBR5_ch03
    songs = sorted(first)
    return [first[song] for song in (songs[0], songs[len(songs) // 2], songs[-1])]


def true_music(shards: Path, split: str, video: str) -> np.ndarray:
    """Return the video's segments, joined."""
    parts = {}
    for shard in load_dataset(shards).splits[split]:
        for raw in read_tar(shards / shard.name):
            name, number = split_key(raw["__key__"])
            if name == video:
                parts[number] = decode_wav(raw[WAV], raw["__key__"])
    return np.concatenate([parts[number] for number in sorted(parts)])


def describe(audio: np.ndarray, beats_s: np.ndarray) -> str:
    """Return the cells of one row."""
    tempo_bpm, found_s = librosa.beat.beat_track(y=audio, sr=SAMPLE_RATE_HZ, units="time")
    beats_f = mir_eval.beat.f_measure(beats_s, found_s)
    heard_s = onsets_s(audio)
    apart_s = np.abs(heard_s[:, None] - beats_s)
    on_beat, met = (apart_s <= ONSET_WINDOW_S).any(1), (apart_s <= ONSET_WINDOW_S).any(0)
    rms_db = 20 * np.log10(np.sqrt(np.mean(np.square(audio))) + 1e-9)
    centroid_hz = librosa.feature.spectral_centroid(y=audio, sr=SAMPLE_RATE_HZ).mean()
    return (
        f"{float(np.squeeze(tempo_bpm)):.1f} | {beats_f:.2f} | {on_beat.sum()} of {len(heard_s)} | "
        f"{met.sum()} of {len(beats_s)} | {rms_db:.1f} dB | {centroid_hz:.0f} Hz"
    )


def draw(rows: list, path: Path) -> None:
    """Draw log mel spectrograms, true beats above and found onsets below."""
    from matplotlib.figure import Figure

    figure = Figure((12, 2.6 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 2, sharex=True, sharey=True, squeeze=False)
    log_mel = LogMel()
    for pair, (video, generated, true, beats_s, _) in zip(axes, rows, strict=True):
        for axis, name, audio in zip(
            pair, ("true music", "generated"), (true, generated), strict=True
        ):
            mel = log_mel(torch.from_numpy(audio)[None])[0].numpy()
            extent = (0, len(audio) / SAMPLE_RATE_HZ, 0, len(mel))
            axis.imshow(mel, origin="lower", aspect="auto", extent=extent, vmin=-4, vmax=1)
            axis.plot(beats_s, np.full(len(beats_s), 77), "wv", ms=5)
            heard_s = onsets_s(audio)
            axis.plot(heard_s, np.full(len(heard_s), 3), "r^", ms=5)
            axis.set_title(f"{video}: {name}", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("s;  white: true beats, red: onsets found")
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    print_anything()
    main()
