"""`pipeline mux`: replace the sound of a video by a wav file."""

from __future__ import annotations

import argparse

from model.contract.exit_codes import UsageError
from pipeline.arguments import local, seconds


def add_mux(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline mux`."""
    sub = commands.add_parser("mux", help="replace the sound of a video by a wav file")
    sub.add_argument("--video", type=local, required=True, help="video file; its sound is dropped")
    sub.add_argument("--audio", type=local, required=True, help="wav file")
    sub.add_argument(
        "--start-s",
        type=seconds,
        default=0.0,
        help="time in the video at which the sound starts (default 0)",
    )
    sub.add_argument(
        "--stop-s",
        type=seconds,
        help="write only the part of the video from --start-s to this time, encoded again",
    )
    sub.add_argument(
        "--box",
        type=int,
        nargs=4,
        metavar=("X", "Y", "W", "H"),
        help="with --stop-s: crop the picture to this rectangle, in pixels",
    )
    sub.add_argument("--out", type=local, required=True, help="mp4 file")
    sub.set_defaults(run=_mux)


def _mux(arguments: argparse.Namespace) -> int:
    from pipeline.media.ffmpeg import mux, mux_clip

    video, audio, start_s = arguments.video, arguments.audio, arguments.start_s
    if arguments.stop_s is None:
        if arguments.box:
            raise UsageError("--box needs --stop-s: only a clip can be cropped; add --stop-s")
        if codec := mux(video, audio, start_s, arguments.out):
            print(
                f"note: {video}: the video codec {codec} was converted to H.264 in "
                f"{arguments.out}, because many players cannot play {codec} in an mp4"
            )
        return 0

    if arguments.stop_s <= start_s:
        raise UsageError(f"--stop-s {arguments.stop_s:g} must be larger than --start-s {start_s:g}")

    from pipeline.media.reader import probe

    found = probe(video)
    if start_s >= found.video_stop_s:
        raise ValueError(
            f"{video}: the video ends at {float(found.video_stop_s):.2f} s, before the sound "
            f"starts (--start-s {start_s:g}); choose a smaller --start-s"
        )
    box = tuple(arguments.box or (0, 0, found.width, found.height))
    mux_clip(video, audio, (start_s, arguments.stop_s), box, arguments.out)
    return 0
