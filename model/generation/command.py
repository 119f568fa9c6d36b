"""The command `model generate`: its arguments and its run."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from model.generation.pipeline_process import started_early
from model.runtime.arguments import (
    add_codec,
    add_device,
    add_run,
    add_settings,
    add_shards,
    device_of,
    settings_of,
)

LOWER = "use shorter videos, or --device cpu"
"""Advice when memory runs out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `model generate`."""
    add_run(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--video", type=Path, help="any video; features are computed as in training")
    add_shards(what, required=False)
    parser.add_argument("--split", default="test", help="split of --shards (default: test)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", default="last", choices=["last", "best"])
    add_codec(parser, "that of the run")
    parser.add_argument(
        "--genre", default="", help="genre, for a run that has it as an input: BR, PO, …"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the noise and of drawn codes, if the run has any",
    )
    parser.add_argument(
        "--style",
        metavar="AUDIO",
        help="music whose sound to take, for runs of tokens: sound like this, dance like the video",
    )
    parser.add_argument(
        "--prompt",
        metavar="WORDS",
        help="words, for runs of inversion, in which * is the rhythm of the dance and @ its genre: "
        '"a @ music with * as the rhythm, funky brass"',
    )
    parser.add_argument(
        "--soundfont", metavar="FILE", help="sound font (.sf2) of a run that plays notes"
    )
    parser.add_argument(
        "--replace",
        action="append",
        default=[],
        metavar="START-END",
        help="replace only this span (s) of --music, such as 3.0-5.0; may be repeated, or a list "
        "with commas; for runs of family masked",
    )
    parser.add_argument(
        "--music", type=Path, metavar="FILE", help="with --replace: the music of the video"
    )
    parser.add_argument(
        "--length-s",
        type=float,
        metavar="S",
        help="with --video: only the first S seconds of the dance, in whole windows",
    )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="DIR",
        help="with --video: keep its features in this folder, and use those that are there",
    )
    add_settings(parser, "one option of the run's family, such as a temperature; may be repeated")
    parser.add_argument(
        "--denoise",
        action="store_true",
        help="denoise by spectral gating with noisereduce, as in the paper",
    )
    add_device(parser)
    parser.set_defaults(run=run, lower=LOWER)


def run(arguments: argparse.Namespace) -> int:
    """Generate and write music; return 3 if all music was written but some mp4 files failed."""
    builds = arguments.video is not None and arguments.features is None
    with started_early() if builds else nullcontext():
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    from model.generation.denoise import check_available
    from model.generation.generate import generate
    from model.generation.run import load_run

    if arguments.denoise:
        check_available()
    trained = load_run(
        arguments.run_folder,
        f"{arguments.checkpoint}.pt",
        arguments.codec,
        device_of(arguments.device),
    )
    made = generate(
        trained,
        arguments.out,
        video=arguments.video,
        shards=arguments.shards,
        split=arguments.split,
        genre=arguments.genre,
        seed=arguments.seed,
        denoised=arguments.denoise,
        options=settings_of(arguments, "style", "prompt", "soundfont"),
        replace=arguments.replace,
        music=arguments.music,
        length_s=arguments.length_s,
        features=arguments.features,
    )
    failed = [piece for piece in made if piece.error]
    for piece in failed:
        print(f"error: {piece.wav.with_suffix('.mp4')}: {piece.error}", file=sys.stderr)
    if failed:
        print(
            f"error: {len(failed)} of {len(made)} mp4 files failed; their wav files are complete",
            file=sys.stderr,
        )
    print(f"written: {arguments.out} (generated.json lists the pieces)")
    return 3 if failed else 0
