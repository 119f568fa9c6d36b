"""The command `model studio`: a local page to make music for dance videos, and to look at data."""

from __future__ import annotations

import argparse
from pathlib import Path

from model.contract.exit_codes import UsageError
from model.contract.options import add_flags, chosen
from model.studio.limits import Limits

RUNS = ("demo-notes", "demo")
"""The shipped models, which are there without any training."""
NEEDED = ("gradio", "fastapi", "uvicorn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `model studio`."""
    parser.add_argument(
        "--run", dest="runs", action="append", metavar="RUN",
        help="folder of a run, or a shipped model; may be repeated; the first is chosen at the "
        f"start (default: {' and '.join(RUNS)})",
    )  # fmt: skip
    parser.add_argument("--shards", type=Path, metavar="DIR", help="a data set to look at")
    parser.add_argument(
        "--curated", type=Path, metavar="DIR", help="what pipeline curate wrote, to correct it"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0 for access from other machines"
    )
    parser.add_argument("--port", type=_port, default=7860, help="0 for any free port")
    parser.add_argument(
        "--work", type=Path, default=Path("studio"), metavar="DIR",
        help="folder for uploads and results (default: studio)",
    )  # fmt: skip
    add_flags(parser.add_argument_group("limits"), Limits, {})
    parser.set_defaults(run=run, lower="offer smaller runs")


def run(arguments: argparse.Namespace) -> int:
    """Serve the studio until Ctrl-C. Raises ValueError if Gradio is not installed."""
    from importlib.util import find_spec

    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ValueError(f"model studio needs {' and '.join(missing)}: install dance2music[studio]")
    try:
        limits = Limits(**chosen(Limits, vars(arguments)))
    except ValueError as error:
        raise UsageError(str(error)) from None
    from model.studio.serve import opened, serve

    runs = list(dict.fromkeys(arguments.runs or RUNS))
    with opened(arguments.work, limits, runs, arguments.shards, arguments.curated) as studio:
        serve(studio, arguments.host, arguments.port)
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 0 to 65535")
    return int(text)
