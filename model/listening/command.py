"""The command `model mos`: prepare a listening test, serve it, report its results."""

from __future__ import annotations

import argparse
from pathlib import Path

from model.contract.storage import to_location


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the three subcommands of `model mos`."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    sub = commands.add_parser("prepare", help="write a blinded set of generated and true music")
    sub.add_argument(
        "--system", dest="systems", type=_system, action="append", required=True,
        metavar="NAME=DIR", help="the output DIR of model generate, or any folder of music with "
        "files named after the videos; once for each system",
    )  # fmt: skip
    sub.add_argument(
        "--shards", type=to_location, required=True, help="the data set of the true music"
    )
    sub.add_argument("--split", default="test", help="split of the music (default: test)")
    sub.add_argument("--out", type=Path, required=True, help="new folder for the set")
    sub.add_argument("--parts", type=_parts, default=("coherence", "quality"), metavar="PART,…",
                     help="coherence: video with music; quality: only audio")  # fmt: skip
    sub.add_argument("--clips", type=_count, default=10, help="clips in the set (default: 10)")
    sub.add_argument("--clips-each", type=_count, metavar="N",
                     help="clips per listener, system and part (default: all)")  # fmt: skip
    sub.add_argument(
        "--clip-s", type=_seconds, default=10.0, help="maximum clip length in s (default: 10)"
    )
    sub.add_argument("--checks", type=int, choices=range(6), default=2,
                     help="attention checks in each part (default: 2)")  # fmt: skip
    sub.add_argument(
        "--raters", type=_count, default=100, help="maximum number of listeners (default: 100)"
    )
    sub.add_argument("--seed", type=int, help="seed of clips and orders (default: random)")
    sub.set_defaults(run=_prepare)

    sub = commands.add_parser("serve", help="serve the page that plays clips and collects scores")
    sub.add_argument("--set", dest="folder", type=Path, required=True, metavar="DIR")
    sub.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for access from other machines")
    sub.add_argument("--port", type=_port, default=8000, help="0 for any free port (default: 8000)")
    sub.set_defaults(run=_serve)

    sub = commands.add_parser("report", help="mean opinion scores, intervals, agreement")
    sub.add_argument("--set", dest="folder", type=Path, required=True, metavar="DIR")
    sub.set_defaults(run=_report)


def _prepare(arguments: argparse.Namespace) -> int:
    from model.listening.clips import Settings
    from model.listening.plan import load_plan
    from model.listening.prepare import prepare, summary

    folders = dict(arguments.systems)
    if len(folders) < len(arguments.systems):
        raise ValueError("--system: a name is given twice")
    settings = Settings(
        arguments.parts, arguments.clips, arguments.clips_each, arguments.clip_s,
        arguments.checks, arguments.raters, arguments.seed,
    )  # fmt: skip
    out = arguments.out
    key = prepare(arguments.shards, arguments.split, folders, out, settings)
    for line in summary(key, load_plan(out)):
        print(line)
    print(f"{out}: done; next: model mos serve --set {out}")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from importlib.util import find_spec

    if missing := [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]:
        raise ValueError(f"mos serve needs {' and '.join(missing)}: install dance2music[mos]")
    from model.listening.serve import serve

    serve(arguments.folder, arguments.host, arguments.port)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from model.listening.report import lines, report

    for line in lines(report(arguments.folder)):
        print(line)
    print(f"{arguments.folder}: report.json, report.csv, answers.csv")
    return 0


def _system(text: str) -> tuple[str, Path]:
    name, mark, folder = text.partition("=")
    if not (name and mark and folder):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=DIR")
    return name, Path(folder)


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(text.split(",")))
    if unknown := set(parts) - {"coherence", "quality"}:
        raise argparse.ArgumentTypeError(
            f"unknown part {sorted(unknown)[0]!r}; expected coherence, quality"
        )
    return parts


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 or more")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    if not 2 <= (value := float(text)) <= 60:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 2 to 60 seconds")
    return value
