"""`pipeline extract-codes`: compute codec codes of every segment of a data set."""

from __future__ import annotations

import argparse
from contextlib import closing

from model.contract.exit_codes import UsageError
from model.contract.kinds import CODECS
from pipeline.arguments import add_engine, add_limit, add_shards, shard_folder


def add_extract_codes(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline extract-codes`."""
    sub = commands.add_parser("extract-codes", help="compute codec codes of every segment")
    add_shards(sub)
    names = ", ".join(CODECS.names())
    codec = f"{names} (encodec:FOLDER) or PATH (default jukebox-5b)"
    sub.add_argument("--codec", default="jukebox-5b", help=codec)
    sub.add_argument(
        "--levels", nargs="+", metavar="LEVEL", help="levels (default of JukeBox: high low)"
    )
    add_limit(sub)
    add_engine(sub)
    sub.set_defaults(run=_extract_codes)


def _extract_codes(arguments: argparse.Namespace) -> int:
    from model.contract.dataset import load_dataset
    from pipeline.engine.choice import make_engine
    from pipeline.features.codes import extract_codes
    from pipeline.output.folder import locked

    if arguments.codec == "none":
        raise UsageError(
            "--codec none: no codes to extract; use jukebox-5b, demo, encodec-32khz or a file"
        )
    root = shard_folder(arguments.shards)
    load_dataset(root)
    with locked(root):
        with closing(make_engine(arguments.engine, arguments.address)) as engine:
            codec_id = extract_codes(
                root, arguments.codec, arguments.levels, engine, arguments.item_limit_s
            )
    codes = load_dataset(root).codecs[codec_id]
    count = sum(shard.segments for shards in codes.splits.values() for shard in shards)
    print(f"codes of {count} segments, levels {' '.join(codes.levels)}: {root}/codes/{codec_id}")
    if codes.note:
        print(f"NOTE {codes.note}")
    return 0
