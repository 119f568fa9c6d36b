"""`pipeline fetch`: a data set from its publishers, or the videos of a list of links."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any

from model.contract.options import add_flags, chosen, flag_of, set_for
from pipeline.arguments import EXIT_CODES, UsageError, local, share, share_code
from pipeline.curate.fetch import Fetching
from pipeline.fetch.base import FETCHERS

LINKS = "--links"
MAX_FAILED = {LINKS: 1.0}
"""Most links of a list are dead after some years; a data set has few dead files (0.2)."""


def add_fetch(commands: argparse._SubParsersAction, argv: Sequence[str]) -> None:
    """Add the command, with the flags of the fetchers of this project and of those in `argv`."""
    sub = commands.add_parser(
        "fetch",
        help="download a data set from its publishers, or a list of videos with yt-dlp",
        epilog=EXIT_CODES,
    )
    what = sub.add_mutually_exclusive_group(required=True)
    what.add_argument("--dataset", type=FETCHERS.choice(), help=", ".join(FETCHERS.names()))
    what.add_argument(LINKS, type=local, help="CSV of id,url,song,duration,dancers")
    sub.add_argument(
        "--out", type=local, help="folder to fetch into (for a data set, default data/DATASET)"
    )
    sub.add_argument(
        "--max-failed",
        type=share,
        help="exit with 3 if a larger share fails (default 0.2; for --links 1: never)",
    )
    ways = _ways(argv)
    taken: dict[str, Field[Any]] = {}
    for way, kind in ways.items():
        add_flags(sub.add_argument_group(f"with {way}"), kind, taken)
    sub.set_defaults(run=lambda arguments: _fetch(arguments, ways))


def _ways(argv: Sequence[str]) -> dict[str, type]:
    """Return the classes whose options the command has, by the words that choose them."""
    given = {word.removeprefix("--dataset=") for word in argv}
    names = [name for name in FETCHERS.names() if name in FETCHERS.own or name in given]
    return {f"--dataset {name}": FETCHERS.get(name) for name in names} | {LINKS: Fetching}


def _fetch(arguments: argparse.Namespace, ways: dict[str, type]) -> int:
    values = vars(arguments)
    way = LINKS if arguments.links else f"--dataset {arguments.dataset}"
    for other in ways.keys() - {way}:
        if flags := [flag_of(key) for key in set_for(ways[other], ways[way], values)]:
            raise UsageError(f"{' and '.join(flags)} cannot be used with {way}, only with {other}")
    options = chosen(ways[way], values)
    most = MAX_FAILED.get(way, 0.2) if arguments.max_failed is None else arguments.max_failed
    return _links(arguments, options, most) if way == LINKS else _dataset(arguments, options, most)


def _dataset(arguments: argparse.Namespace, options: dict[str, Any], most: float) -> int:
    out = arguments.out or Path("data") / arguments.dataset
    fetched = FETCHERS.get(arguments.dataset)(out=out, **options).fetch()
    print(fetched.table())
    print(f"written: {out} (fetch.json lists the outcome of each file)")
    if missing := fetched.failed_needed:
        print(f"exit 3: failed: {', '.join(missing)}; run again", file=sys.stderr)
        return 3
    return share_code(fetched.failed_share, most)


def _links(arguments: argparse.Namespace, options: dict[str, Any], most: float) -> int:
    from pipeline.curate.fetch import fetch_links

    if arguments.out is None:
        raise UsageError("--links needs --out DIR, the folder for the videos")
    fetched = fetch_links(Fetching(arguments.links, arguments.out, **options))
    print(fetched.table())
    print(f"written: {arguments.out} (links.json lists the outcome of each link)")
    return share_code(fetched.dead_share, most)
