"""`pipeline fetch` and `pipeline curate`: links to videos, and compilations to clips."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.arguments import (
    add_audio_track,
    add_engine,
    local,
    natural,
    positive,
    seconds,
    share,
    share_code,
)
from pipeline.curate.detector import DETECTORS


def add_fetch(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline fetch`."""
    sub = commands.add_parser("fetch", help="download a list of videos with yt-dlp")
    sub.add_argument(
        "--links", type=local, required=True, help="CSV of id,url,song,duration,dancers"
    )
    sub.add_argument("--out", type=local, required=True, help="folder for the videos")
    sub.add_argument(
        "--pause-s", type=seconds, default=3.0, help="seconds between links (default 3)"
    )
    sub.add_argument(
        "--rate-bytes-s",
        type=natural,
        default=0,
        help="download at most this many bytes a second (default 0: no limit)",
    )
    sub.add_argument(
        "--max-duration-s",
        type=seconds,
        default=1800.0,
        help="skip videos longer than this many seconds (default 1800)",
    )
    sub.add_argument(
        "--tries",
        type=positive,
        default=5,
        help="give up a link for this run after this many attempts without progress (default 5)",
    )
    sub.add_argument(
        "--dead-too", action="store_true", help="try links again that are recorded as dead"
    )
    sub.add_argument(
        "--max-failed",
        type=share,
        default=1.0,
        help="exit with 3 if a larger share of links is dead (default 1: never)",
    )
    sub.set_defaults(run=_fetch)


def _fetch(arguments: argparse.Namespace) -> int:
    from pipeline.curate.fetch import Fetching, fetch_links

    given = vars(arguments)
    names = [name for name in Fetching.__dataclass_fields__ if name in given]
    fetched = fetch_links(Fetching(**{name: given[name] for name in names}))
    print(fetched.table())
    print(f"written: {arguments.out} (links.json lists the outcome of each link)")
    return share_code(fetched.dead_share, arguments.max_failed)


def add_curate(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline curate`."""
    sub = commands.add_parser("curate", help="cut compilations into clips; keep or reject each")
    sub.add_argument("--dataset", required=True, choices=["tiktok"])
    sub.add_argument("--source", type=local, help="folder of videos")
    sub.add_argument(
        "--out", type=local, help="folder for the table (default data/curated/DATASET)"
    )
    sub.add_argument("--thresholds", type=local, help="YAML file (default: curate/thresholds.yaml)")
    add_audio_track(sub)
    sub.add_argument(
        "--overrides", type=local, help="CSV of id,verdict; verdict: keep, reject or a song"
    )
    sub.add_argument(
        "--detector",
        default="",
        help="network that counts the dancers: fasterrcnn_mobilenet, fasterrcnn_resnet50, a file, "
        "or untrained (default: dancers are not counted)",
    )
    sub.add_argument(
        "--pose-weights",
        default="",
        help="network that estimates their poses: hrnet_w32_wholebody, hrnet_w32_coco, a file, "
        "CONFIG.py:FILE, or untrained (default: boxes only, no poses)",
    )
    sub.add_argument(
        "--shots",
        choices=DETECTORS,
        default="auto",
        help="how shots are found: adaptive (hard cuts) or transnet (fades, too; wants the weights "
        "transnetv2); default auto: transnet if its weights are there",
    )
    add_engine(sub)
    sub.add_argument("--limit", type=positive, help="use only the first N inputs")
    sub.add_argument(
        "--decide-only",
        action="store_true",
        help="apply the thresholds again to the measurements of the last run; read no video",
    )
    sub.add_argument(
        "--max-failed",
        type=share,
        default=0.2,
        help="exit with 3 if a larger share of inputs fails (default 0.2)",
    )
    sub.set_defaults(run=_curate)


def _curate(arguments: argparse.Namespace) -> int:
    from pipeline.curate.run import CurateOptions, curate

    given = vars(arguments)
    values = {key: given[key] for key in CurateOptions.__dataclass_fields__}
    values["out"] = arguments.out or Path("data/curated") / arguments.dataset
    curation = curate(CurateOptions(**values))
    print(curation.table())
    print(f"written: {values['out']} ({arguments.dataset}.parquet, {arguments.dataset}.html)")
    return share_code(curation.report.failed_share, arguments.max_failed)
