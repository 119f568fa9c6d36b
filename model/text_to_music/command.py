"""The command `model train-text`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from model.runtime.arguments import add_settings
from model.runtime.settings import load
from model.runtime.signals import Interrupted
from model.text_to_music.config import TextConfig

LOWER = "lower batch or window_s (--set KEY=VALUE)"
"""Advice when memory runs out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `model train-text`."""
    parser.add_argument("--music", type=Path, required=True, metavar="DIR",
                        help="a folder of music files")  # fmt: skip
    parser.add_argument("--captions", type=Path, required=True, metavar="FILE.csv",
                        help="a table with the columns file,caption or "
                        "file,caption,beats")  # fmt: skip
    parser.add_argument("--codec", required=True, metavar="encodec:FOLDER",
                        help="an EnCodec in transformers' format")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/text"), metavar="DIR")
    parser.add_argument("--init", type=Path, metavar="FOLDER",
                        help="begin with the weights of a trained model")  # fmt: skip
    add_settings(parser, "one setting; may be repeated")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.set_defaults(run=run, lower=LOWER)


def run(args: argparse.Namespace) -> int:
    """Train the model and return the exit code."""
    config = load(TextConfig(), args.settings)

    from model.codecs.base import load_codec
    from model.runtime.arguments import device_of
    from model.runtime.hugging_face import need_transformers
    from model.text_to_music.build import TEXT_TO_MUSIC
    from model.text_to_music.train import train_text

    need_transformers(TEXT_TO_MUSIC)
    codec = load_codec(args.codec, device=device_of(config.device))
    try:
        train_text(config, args.music, args.captions, codec, args.out, args.resume, args.init)
    except Interrupted as stop:
        print(f"{args.out}: {stop}", file=sys.stderr)
        return 130
    print(f"wrote {args.out}")
    return 0
