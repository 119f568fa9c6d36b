"""`pipeline build`: from a folder of videos to shards, every input accounted for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.contract.dataset import Dataset, Shard, load_dataset, save_dataset
from model.contract.segment import MOTION, VISUAL, WAV, WINDOW_MAX_S, WINDOW_MIN_S, window_samples
from pipeline.arguments import UsageError
from pipeline.engine.base import LocalEngine
from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.progress import progress
from pipeline.engine.ray import RayEngine, check_engine, make_engine
from pipeline.engine.time_limit import ITEM_LIMIT_S
from pipeline.features.extract import Extract
from pipeline.features.plan import Settings, Work, settings_record
from pipeline.features.visual.stage import Visual
from pipeline.output.assemble import write_shards
from pipeline.output.folder import changes, dataset_before, keep_codes, locked
from pipeline.report.report import Report
from pipeline.sources import manifest
from pipeline.sources.listing import Listing
from pipeline.sources.manifest import Row

if TYPE_CHECKING:
    from pipeline.features.visual.base import Extractor


STOP_AFTER = 50
"""A build stops early, for too many failures, only after so many inputs: fewer say little."""


@dataclass(frozen=True)
class BuildOptions:
    """What the command line says; the defaults are the command's."""

    dataset: str
    out: Path
    source: Path | None = None
    curated: Path | None = None
    published: bool = False
    ignore_list: Path | None = None
    motion: str = ""
    motion_dir: Path | None = None
    smpl_model: Path | None = None
    pose_weights: str = "hrnet_w32_wholebody"
    detector: str = "fasterrcnn_mobilenet"
    visual: str = "i3d_r50"
    visual_windows: int = 1
    weights: str = "kinetics"
    flow: str = ""
    precision: str = "float32"
    codec: str = "none"
    window_s: str = "2"
    no_sound: bool = False
    audio_track: int = 0
    drop_silent: bool = False
    limit: int | None = None
    seed: int = 0
    engine: str = "ray"
    address: str | None = None
    max_failed: float = 0.2
    item_limit_s: float = ITEM_LIMIT_S
    dry_run: bool = False


def build(options: BuildOptions) -> Report:
    """Build the data set and return its report.

    Raises UsageError for contradictory options, then ValueError or FileNotFoundError for
    what else the user must change before any work starts: the inputs first, then the models.
    """
    check_usage(options)
    listing = list_inputs(options, engine=None)
    if options.dry_run:
        _tell(listing)
        rows = listing.rows
        if options.dataset != "synthetic":
            rows = [manifest.find(listing.root, row) for row in rows]
        ends = {row.video_id: manifest.ended_early(row) for row in rows}
        made = Report.of(ends, rows, others=listing.others)
        return replace(made, notes=list(listing.notes))
    check_models(options)
    started = time.monotonic()
    with _engine(options) as engine:
        if options.dataset == "synthetic":
            listing = list_inputs(options, engine)
        _tell(listing)
        with locked(options.out):
            return _build(options, listing, engine, started)


def _build(
    options: BuildOptions, listing: Listing, engine: LocalEngine | RayEngine, started: float
) -> Report:
    before = dataset_before(options.out, options.dataset, str(listing.root.resolve()))
    for name in ("report.json", "report.html"):
        (options.out / name).unlink(missing_ok=True)
    rows = manifest.hash_inputs(listing.root, listing.motion_root, listing.rows)
    manifest.save(options.out / "manifest.parquet", rows)
    settings = make_settings(options, listing)
    if before is not None:
        for line in changes(before, describe(options, settings, listing, {})):
            print(line)
    outcomes = extract(settings, rows, engine, options.max_failed)

    def report(dataset: Dataset | None, stopped: str = "") -> Report:
        seconds = time.monotonic() - started
        made = Report.of(outcomes, rows, dataset, seconds, stopped, engine.times, listing.others)
        return _saved(replace(made, notes=list(listing.notes)), options.out)

    if left := sum(outcome is None for outcome in outcomes.values()):
        words = (
            f"more than {options.max_failed:.0%} of the inputs failed (--max-failed); "
            f"{left} were left, no shard was written: look at the failures, then run again"
        )
        return report(None, words)
    shards = write_shards(settings, rows, outcomes, options.out, engine)
    dataset = describe(options, settings, listing, shards)
    if before is not None:
        keep_codes(options.out, before, dataset)
    save_dataset(options.out, dataset)
    done = report(dataset)
    if options.codec == "none":
        return done

    from pipeline.features.codes import extract_codes

    extract_codes(options.out, options.codec, engine=engine, limit_s=options.item_limit_s)
    return report(load_dataset(options.out))


def _saved(report: Report, out: Path) -> Report:
    """Write the report and its page, and return it."""
    from pipeline.report.html import save_page

    report.save(out)
    save_page(out, report)
    return report


def _tell(listing: Listing) -> None:
    if listing.note:
        print(listing.note)


def check_usage(options: BuildOptions) -> None:
    """Raise UsageError for contradictory options; raised before any data is read."""
    if options.dataset == "folder" and options.source is None:
        raise UsageError("--dataset folder needs --source DIR (a folder of videos, or one video)")
    if options.dataset != "tiktok" and (options.curated or options.published):
        raise UsageError("--curated and --published go with --dataset tiktok")
    if options.dataset != "aist" and options.ignore_list:
        raise UsageError("--ignore-list goes with --dataset aist")
    if options.dataset == "synthetic" and options.motion_dir:
        raise UsageError("--motion-dir does not go with the synthetic data set, which has its own")
    try:
        window_s = Fraction(options.window_s)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--window-s {options.window_s}: not a number of seconds") from None
    if not WINDOW_MIN_S <= window_s <= WINDOW_MAX_S:
        raise UsageError(
            f"--window-s {options.window_s}: a window has {WINDOW_MIN_S} to {WINDOW_MAX_S} s"
        )
    wants_sound = {
        "--codec": options.codec != "none",
        "--audio-track": options.audio_track,
        "--drop-silent": options.drop_silent,
    }
    if options.no_sound and any(wants_sound.values()):
        named = ", ".join(name for name, wanted in wants_sound.items() if wanted)
        raise UsageError(f"--no-sound reads no sound, which {named} needs; leave one of them out")
    check_engine(options.engine, options.address)


def check_models(options: BuildOptions) -> None:
    """Raise ValueError or FileNotFoundError, saying what to do, for models that are no use."""
    if options.flow and options.visual not in ("i3d_inception", "none"):
        raise ValueError(f"--flow {options.flow} goes with --visual i3d_inception")
    if options.visual != "none":
        extractor_of(options).check(Fraction(options.window_s), options.visual_windows)
    if motion_kind(options) == "smpl-joints":
        from pipeline.features.motion.smpl_model import check_body_model

        check_body_model(options.smpl_model)
    elif options.smpl_model and motion_kind(options) != "none":
        raise ValueError(f"--smpl-model {options.smpl_model} goes with --motion smpl-joints")
    if motion_kind(options) == "mmpose":
        from pipeline.features.pose import detector_torchvision as detect
        from pipeline.features.pose import estimator_mmpose as pose

        try:
            pose.check_weights(options.pose_weights)
            detect.check_weights(options.detector)
        except (ValueError, FileNotFoundError) as error:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"{error}; or --motion openpose (poses as JSON), or --motion none") from None
    if options.codec != "none":
        from model.codecs.jukebox.codec import find_weights

        find_weights(options.codec)


def list_inputs(options: BuildOptions, engine: LocalEngine | RayEngine | None) -> Listing:
    """List the inputs of a data set; the synthetic one is first made, where an engine is given.

    Raises FileNotFoundError, ValueError or OSError, saying what to put where, for inputs that are
    not there or cannot be listed.
    """
    from pipeline.sources import aist, folder, tiktok

    motion, source = motion_kind(options), options.source
    if options.motion_dir and not options.motion_dir.is_dir():
        raise FileNotFoundError(f"--motion-dir {options.motion_dir}: no such folder")
    if options.dataset == "folder":
        listing = folder.list_folder(source, motion, options.motion_dir)
    elif options.dataset == "aist":
        split = aist.official_split("aist")
        listing = aist.list_aist(
            source or Path("data/aist"), split, motion, options.motion_dir, options.ignore_list
        )
    elif options.dataset == "tiktok":
        listing = tiktok.list_tiktok(
            source, options.curated, options.published, motion, options.motion_dir
        )
    else:
        from pipeline.sources.synthetic.make import make

        source = source or Path("data/synthetic")
        specs = make(source, options.limit, options.seed, engine)
        rows = [aist.row(s.video_id, f"{s.video_id}.mp4", s.split, motion) for s in specs]
        return Listing(source / "videos", source / "motions", rows)
    rows = listing.rows
    if options.limit is not None:  # an official list names far more than a folder may hold
        there = (r for r in rows if manifest.find(listing.root, r).known_code != "missing_file")
        rows = list(islice(there, options.limit))
    return replace(listing, motion_root=options.motion_dir or listing.motion_root, rows=rows)


def motion_kind(options: BuildOptions) -> str:
    """Return the kind of motion: as asked, else what the data set comes with."""
    return options.motion or {"folder": "none", "tiktok": "mmpose"}.get(options.dataset, "smpl")


def extractor_of(options: BuildOptions) -> Extractor:
    """Return the visual extractor that the options name, its weights not yet loaded."""
    from pipeline.features.visual.base import make_extractor

    return make_extractor(options.visual, options.weights, options.flow, options.precision)


def make_settings(options: BuildOptions, listing: Listing) -> Settings:
    """Return what the build does to every video, its models named by their hashes.

    Raises FileNotFoundError or ValueError where a model's file is not there or no use.
    """
    from pipeline.features.visual.base import FLOW

    return Settings(
        root=listing.root.resolve(),
        motion_root=listing.motion_root.resolve(),
        work=(options.out / ".work").resolve(),
        window_s=str(Fraction(options.window_s)),
        motion=motion_kind(options),
        visual=options.visual,
        visual_windows=options.visual_windows,
        weights=options.weights,
        weights_id=extractor_of(options).weights_id() if options.visual != "none" else "",
        flow=(options.flow or FLOW) if options.visual == "i3d_inception" else "",
        precision=options.precision,
        no_sound=options.no_sound,
        audio_track=options.audio_track,
        drop_silent=options.drop_silent,
        item_limit_s=options.item_limit_s,
        **body_model(options),
        **pose_models(options),
    )


def body_model(options: BuildOptions) -> dict[str, str]:
    """Return the settings that name the body model, none where no joints are asked for.

    Raises OSError where its file cannot be read.
    """
    if motion_kind(options) != "smpl-joints":
        return {}
    from pipeline.features.motion.smpl_model import body_model_id

    path = options.smpl_model.resolve()
    return {"smpl_model": str(path), "smpl_model_id": body_model_id(path)}


def pose_models(options: BuildOptions) -> dict[str, str]:
    """Return the settings that name the networks of the pose stage, none without it."""
    if motion_kind(options) != "mmpose":
        return {}
    from pipeline.features.pose import detector_torchvision as detect
    from pipeline.features.pose import estimator_mmpose as pose

    return {
        "pose_weights": options.pose_weights,
        "pose_id": pose.weights_id(options.pose_weights),
        "detector": options.detector,
        "detector_id": detect.weights_id(options.detector),
    }


def extract(
    settings: Settings, rows: Sequence[Row], engine: LocalEngine | RayEngine, max_failed: float
) -> dict[str, Outcome | None]:
    """Bring every row to its end: from the ledger where it is there, else by working on it.

    Stops, leaving None for rows not reached, once more inputs have failed than `max_failed` of
    those that there is work for: whatever the others did, it would be too many. Raises OSError
    where results cannot be written.
    """
    early = {row.video_id: manifest.ended_early(row) for row in rows}
    outcomes = {row.video_id: early[row.video_id] or stored_outcome(settings, row) for row in rows}
    todo = [Work(row) for row in rows if outcomes[row.video_id] is None]
    kept = len(rows) - len(todo) - sum(outcome is not None for outcome in early.values())
    if kept:
        print(f"{kept} of {len(rows)} inputs are done already")
    worked = [outcomes[row.video_id] for row in rows if early[row.video_id] is None]
    seen = sum(outcome is not None for outcome in worked)
    failed = sum(outcome is not None and outcome.status == "failed" for outcome in worked)
    if todo:
        stages: list[Any] = [Extract(settings)]
        if settings.motion == "mmpose":
            from pipeline.features.pose.stage import Pose

            stages.append(Pose(settings))
        if settings.visual != "none":
            stages.append(Visual(settings, settings.extractor().VIDEOS))
        with closing(engine.run(stages, todo, _lost)) as done:
            for work in progress(done, "extract", len(todo), "video"):
                outcome = work.outcome or _found_outcome(settings, work.row)
                if outcome.code == "no_room":
                    raise OSError(
                        f"{work.row.path}: {outcome.message}; make room where --out lies and run "
                        "the same command again"
                    )
                outcomes[work.row.video_id] = outcome
                seen += 1
                failed += outcome.status == "failed"
                if seen >= STOP_AFTER and failed > max_failed * len(worked):
                    break
    return outcomes


def stored_outcome(settings: Settings, row: Row) -> Outcome | None:
    """Return what the ledger says of a row; a ledger that cannot be read is a failure of it."""
    return attempt("ledger", lambda: settings.outcome(row))


def _found_outcome(settings: Settings, row: Row) -> Outcome:
    words = f"{row.path}: its result is not there; --out must be on storage that all nodes share"
    return stored_outcome(settings, row) or Outcome("failed", "ledger", "io", words)


def describe(
    options: BuildOptions,
    settings: Settings,
    listing: Listing,
    shards: dict[str, list[Shard]],
) -> Dataset:
    """Return dataset.json's content, without codes."""
    from pipeline.features.motion import openpose, smpl_joints
    from pipeline.features.motion import smpl_rotations as smpl

    window_s = Fraction(settings.window_s)
    fields: dict[str, dict[str, Any]] = {}
    if not settings.no_sound:
        shape = [window_samples(settings.window_s)]
        fields[WAV] = {"dtype": "int16", "shape": shape, "rate_hz": 22050}
    if settings.visual != "none":
        fields[VISUAL] = {
            "dtype": "float32",
            "shape": [settings.visual_windows, settings.extractor().DIM],
            "extractor": settings.visual,
            "weights": settings.weights_id,
            "precision": settings.precision,
        }
        if settings.flow:
            fields[VISUAL]["flow"] = settings.flow
    if settings.motion != "none":
        kind = {"smpl": smpl, "smpl-joints": smpl_joints}.get(settings.motion, openpose)
        fields[MOTION] = {
            "dtype": "float32",
            "shape": [round(kind.FPS * window_s), kind.DIM],
            "kind": settings.motion,
            "fps": kind.FPS,
        }
        if settings.pose_id:
            made_by = {"weights": settings.pose_id, "detector": settings.detector_id}
            fields[MOTION] |= {"layout": "BODY_25", "precision": settings.precision} | made_by
        if settings.smpl_model_id:
            fields[MOTION]["model_sha256"] = settings.smpl_model_id
    dataset = Dataset(
        name=options.dataset,
        window_s=settings.window_s,
        fields=fields,
        build=settings_record(settings),
        splits=shards,
        source=str(settings.root),
        untrained=settings.untrained(),
    )
    return dataset


@contextmanager
def _engine(options: BuildOptions) -> Iterator[LocalEngine | RayEngine]:
    engine = make_engine(options.engine, options.address)
    try:
        yield engine
    finally:
        engine.close()


def _lost(work: Work, stage: str, code: str, words: str) -> Work:
    return Work(work.row, outcome=Outcome("failed", stage, code, words))
