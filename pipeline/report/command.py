"""`pipeline report`: the outcome of every input; `pipeline preview`: a film to look at."""

from __future__ import annotations

import argparse

from model.contract.exit_codes import UsageError
from pipeline.arguments import add_shards, local, seconds, shard_folder


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


def add_preview(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline preview`."""
    sub = commands.add_parser(
        "preview", help="write a small film of a video, with skeleton and beats drawn into it"
    )
    sub.add_argument("--video", type=local, help="video file (default: a black background)")
    sub.add_argument("--out", type=local, required=True, help="mp4 file")
    sub.add_argument("--start-s", type=seconds, default=0.0, help="start of the film (default 0)")
    sub.add_argument("--stop-s", type=seconds, required=True, help="end of the film")
    sub.add_argument(
        "--box", type=int, nargs=4, metavar=("X", "Y", "W", "H"), help="only this part, in pixels"
    )
    sub.add_argument("--audio", type=local, help="wav file (default: the video's own sound)")
    sub.add_argument("--motion", type=local, help="npy file (T, D), from the start of the film on")
    sub.add_argument("--motion-fps", type=float, default=30.0, help="default 30")
    sub.add_argument(
        "--beats", default="", metavar="S,S", help="times at which the frame lights up, after start"
    )
    sub.set_defaults(run=_preview)


def _preview(arguments: argparse.Namespace) -> int:
    from fractions import Fraction

    import numpy as np

    from pipeline.report.preview import write_preview

    try:
        beats_s = [float(text) for text in filter(None, arguments.beats.split(","))]
    except ValueError:
        raise UsageError(f"--beats {arguments.beats:.80}: expected seconds, as 0.5,1.2") from None
    motion = arguments.motion
    span_s = (Fraction(str(arguments.start_s)), Fraction(str(arguments.stop_s)))
    write_preview(
        arguments.out,
        span_s,
        video=arguments.video,
        box=tuple(arguments.box or ()),
        audio=arguments.audio,
        motion=None if motion is None else np.load(motion, allow_pickle=False),
        motion_fps=arguments.motion_fps,
        beats_s=beats_s,
    )
    return 0
