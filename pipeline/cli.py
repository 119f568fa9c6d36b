"""The `pipeline` command. Heavy imports wait inside the commands: `--help` answers at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.contract.exit_codes import exits
from model.contract.terminal import add_version, print_anything
from pipeline.arguments import (
    EXIT_CODES,
    add_audio_track,
    add_engine,
    add_limit,
    local,
    local_out,
    natural,
    positive,
    share,
    share_code,
)
from pipeline.curate.command import add_curate, add_fetch
from pipeline.features.codes_command import add_extract_codes
from pipeline.media.command import add_mux
from pipeline.output.command import add_publish, add_verify
from pipeline.report.command import add_report
from pipeline.weights.command import add_weights

PACKAGES = ("av", "imageio-ffmpeg", "numpy", "pyarrow", "ray", "torch", "torchvision", "yt-dlp")
"""What results depend on, for `--version`."""
MORE_MEMORY = "end other programs, or use a machine with more memory; the same command goes on"


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit by one of `EXIT_CODES`."""
    print_anything()
    arguments = parser().parse_args(argv)
    with exits(MORE_MEMORY, "interrupted; the same command goes on from here"):
        raise SystemExit(arguments.run(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the command line of `pipeline`."""
    top = argparse.ArgumentParser(
        prog="pipeline",
        description="Turn dance videos into WebDataset shards.",
        epilog=EXIT_CODES,
    )
    add_version(top, PACKAGES, _ffmpeg_version)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_build(commands)
    add_fetch(commands)
    add_curate(commands)
    add_extract_codes(commands)
    add_verify(commands)
    add_publish(commands)
    add_report(commands)
    add_mux(commands)
    add_weights(commands)
    return top


def _ffmpeg_version() -> list[str]:
    from pipeline.media.program import FfmpegError, binary, version

    try:
        program = binary()
    except FfmpegError as error:
        return [f"ffmpeg none to use: {error}"]
    return [f"ffmpeg {version(program)} ({program})"]


def _add_build(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser(
        "build", help="videos to shards; run again to go on or add", epilog=EXIT_CODES
    )
    sub.add_argument("--dataset", required=True, choices=["synthetic", "folder", "aist", "tiktok"])
    sub.add_argument("--source", type=local, help="folder of videos, or one video (folder)")
    sub.add_argument(
        "--curated",
        type=local,
        help="tiktok: folder of the table by pipeline curate (default data/curated/tiktok)",
    )
    sub.add_argument(
        "--published",
        action="store_true",
        help="tiktok: --source holds videos of the paper's list, named by its ids",
    )
    sub.add_argument(
        "--ignore-list",
        type=local,
        nargs="?",
        const=Path(__file__).parents[1] / "manifests" / "aist_ignore_list.txt",
        metavar="FILE",
        help="aist: leave out the dances that AIST++ advises to ignore, or those that FILE names",
    )
    sub.add_argument("--out", type=local_out, help="shard folder (default shards/DATASET)")
    sub.add_argument(
        "--motion",
        default="",
        choices=["smpl", "smpl-joints", "openpose", "mmpose", "none"],
        help="annotations to read, or mmpose: poses from the picture (default: smpl; none for "
        "folder, mmpose for tiktok)",
    )
    sub.add_argument(
        "--pose-weights",
        default="hrnet_w32_wholebody",
        help="for mmpose: hrnet_w32_wholebody (default), hrnet_w32_coco, a file, CONFIG.py:FILE, "
        "or untrained (random, labelled so)",
    )
    sub.add_argument(
        "--detector",
        default="fasterrcnn_mobilenet",
        help="for mmpose, finds the dancers: fasterrcnn_mobilenet (default), fasterrcnn_resnet50, "
        "a file, or untrained",
    )
    sub.add_argument("--smpl-model", type=local, help="your SMPL body model file, for smpl-joints")
    sub.add_argument("--motion-dir", type=local, help="where they lie (default: beside the videos)")
    sub.add_argument("--visual", default="i3d_r50", choices=["i3d_r50", "i3d_inception", "none"])
    sub.add_argument("--visual-windows", type=positive, default=1, help="I3D clips per segment")
    sub.add_argument(
        "--weights",
        default="kinetics",
        help="I3D weights: kinetics, a file (i3d_inception: a folder), or untrained (random, "
        "labelled so)",
    )
    sub.add_argument(
        "--flow",
        default="",
        choices=["raft_large", "raft_small"],
        help="optical flow of i3d_inception (default raft_large)",
    )
    sub.add_argument("--precision", default="float32", choices=["float32", "bf16"])
    sub.add_argument("--codec", default="none", help="also extract codes: demo, jukebox-5b, PATH")
    sub.add_argument("--window-s", default="2", help="segment length, 2 to 20 (default 2)")
    add_audio_track(sub)
    sub.add_argument(
        "--drop-silent", action="store_true", help="leave out segments without sound (-60 dB)"
    )
    sub.add_argument(
        "--no-sound",
        action="store_true",
        help="cut by the picture alone and store no sound: features of videos that get new music",
    )
    sub.add_argument("--limit", type=positive, help="the first N inputs that are there")
    sub.add_argument("--seed", type=natural, default=0, help="seed of the synthetic data set")
    add_engine(sub)
    sub.add_argument("--max-failed", type=share, default=0.2, help="exit 3 above this share")
    add_limit(sub)
    sub.add_argument("--dry-run", action="store_true", help="list the inputs, make nothing")
    sub.set_defaults(run=_build)


def _build(arguments: argparse.Namespace) -> int:
    from pipeline.build import BuildOptions, build
    from pipeline.report.report import printable

    values = {k: v for k, v in vars(arguments).items() if k != "run"}
    values["out"] = arguments.out or Path("shards") / arguments.dataset
    report = build(BuildOptions(**values))
    if arguments.dry_run:
        for row in report.rows:
            words = (row["video_id"], row["path"], row.get("code"))
            print(printable("  ".join(filter(None, words))))
    print(report.table())
    if arguments.dry_run:
        return 0
    files = "report.html, report.json" + ("" if report.stopped else ", dataset.json")
    print(f"written: {values['out']} ({files})")
    if not (report.stopped or sum(report.segments.values())):
        examples = [
            f"{row['video_id']}: {end['code']}: {row['message']}"
            for end in report.ends
            for row in end["examples"]
        ]
        why = printable("; ".join(examples[:3]) or "there was no input")
        print(f"exit 3: no segment was made: {why}; see {values['out']}/report.html",
              file=sys.stderr)  # fmt: skip
        return 3
    return 3 if report.stopped else share_code(report.failed_share, arguments.max_failed)
