"""`pipeline mux`: put a wav under a video's picture."""

from __future__ import annotations

import argparse

from model.contract.exit_codes import UsageError
from pipeline.arguments import local, seconds


def add_mux(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline mux`."""
    sub = commands.add_parser("mux", help="put a wav under a video's picture")
    sub.add_argument("--video", type=local, required=True)
    sub.add_argument("--audio", type=local, required=True, help="wav file")
    sub.add_argument("--start-s", type=seconds, default=0.0, help="when the sound starts")
    sub.add_argument(
        "--stop-s", type=seconds, help="only the picture from start to here, encoded anew"
    )
    sub.add_argument(
        "--box",
        type=int,
        nargs=4,
        metavar=("X", "Y", "W", "H"),
        help="with --stop-s: only this part of the picture",
    )
    sub.add_argument("--out", type=local, required=True, help="mp4 file")
    sub.set_defaults(run=_mux)


def _mux(arguments: argparse.Namespace) -> int:
    from pipeline.media.ffmpeg import mux, mux_clip

    video, audio, start_s = arguments.video, arguments.audio, arguments.start_s
    if arguments.stop_s is None:
        if arguments.box:
            raise UsageError("--box goes with --stop-s: the part and the span of a clip")
        if codec := mux(video, audio, start_s, arguments.out):
            print(f"note: {video}: its picture ({codec}) is encoded anew as H.264 in "
                  f"{arguments.out}: players expect no {codec} in an mp4")  # fmt: skip
        return 0

    if arguments.stop_s <= start_s:
        raise UsageError(f"--stop-s {arguments.stop_s:g}: comes not after --start-s {start_s:g}")

    from pipeline.media.reader import probe

    found = probe(video)
    if start_s >= found.video_stop_s:
        raise ValueError(f"{video}: its picture ends at {float(found.video_stop_s):.2f} s, before "
                         f"its music starts (--start-s {start_s:g})")  # fmt: skip
    box = tuple(arguments.box or (0, 0, found.width, found.height))
    mux_clip(video, audio, (start_s, arguments.stop_s), box, arguments.out)
    return 0
