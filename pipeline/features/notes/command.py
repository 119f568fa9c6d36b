"""`pipeline notes`: add the notes of the music to every segment of a data set."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import Field
from typing import Any

from model.contract.options import add_flags
from pipeline.arguments import add_engine, add_limit, add_shards, shard_folder
from pipeline.features.notes.base import NOTE_SOURCES, note_source, source_class


def add_notes(commands: argparse._SubParsersAction, argv: Sequence[str] = ()) -> None:
    """Add `pipeline notes`, with the flags of the plugin that `argv` names."""
    sub = commands.add_parser("notes", help="add the notes of the music to every segment")
    add_shards(sub)
    sub.add_argument(
        "--from",
        dest="note_source",
        required=True,
        type=NOTE_SOURCES.choice(),
        metavar="NAME",
        help=f"where the notes are from: {', '.join(NOTE_SOURCES.names())}",
    )
    named = [name for name in NOTE_SOURCES.names() if name in argv and argv[0] == "notes"]
    taken: dict[str, Field[Any]] = {}
    for name in dict.fromkeys([*NOTE_SOURCES.own, *named]):
        add_flags(sub, source_class(name), taken)
    sub.add_argument(
        "--allow-missing",
        action="store_true",
        help="write the windows of videos whose notes cannot be had without notes, and list these",
    )
    add_limit(sub)
    add_engine(sub)
    sub.set_defaults(run=_notes)


def _notes(arguments: argparse.Namespace) -> int:
    from model.contract.dataset import load_dataset
    from pipeline.engine.choice import make_engine
    from pipeline.features.notes.extract import extract_notes
    from pipeline.output.folder import locked

    source = note_source(arguments.note_source, vars(arguments))
    root = shard_folder(arguments.shards)
    load_dataset(root)
    with locked(root):
        with closing(make_engine(arguments.engine, arguments.address)) as engine:
            done = extract_notes(
                root, source, engine, arguments.item_limit_s, arguments.allow_missing
            )
    for line in done.lines():
        print(line)
    print(f"written: {root}/notes/{source.name}")
    return 0
