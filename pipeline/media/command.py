"""`pipeline mux`, `sound`, `probe`: replace a video's sound, take it out, print a video's facts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

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


def add_sound(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline sound`."""
    sub = commands.add_parser(
        "sound", help="write the sound of videos as wav files, as the shards have it"
    )
    sub.add_argument("videos", type=local, nargs="+", metavar="VIDEO")
    sub.add_argument("--out", type=local, required=True, metavar="DIR", help="DIR/<video>.wav")
    sub.set_defaults(run=_sound)


def _sound(arguments: argparse.Namespace) -> int:
    """Write the sounds; return 3 if some videos have none that can be read."""
    from pipeline.media.reader import MediaError

    failed = 0
    for video in arguments.videos:
        try:
            write_sound(video, arguments.out / f"{video.stem}.wav")
        except MediaError as error:
            print(f"error: {error}", file=sys.stderr)
            failed += 1
    return 3 if failed else 0


def write_sound(video: Path, out: Path) -> None:
    """Write the first sound track of a video as a mono wav file of floats at 22 050 Hz.

    It begins at time 0 of the video: silence comes before sound that begins later, and what is
    before that time is left out. Raises MediaError.
    """
    import io

    import numpy as np
    import soundfile

    from model.contract.files import write_atomic
    from model.contract.segment import SAMPLE_RATE_HZ
    from pipeline.media.reader import read_audio

    sound = read_audio(video)
    first = round(sound.start_s * SAMPLE_RATE_HZ)
    samples = np.pad(sound.samples[max(0, -first) :], (max(0, first), 0))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, "FLOAT", format="WAV")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, buffer.getvalue())


def add_probe(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline probe`."""
    sub = commands.add_parser("probe", help="print what a video is, as JSON")
    sub.add_argument("video", type=local, metavar="VIDEO")
    sub.set_defaults(run=_probe)


def _probe(arguments: argparse.Namespace) -> int:
    """Print the facts of a video whose first frame can be decoded; MediaError if it cannot."""
    import json

    from pipeline.media.reader import FrameRequest, probe, read_frames

    found = probe(arguments.video)
    read_frames(arguments.video, {"first": FrameRequest([found.video_start_s], 64)})
    facts = {
        "start_s": float(found.video_start_s),
        "stop_s": float(found.video_stop_s),
        "fps": float(found.fps),
        "width_px": found.width,
        "height_px": found.height,
        "frames": found.frames,
        "has_sound": found.audio_start_s is not None,
    }
    print(json.dumps(facts))
    return 0
