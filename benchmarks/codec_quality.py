"""How well a codec keeps music: onsets, spectra, use of the codebook.

    python -m pipeline.sources.synthetic songs --music-only --split test
    python benchmarks/codec_quality.py --audio songs/wav [--codec demo] [--picture FILE]

Each song is encoded and decoded whole, and as the shards hold it: two-second segments, each peaking
at 0.95 (the detector's threshold then follows the loudest onset of those two seconds, which makes
the quiet ones count). Onsets are librosa's, on original and reconstruction; they match within
70 ms. `spectral` is the relative error of magnitude spectra: |S(x)| - |S(y)| over |S(x)|, mean of
three resolutions, over the segments.
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

from model.codecs.base import Codec, load_codec
from model.codecs.training.corpus import normalised
from model.codecs.training.losses import MULTISPECTRAL, magnitude
from model.codecs.training.pictures import draw_reconstructions
from model.contract.segment import SAMPLE_RATE_HZ, is_hidden
from model.contract.terminal import print_anything

SEGMENT_SAMPLES = 2 * SAMPLE_RATE_HZ
ONSET_WINDOW_S = 0.07


def read(path: Path) -> np.ndarray:
    """Return a file's music (N,) at 22 050 Hz, mono, peaking at 0.95."""
    audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return normalised(soxr.resample(audio.mean(1), rate_hz, SAMPLE_RATE_HZ))


def segments(audio: np.ndarray) -> torch.Tensor:
    """Return the whole segments (B, 44100) of a song, each peaking at 0.95."""
    count = len(audio) // SEGMENT_SAMPLES
    cut = audio[: count * SEGMENT_SAMPLES].reshape(count, SEGMENT_SAMPLES)
    return torch.from_numpy(np.stack([normalised(segment) for segment in cut]))


def onset_f(original: np.ndarray, decoded: np.ndarray) -> float:
    times = [
        librosa.onset.onset_detect(y=audio, sr=SAMPLE_RATE_HZ, units="time")
        for audio in (original[: len(decoded)], decoded)
    ]
    return mir_eval.onset.f_measure(*times, window=ONSET_WINDOW_S)[0]


def spectral_error(original: torch.Tensor, decoded: torch.Tensor) -> float:
    errors = []
    for stft in MULTISPECTRAL:
        target, output = magnitude(original, stft), magnitude(decoded, stft)
        errors.append(((target - output).norm() / target.norm()).item())
    return float(np.mean(errors))


def measure(codec: Codec, level: str, songs: dict[str, np.ndarray]) -> dict[str, float]:
    """Return means over songs, or over all their segments, and the share of entries used."""
    by_song, by_segment, errors, used = [], [], [], set()
    for song in songs.values():
        codes = codec.encode_long(torch.from_numpy(song)[None], level)
        by_song.append(onset_f(song, codec.decode(codes, level)[0].numpy()))
        cut = segments(song)
        codes = codec.encode(cut, level)
        used.update(codes.unique().tolist())
        decoded = codec.decode(codes, level)
        errors.append(spectral_error(cut[:, : decoded.shape[1]], decoded))
        pairs = zip(cut.numpy(), decoded.numpy(), strict=True)
        by_segment += [onset_f(before, after) for before, after in pairs]
    return {
        "onset_song": float(np.mean(by_song)),
        "onset_segment": float(np.mean(by_segment)),
        "spectral": float(np.mean(errors)),
        "used": len(used) / codec.level(level).size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--audio", type=Path, required=True, metavar="DIR")
    parser.add_argument("--codec", default="demo")
    parser.add_argument("--picture", type=Path, metavar="FILE")
    args = parser.parse_args()
    paths = sorted(p for p in args.audio.glob("*.wav") if not is_hidden(Path(p.name)))
    if not paths:
        raise SystemExit(f"{args.audio}: no .wav files; see --help")
    codec = load_codec(args.codec)
    songs = {path.stem: read(path) for path in paths}
    print(f"{codec.id} ({codec.note}), {len(songs)} songs")
    print("| level | hop | entries | onset F, songs | onset F, segments | spectral | used |")
    print("|---|---|---|---|---|---|---|")
    for level in codec.levels:
        got = measure(codec, level, songs)
        print(
            f"| {level} | {codec.level(level).hop} | {codec.level(level).size} "
            f"| {got['onset_song']:.3f} "
            f"| {got['onset_segment']:.3f} | {got['spectral']:.3f} | {got['used']:.0%} |"
        )
    if args.picture:
        versions = {}
        for name in list(songs)[:: max(1, len(songs) // 4)][:4]:
            original = segments(songs[name])[3:4]
            versions[name] = {"original": original[0].numpy()}
            for level in codec.levels:
                decoded = codec.decode(codec.encode(original, level), level)
                versions[name][f"{level} level"] = decoded[0].numpy()
        draw_reconstructions(args.picture, versions, f"held-out songs through {codec.id}")


if __name__ == "__main__":
    print_anything()
    main()
