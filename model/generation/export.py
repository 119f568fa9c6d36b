"""The command `model export`: a run for generation only, small enough to be shared."""

from __future__ import annotations

import argparse
from pathlib import Path

from model.runtime.arguments import add_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `model export`."""
    add_run(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--checkpoint", default="last", choices=["last", "best"])
    parser.add_argument(
        "--note", default="", help="what the run is; `model generate` repeats it to each user"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the run's weights and facts into a folder that `--run` of other commands takes."""
    from model.generation.run import load_run
    from model.runtime.exported import located, read_run, write_exported

    name = f"{arguments.checkpoint}.pt"
    content = read_run(located(arguments.run_folder), name)
    network = load_run(arguments.run_folder, name).model.network
    size_bytes = write_exported(arguments.out, content, network, arguments.note)
    print(f"written: {arguments.out} ({size_bytes / 1e6:.1f} MB, step {content['step']})")
    return 0
