"""`pipeline report`: show the outcome of every input of a build."""

from __future__ import annotations

import argparse

from pipeline.arguments import add_shards, shard_folder


def add_report(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline report`."""
    sub = commands.add_parser("report", help="show the outcome of every input of a build")
    add_shards(sub)
    sub.add_argument("--json", action="store_true", help="print report.json instead of the table")
    sub.add_argument("--html", action="store_true", help="write report.html again")
    sub.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    from pipeline.report.report import Report

    root = shard_folder(arguments.shards, "report.json")
    report = Report.load(root)
    if arguments.html:
        from pipeline.report.html import save_page

        if save_page(root, report) is None:
            return 1
    if arguments.json:
        print(report.dumps(), end="")
        return 0
    print(report.table())
    if arguments.html:
        print(f"written: {root / 'report.html'}")
    return 0
