"""The `pipeline` command. Heavy imports wait inside the commands: `--help` answers at once."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from model.contract.terminal import add_version, print_anything
from pipeline.arguments import (
    UsageError,
    folder_or_address,
    local,
    natural,
    positive,
    seconds,
    share,
)
from pipeline.build import add_build
from pipeline.engine.time_limit import ITEM_LIMIT_S
from pipeline.features.base import FEATURES
from pipeline.features.motion.base import names as motion_names
from pipeline.features.pose.base import DETECTORS
from pipeline.features.visual.base import EXTRACTORS
from pipeline.sources.base import SOURCES

EXIT_CODES = (
    "exit codes: 0 done; 1 error; 2 wrong usage; 3 finished, but more failed than --max-failed "
    "allows, or nothing was made; 130 interrupted"
)
PACKAGES = ("av", "imageio-ffmpeg", "numpy", "pyarrow", "ray", "torch", "torchvision", "yt-dlp")
"""What results depend on, for `--version`."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit by one of `EXIT_CODES`."""
    print_anything()
    argv = sys.argv[1:] if argv is None else argv
    try:
        arguments = parser(argv).parse_args(argv)
        raise SystemExit(arguments.run(arguments))
    except BrokenPipeError:  # whoever read our output has seen enough, as `… | head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (ValueError, OSError) as error:
        print(f"error: {_words(error)}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, UsageError) else 1) from None
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None


def _words(error: Exception) -> str:
    """Return an error's message; one of the system's own says what to do about its file."""
    if isinstance(error, OSError) and error.errno and error.filename:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room" if full else "check the path, or choose another"
        return f"{error.filename}: {error.strerror}; {advice}"
    return str(error)


def parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the command line of `pipeline`, with the flags of the plugins that `argv` names.

    Raises ValueError where one of these cannot be imported.
    """
    top = argparse.ArgumentParser(
        prog="pipeline",
        description=f"Turn dance videos into WebDataset shards. {_choices()}",
        epilog=EXIT_CODES,
    )
    add_version(top, PACKAGES, _ffmpeg_version)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_build(commands, argv, EXIT_CODES)
    _add_fetch(commands)
    _add_curate(commands)
    _add_extract_codes(commands)
    _add_verify(commands)
    _add_publish(commands)
    _add_report(commands)
    _add_mux(commands)
    _add_weights(commands)
    return top


def _choices() -> str:
    """Return what a build can be told to use, by name, installed plugins included."""
    names = {
        "data sets": SOURCES.names(),
        "features": FEATURES.names(),
        "motion": motion_names(),
        "visual": EXTRACTORS.names(),
        "detectors": DETECTORS.names(),
    }
    return "There are: " + "; ".join(f"{what}: {', '.join(of)}" for what, of in names.items())


def _ffmpeg_version() -> list[str]:
    from pipeline.media.program import FfmpegError, binary, version

    try:
        program = binary()
    except FfmpegError as error:
        return [f"ffmpeg none to use: {error}"]
    return [f"ffmpeg {version(program)} ({program})"]


def _add_audio_track(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--audio-track",
        type=positive,
        default=0,
        metavar="N",
        help="the N-th sound track of each file, from 1 on (default: the one it marks as default)",
    )


def _share_code(share: float, most: float) -> int:
    """Return the exit code for a share of inputs that failed; say so where it is too large."""
    if share <= most:
        return 0
    print(f"exit 3: {share:.1%} failed, more than --max-failed {most:.1%}", file=sys.stderr)
    return 3


def _add_fetch(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("fetch", help="a list of links to videos, by yt-dlp; again to go on")
    sub.add_argument(
        "--links", type=local, required=True, help="CSV of id,url,song,duration,dancers"
    )
    sub.add_argument("--out", type=local, required=True, help="folder of videos, for curate")
    sub.add_argument("--pause-s", type=seconds, default=3.0, help="between two links (default 3)")
    sub.add_argument("--rate-bytes-s", type=natural, default=0, help="most bytes a second (0: any)")
    sub.add_argument("--max-duration-s", type=seconds, default=1800.0, help="default 1800")
    sub.add_argument("--tries", type=positive, default=5, help="of each link, in one run")
    sub.add_argument("--dead-too", action="store_true", help="ask again for links known as dead")
    sub.add_argument("--max-failed", type=share, default=1.0, help="exit 3 above this share dead")
    sub.set_defaults(run=_fetch)


def _fetch(arguments: argparse.Namespace) -> int:
    from pipeline.curate.links import Fetching, fetch_links

    given = vars(arguments)
    names = [name for name in Fetching.__dataclass_fields__ if name in given]
    fetched = fetch_links(Fetching(**{name: given[name] for name in names}))
    print(fetched.table())
    print(f"written: {arguments.out} (links.json says of each link what became of it)")
    return _share_code(fetched.dead_share, arguments.max_failed)


def _add_curate(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("curate", help="compilations to clips: kept or rejected, and why")
    sub.add_argument("--dataset", required=True, choices=["tiktok"])
    sub.add_argument("--source", type=local, help="folder of videos")
    sub.add_argument(
        "--out", type=local, help="where the table goes (default data/curated/DATASET)"
    )
    sub.add_argument("--thresholds", type=local, help="YAML (default: curate/thresholds.yaml)")
    _add_audio_track(sub)
    sub.add_argument("--overrides", type=local, help="CSV of id,verdict: keep, reject or a song")
    sub.add_argument(
        "--detector",
        default="",
        help="count dancers by it: fasterrcnn_mobilenet, fasterrcnn_resnet50, a file, or untrained "
        "(default: nobody counts)",
    )
    sub.add_argument(
        "--pose-weights",
        default="",
        help="pose them too: hrnet_w32_wholebody, hrnet_w32_coco, a file, CONFIG.py:FILE, or "
        "untrained (default: boxes alone)",
    )
    _add_engine(sub)
    sub.add_argument("--limit", type=positive, help="the first N inputs only")
    sub.add_argument("--decide-only", action="store_true", help="apply thresholds, read no video")
    sub.add_argument("--max-failed", type=share, default=0.2, help="exit 3 above this share")
    sub.set_defaults(run=_curate)


def _curate(arguments: argparse.Namespace) -> int:
    from pipeline.curate.run import CurateOptions, curate

    given = vars(arguments)
    values = {key: given[key] for key in CurateOptions.__dataclass_fields__}
    values["out"] = arguments.out or Path("data/curated") / arguments.dataset
    curation = curate(CurateOptions(**values))
    print(curation.table())
    print(f"written: {values['out']} ({arguments.dataset}.parquet, {arguments.dataset}.html)")
    return _share_code(curation.report.failed_share, arguments.max_failed)


def _add_limit(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--item-limit-s",
        type=seconds,
        default=ITEM_LIMIT_S,
        help="seconds one stage may work on one video (default 3600), 0 for no limit",
    )


def _add_extract_codes(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("extract-codes", help="JukeBox codes of every segment")
    _add_shards(sub)
    sub.add_argument("--codec", default="jukebox-5b", help="jukebox-5b (default), demo or PATH")
    sub.add_argument("--levels", nargs="+", default=["high", "low"], choices=["high", "low"])
    _add_limit(sub)
    _add_engine(sub)
    sub.set_defaults(run=_extract_codes)


def _extract_codes(arguments: argparse.Namespace) -> int:
    from model.contract.dataset import load_dataset
    from pipeline.build import locked
    from pipeline.engine.ray import make_engine
    from pipeline.features.codes import extract_codes

    if arguments.codec == "none":
        raise UsageError("--codec none: no codes to extract; name jukebox-5b, demo or a file")
    root = _shards(arguments.shards)
    load_dataset(root)
    with locked(root):
        engine = make_engine(arguments.engine, arguments.address)
        try:
            codec_id = extract_codes(
                root, arguments.codec, arguments.levels, engine, arguments.item_limit_s
            )
        finally:
            engine.close()
    codes = load_dataset(root).codecs[codec_id]
    count = sum(shard.segments for shards in codes.splits.values() for shard in shards)
    print(f"codes of {count} segments, levels {' '.join(codes.levels)}: {root}/codes/{codec_id}")
    if codes.note:
        print(f"NOTE {codes.note}")
    return 0


def _add_verify(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("verify", help="re-read every shard against dataset.json")
    sub.add_argument(
        "--shards",
        type=folder_or_address,
        help="shard folder, or an address like s3://bucket/aist (default: the one in shards/)",
    )
    sub.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    from pipeline.output.verify import verify

    for line in verify(_shards(arguments.shards)):
        print(line)
    print("all whole")
    return 0


def _add_publish(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser(
        "publish", help="copy a data set to s3://… or the like; again to go on"
    )
    _add_shards(sub)
    sub.add_argument("--to", required=True, metavar="URL", help="a folder's address, by fsspec")
    sub.set_defaults(run=_publish)


def _publish(arguments: argparse.Namespace) -> int:
    from pipeline.output.publish import publish

    for line in publish(_shards(arguments.shards), arguments.to).lines():
        print(line)
    print(f"published: {arguments.to}")
    return 0


def _add_report(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("report", help="what became of every input")
    _add_shards(sub)
    sub.add_argument("--json", action="store_true", help="for machines: report.json on stdout")
    sub.add_argument("--html", action="store_true", help="write report.html again")
    sub.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    from pipeline.report.report import Report

    root = _shards(arguments.shards, "report.json")
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


def _add_mux(commands: argparse._SubParsersAction) -> None:
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


def _add_weights(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("weights", help="published weights: list, fetch, verify")
    sub.set_defaults(run=_weights_list)
    actions = sub.add_subparsers(title="actions", metavar="ACTION")
    actions.add_parser("list", help="names, sizes, hashes, licences (default)")
    fetch = actions.add_parser("fetch", help="download files; again to go on after a break")
    fetch.add_argument("names", nargs="+", metavar="NAME")
    fetch.add_argument("--url", default="", help="another address of the same file")
    fetch.set_defaults(run=_weights_fetch)
    check = actions.add_parser("verify", help="check the hashes of the files that are there")
    check.add_argument("name", nargs="?", default="", metavar="NAME")
    check.set_defaults(run=_weights_verify)


def _weights_list(arguments: argparse.Namespace) -> int:
    from pipeline.weights.table import listing

    for line in listing():
        print(line)
    return 0


def _weights_fetch(arguments: argparse.Namespace) -> int:
    from pipeline.weights.table import fetch, lookup

    weights = [lookup(name) for name in arguments.names]
    if arguments.url and len(weights) > 1:
        raise UsageError(f"--url {arguments.url}: is the address of one file, {len(weights)} named")
    for weight in weights:
        fetch(weight, arguments.url)
    return 0


def _weights_verify(arguments: argparse.Namespace) -> int:
    from pipeline.weights.table import verify

    lines, right = verify(arguments.name)
    for line in lines:
        print(line)
    return 0 if right else 1


def _add_engine(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--engine", default="ray", choices=["ray", "local"])
    sub.add_argument("--address", help="a running Ray cluster: auto or ray://HOST:PORT")


def _add_shards(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--shards", type=local, help="shard folder (default: the one in shards/)")


def _shards(given: Path | str | None, file: str = "dataset.json") -> Path | str:
    """Return the shard folder (or address) asked for, or the only folder that has the file."""
    if isinstance(given, Path) and given.is_file():
        raise UsageError(f"--shards {given}: a file; name its folder: --shards {given.parent}")
    if given is not None:
        return given
    folders = (path.parent for path in Path("shards").glob(f"*/{file}"))
    found = sorted(folder for folder in folders if not folder.name.startswith("."))
    if len(found) == 1:
        return found[0]
    names = ", ".join(map(str, found)) or "none in shards/; run pipeline build first"
    raise ValueError(f"which shards? name one with --shards DIR ({names})")
