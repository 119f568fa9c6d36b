"""What `model train-codec --arch encodec` does."""

from __future__ import annotations

import argparse

from model.codecs.encodec.config import PRESETS, EncodecTrainingConfig
from model.runtime.settings import load


def run(args: argparse.Namespace) -> None:
    """Train an EnCodec and write it as a folder in transformers' format."""
    config = load(EncodecTrainingConfig(), args.settings, None, args.preset, PRESETS)
    from model.codecs.encodec.train import train

    folder = train(config, args.audio, args.shards, args.out, args.resume)
    print(f"wrote {folder}; use it as --codec encodec:{folder}")
