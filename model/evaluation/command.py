"""The command `model evaluate`: score a run, compare two runs, print the paper's tables."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from model.contract.exit_codes import UsageError
from model.contract.kinds import BASELINES, MEASURES
from model.runtime.arguments import (
    add_codec,
    add_device,
    add_run,
    add_settings,
    add_shards,
    device_of,
)

LOWER = "use a split with shorter videos, or --device cpu"
"""Advice when memory runs out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `model evaluate`."""
    add_run(parser, required=False)
    add_shards(parser, required=False, help="a data set with codes")
    parser.add_argument("--split", default="test", help="split to evaluate on (default: test)")
    parser.add_argument("--train-split", default="train", metavar="SPLIT",
                        help="split with the known genres and dances (default: train)")  # fmt: skip
    parser.add_argument("--checkpoint", default="last", choices=["last", "best"])
    add_codec(parser, "that of the run")
    parser.add_argument(
        "--embedding", default="vggish", type=_embedding, metavar="NAME",
        help="for genre accuracy, distances and similarity: vggish, mel-statistics, clap, "
        "clap:FOLDER or none (default: vggish, which needs its weights)",
    )  # fmt: skip
    parser.add_argument(
        "--similarity", type=_embedding, action="append", default=[], metavar="NAME",
        help="measure similarity by this embedding, too; may be repeated",
    )  # fmt: skip
    parser.add_argument("--vggish", type=Path, metavar="FILE", help="file of VGGish weights")
    parser.add_argument("--denoise", action="store_true", help="add a row of denoised music")
    parser.add_argument("--alone", action="store_true",
                        help="score only the run's music, without baselines")  # fmt: skip
    parser.add_argument(
        "--baseline", dest="baselines", type=BASELINES.choice(), action="append", default=[],
        metavar="NAME", help="add a baseline: " + ", ".join(BASELINES.names()),
    )  # fmt: skip
    parser.add_argument(
        "--music", action="append", default=[], metavar="NAME=FOLDER",
        help="score the music of any system: wav or mp4 files, named after the videos or segments; "
        "beside --run, or without it; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--measure", dest="measures", type=MEASURES.choice(), action="append", default=[],
        metavar="NAME",
        help="add a plugin's measure: " + (", ".join(MEASURES.names()) or "none installed"),
    )  # fmt: skip
    parser.add_argument(
        "--clips", type=int, default=3, help="number of clips on the page (default: 3)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of random codes, pairings and noise"
    )
    parser.add_argument(
        "--against", type=Path, metavar="RUN", help="compare with the scores of this run"
    )
    parser.add_argument("--all", type=Path, nargs="+", metavar="RUN",
                        help="print the paper's tables beside these evaluated runs")  # fmt: skip
    parser.add_argument("--listening", type=Path, metavar="DIR",
                        help="with --all: print the scores of this listening test")  # fmt: skip
    add_settings(parser, "one option of generation of the run's family; may be repeated")
    add_device(parser)
    parser.set_defaults(run=run, lower=LOWER)


def _embedding(text: str) -> str:
    """Return the name of an embedding, checked without importing any."""
    kind, _, folder = text.partition(":")
    if text in ("vggish", "mel-statistics", "clap", "none") or (kind == "clap" and folder):
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r}: expected vggish, mel-statistics, clap, clap:FOLDER or none"
    )


def run(arguments: argparse.Namespace) -> int:
    """Evaluate a run, or print tables of evaluated ones."""
    from model.evaluation.evaluate import (
        EvaluateOptions,
        evaluate,
        folder_of,
        load,
        load_sets,
    )
    from model.evaluation.tables import beside_the_paper, compared, one_run, opinions
    from model.generation.run import Run, load_run
    from model.listening.report import report

    if arguments.all:
        listening = report(arguments.listening) if arguments.listening else None
        print(beside_the_paper([load(folder, arguments.split) for folder in arguments.all]))
        print(f"\n{opinions(listening)}")
        return 0
    if arguments.run_folder is None and not arguments.music:
        raise UsageError(
            "give a run with --run, music with --music NAME=FOLDER, or evaluated runs with --all"
        )
    if arguments.shards is None and (arguments.against is None or arguments.music):
        raise UsageError("--run and --music need --shards, the data set to evaluate on")
    against = load(arguments.against, arguments.split) if arguments.against else None
    folder = arguments.run_folder
    if arguments.shards is not None:
        given = vars(arguments)
        values: dict[str, Any] = {f.name: given[f.name] for f in fields(EvaluateOptions)}
        values |= {name: tuple(v) for name, v in values.items() if isinstance(v, list)}
        checkpoint, device = f"{arguments.checkpoint}.pt", device_of(arguments.device)
        options = EvaluateOptions(**{**values, "device": str(device)})
        each: list[tuple[Run | None, EvaluateOptions]]
        if folder is not None:
            each = [(load_run(folder, checkpoint, arguments.codec, device), options)]
        else:  # every folder has an evaluation of its own
            each = [(None, replace(options, music=(music,))) for music in options.music]
        for scored, wanted in each:
            found = evaluate(scored, arguments.shards, wanted)
            print(one_run(found))
            folder = Path(found["run"])
            page = folder_of(folder, arguments.split) / "index.html"
            print(f"\n{page}: the same tables, with audio")
            for label in found["labels"]:
                print(f"note: {label}")
    if against is not None:
        ours = load(folder, arguments.split)
        folders = (folder, arguments.against)
        print(f"\n{compared(ours, against, *(load_sets(f, arguments.split) for f in folders))}")
    return 0
