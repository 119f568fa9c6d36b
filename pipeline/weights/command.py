"""`pipeline weights`: list, fetch and verify published weights."""

from __future__ import annotations

import argparse

from model.contract.exit_codes import UsageError


def add_weights(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline weights` and its actions."""
    sub = commands.add_parser("weights", help="list, fetch and verify published weights")
    sub.set_defaults(run=_list)
    actions = sub.add_subparsers(title="actions", metavar="ACTION")
    actions.add_parser("list", help="names, sizes, hashes, licences (default)")
    fetch = actions.add_parser(
        "fetch", help="download files; run again to continue an interrupted download"
    )
    fetch.add_argument("names", nargs="+", metavar="NAME")
    fetch.add_argument("--url", default="", help="another address that serves the same file")
    fetch.set_defaults(run=_fetch)
    check = actions.add_parser("verify", help="check the hashes of the downloaded files")
    check.add_argument("name", nargs="?", default="", metavar="NAME")
    check.set_defaults(run=_verify)


def _list(arguments: argparse.Namespace) -> int:
    from pipeline.weights.table import listing

    for line in listing():
        print(line)
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    from pipeline.weights.fetch import fetch
    from pipeline.weights.table import lookup

    weights = [lookup(name) for name in dict.fromkeys(arguments.names)]
    if arguments.url and len(weights) > 1:
        raise UsageError(f"--url {arguments.url}: is for one file, but {len(weights)} are named")
    for i, weight in enumerate(weights):
        fetch(weight, arguments.url, also=weights[i + 1 :])
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from pipeline.weights.table import verify

    lines, right = verify(arguments.name)
    for line in lines:
        print(line)
    return 0 if right else 1
