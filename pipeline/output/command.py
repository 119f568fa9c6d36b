"""`pipeline verify` checks a data set; `pipeline publish` copies it to a store."""

from __future__ import annotations

import argparse

from pipeline.arguments import add_shards, folder_or_address, shard_folder


def add_verify(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline verify`."""
    sub = commands.add_parser("verify", help="read every shard and compare it with dataset.json")
    sub.add_argument(
        "--shards",
        type=folder_or_address,
        help="shard folder, or an address like s3://bucket/aist (default: the one in shards/)",
    )
    sub.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    from pipeline.output.verify import verify

    for line in verify(shard_folder(arguments.shards)):
        print(line)
    print("all shards are complete and valid")
    return 0


def add_publish(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline publish`."""
    sub = commands.add_parser(
        "publish", help="copy a data set to s3://… or similar; run again to continue"
    )
    add_shards(sub)
    sub.add_argument(
        "--to", required=True, metavar="URL", help="address of a folder that fsspec supports"
    )
    sub.set_defaults(run=_publish)


def _publish(arguments: argparse.Namespace) -> int:
    from pipeline.output.publish import publish

    for line in publish(shard_folder(arguments.shards), arguments.to).lines():
        print(line)
    print(f"published: {arguments.to}")
    return 0
