"""How well a codec keeps music: onsets, spectra, use of the codebook.

    python -m pipeline.sources.synthetic songs --music-only --split test
    python benchmarks/codec_quality.py --audio songs/wav [--codec demo] [--picture FILE]

Each song is encoded and decoded as the shards hold it: two-second segments, each peaking at 0.95.
Onsets (librosa's detector on original and reconstruction) match within 70 ms. `spectral` is the
relative error of magnitude spectra: |S(x)| - |S(y)| over |S(x)|, mean of three resolutions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import librosa
import mir_eval
import numpy as np
import soundfile
import soxr
import torch

from model.jukebox import Codec, load_codec
from model.jukebox.corpus import normalised
from model.jukebox.losses import MULTISPECTRAL, magnitude
from model.jukebox.pictures import draw_reconstructions
from model.segment import SAMPLE_RATE_HZ

SEGMENT_SAMPLES = 2 * SAMPLE_RATE_HZ
ONSET_WINDOW_S = 0.07


def segments(path: Path) -> torch.Tensor:
    """Return a file's whole segments (B, 44100), each peaking at 0.95."""
    audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    audio = soxr.resample(audio.mean(1), rate_hz, SAMPLE_RATE_HZ)
    count = len(audio) // SEGMENT_SAMPLES
    cut = audio[: count * SEGMENT_SAMPLES].reshape(count, SEGMENT_SAMPLES)
    return torch.from_numpy(np.stack([normalised(segment) for segment in cut]))


def onsets(audio: np.ndarray) -> np.ndarray:
    return librosa.onset.onset_detect(y=audio, sr=SAMPLE_RATE_HZ, units="time")


def spectral_error(original: torch.Tensor, decoded: torch.Tensor) -> float:
    errors = []
    for stft in MULTISPECTRAL:
        target, output = magnitude(original, stft), magnitude(decoded, stft)
        errors.append(((target - output).norm() / target.norm()).item())
    return float(np.mean(errors))


def measure(codec: Codec, level: str, songs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return means over segments (onset F) and songs (spectral), and the share of entries used."""
    scores, errors, used = [], [], set()
    for original in songs.values():
        codes = codec.encode(original, level)
        used.update(codes.unique().tolist())
        decoded = codec.decode(codes, level)
        original = original[:, : decoded.shape[1]]
        errors.append(spectral_error(original, decoded))
        for before, after in zip(original.numpy(), decoded.numpy(), strict=True):
            reference, estimate = onsets(before), onsets(after)
            scores.append(mir_eval.onset.f_measure(reference, estimate, ONSET_WINDOW_S)[0])
    return {
        "onset_f": float(np.mean(scores)),
        "spectral": float(np.mean(errors)),
        "used": len(used) / codec.bins(level),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--audio", type=Path, required=True, metavar="DIR")
    parser.add_argument("--codec", default="demo")
    parser.add_argument("--picture", type=Path, metavar="FILE")
    args = parser.parse_args()
    paths = sorted(args.audio.glob("*.wav"))
    if not paths:
        raise SystemExit(f"{args.audio}: no .wav files; see --help")
    codec = load_codec(args.codec)
    songs = {path.stem: segments(path) for path in paths}
    count = sum(len(song) for song in songs.values())
    print(f"{codec.id}: {codec.note}; {len(songs)} songs, {count} segments of 2 s")
    print("| level | hop | entries | onset F (70 ms) | spectral error | entries used |")
    print("|---|---|---|---|---|---|")
    for level in codec.levels:
        got = measure(codec, level, songs)
        print(
            f"| {level} | {codec.hop(level)} | {codec.bins(level)} | {got['onset_f']:.3f} "
            f"| {got['spectral']:.3f} | {got['used']:.0%} |"
        )
    if args.picture:
        versions = {}
        for name in list(songs)[:: max(1, len(songs) // 4)][:4]:
            original = songs[name][3:4]
            versions[name] = {"original": original[0].numpy()}
            for level in codec.levels:
                decoded = codec.decode(codec.encode(original, level), level)
                versions[name][f"{level} level"] = decoded[0].numpy()
        draw_reconstructions(args.picture, versions, f"held-out songs through {codec.id}")


if __name__ == "__main__":
    main()
