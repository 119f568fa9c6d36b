"""What fine-tuning a decoder gains on songs that no training heard.

    python benchmarks/synthesizer.py --shards DIR --after FILE [--before demo] [--level high low]

Decodes the stored codes of a split's segments with both decoders and compares each with the
segment's sound: the mel distance that training minimises (L1 of log10 mel magnitudes), the wave
distance, the relative error of magnitude spectra and the F measure of librosa's onsets within
70 ms. Intervals: 95 %, paired bootstrap of the difference, over segments and over songs (segments
of one song are alike, so the latter is the one to go by).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from codec_quality import onset_f, spectral_error

from model.audio import LogMel, mel_loss, wave_loss
from model.codecs.base import Codec, load_codec
from model.contract.dataset import load_dataset
from model.contract.terminal import print_anything
from model.data.reader import meta_of
from model.data.source import Source, open_source

MEASURES = ("mel", "wave", "spectral", "onset F")


def measure(source: Source, codecs: list[Codec], level: str) -> tuple[list[str], np.ndarray]:
    """Return each segment's song, and measures (codecs, segments, MEASURES)."""
    log_mel, songs, rows = LogMel(), [], []
    for number in range(len(source.dataset.splits[source.split])):
        for raw in source.raw(number):
            songs.append(str(meta_of(raw, raw["__url__"])["song"]))
            batch = source.collate([raw])
            rows.append([one(batch.codes[level], batch.audio, c, level, log_mel) for c in codecs])
    return songs, np.array(rows).transpose(1, 0, 2)


@torch.no_grad()
def one(
    codes: torch.Tensor, audio: torch.Tensor, codec: Codec, level: str, log_mel: LogMel
) -> list[float]:
    decoded = codec.decode(codes, level)
    truth = audio[:, : decoded.shape[1]]
    return [
        mel_loss(decoded, truth, log_mel).item(),
        wave_loss(decoded, truth).item(),
        spectral_error(truth, decoded),
        onset_f(truth[0].numpy(), decoded[0].numpy()),
    ]


def interval(groups: list[np.ndarray], draws: int = 10_000) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean over all values, drawing whole groups."""
    rng = np.random.default_rng(0)
    sums, counts = np.array([g.sum() for g in groups]), np.array([len(g) for g in groups])
    drawn = rng.integers(len(groups), size=(draws, len(groups)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--before", default="demo")
    parser.add_argument("--after", type=Path, required=True)
    parser.add_argument("--level", nargs="+", default=["high", "low"], choices=["high", "low"])
    parser.add_argument("--split", default="test")
    args = parser.parse_args()
    dataset = load_dataset(args.shards)
    print("| level | measure | before | after | difference | over segments | over songs |")
    print("|---|---|---|---|---|---|---|")
    for level in args.level:
        codecs = [load_codec(source, (level,)) for source in (args.before, args.after)]
        source = open_source(args.shards, dataset, args.split, codecs[1], [level], inputs=())
        songs, (before, after) = measure(source, codecs, level)
        for i, name in enumerate(MEASURES):
            change = after[:, i] - before[:, i]
            by_song = defaultdict(list)
            for song, value in zip(songs, change, strict=True):
                by_song[song].append(value)
            groups = [np.array(values) for values in by_song.values()]
            cells = [f"{low:+.4f} to {high:+.4f}" for low, high in (
                interval([np.array([value]) for value in change]), interval(groups)
            )]  # fmt: skip
            print(
                f"| {level} | {name} | {before[:, i].mean():.4f} | {after[:, i].mean():.4f} "
                f"| {change.mean():+.4f} | {' | '.join(cells)} |"
            )
        print(f"{level}: {len(songs)} segments of {len(groups)} songs, {codecs[1].note}")


if __name__ == "__main__":
    print_anything()
    main()
