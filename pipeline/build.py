"""`pipeline build`: from a folder of videos to shards; every input gets an outcome.

For users of Python:

    from pipeline.build import BuildOptions, build
    from pipeline.features.motion.base import Motion
    from pipeline.features.visual.base import Visual
    from pipeline.sources.folder import Folder

    features = [Motion("none"), Visual("i3d_r50", windows=2)]
    report = build(BuildOptions(Folder("videos"), "shards/mine", features))

Heavy imports are inside functions, because `--help` of the command imports this file.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import Field, dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.contract.kinds import CODECS
from model.contract.options import add_flags, chosen, option
from model.contract.segment import WINDOW_MAX_S, WINDOW_MIN_S
from pipeline.arguments import (
    ENGINE_HELP,
    ENGINES,
    EXIT_CODES,
    UsageError,
    local_out,
    positive,
    seconds,
    share,
    share_code,
)
from pipeline.engine.base import Engine
from pipeline.engine.choice import check_engine, make_engine
from pipeline.engine.time_limit import ITEM_LIMIT_S
from pipeline.features.base import FEATURES, Feature, feature_class
from pipeline.features.motion.base import Motion
from pipeline.features.precision import node_check, with_precision
from pipeline.features.visual.base import Visual
from pipeline.output.folder import changes, dataset_before, keep_codes, locked
from pipeline.sources import manifest
from pipeline.sources.base import SOURCES, Source, source_class, source_of
from pipeline.sources.listing import Listing

if TYPE_CHECKING:
    from model.contract.dataset import Dataset
    from pipeline.features.plan import Settings
    from pipeline.report.report import Report
    from pipeline.report.rows import ReportRow


@dataclass(frozen=True)
class BuildOptions:
    """What to build: a source of inputs, the features of their segments, and settings.

    If `features` is not given, they are those of the command: the source's usual motion, and
    i3d_r50. A built-in feature (motion, visual) that is not in the list is not made. Features are
    sorted into the order of work. Raises ValueError if a feature is given several times, or if two
    features have different values for the same flag.
    """

    source: Source
    out: Path = option(None, "shard folder (default shards/DATASET)", type=local_out)
    features: Sequence[Feature] = (Motion(), Visual())
    codec: str = option("none", lambda: f"also extract codes: {', '.join(CODECS.names())} or PATH")
    window_s: str = option(
        "",
        "length of a segment in seconds, 2 to 20 (default 2; 5.12 for wild and for --split "
        "textual-inversion)",
    )
    audio_track: int = option(
        0,
        "the N-th sound track of each file, from 1 (default: the one it marks as default)",
        type=positive,
        metavar="N",
    )
    drop_silent: bool = option(
        False, "leave out segments without sound (-60 dB)", action="store_true"
    )
    no_sound: bool = option(
        False,
        "cut by the picture alone and store no sound, for videos that get new music",
        action="store_true",
    )
    limit: int | None = option(None, "only the first N inputs that exist", type=positive)
    engine: str = option("auto", ENGINE_HELP, choices=ENGINES)
    address: str | None = option(None, "a running Ray cluster: auto or ray://HOST:PORT")
    max_failed: float = option(
        0.2, "exit with 3 if a larger share of inputs fails (default 0.2)", type=share
    )
    item_limit_s: float = option(
        ITEM_LIMIT_S,
        "seconds that one stage may work on one video (default 3600), 0 for no limit",
        type=seconds,
    )
    fetch_weights: bool = option(
        False,
        "first fetch the published weights of pose networks that are not there yet",
        action="store_true",
    )
    no_page: bool = option(False, "write no page report.html", action="store_true")
    dry_run: bool = option(False, "list the inputs, but make nothing", action="store_true")

    def __post_init__(self) -> None:
        from pipeline.features.plan import arranged

        out = Path(self.out or Path("shards") / self.source.name)
        object.__setattr__(self, "out", out)
        object.__setattr__(self, "window_s", self.window_s or self.source.usual_window_s)
        object.__setattr__(self, "features", arranged(self.features, self.source))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> BuildOptions:
        """Return the options that the command makes from `values`, whose keys are flag names.

        `dataset` names the source, `feature` lists features of other packages. Missing values have
        the command's defaults. Raises UsageError for contradictory values.
        """
        names = dict.fromkeys([*FEATURES.own, *(values.get("feature") or ())])
        kinds = [feature_class(name) for name in names]
        features = [kind(**chosen(kind, values)) for kind in kinds]
        source = source_of(values["dataset"], values)
        return cls(source=source, features=features, **chosen(cls, values))


def add_build(commands: _SubParsersAction[ArgumentParser], argv: Sequence[str]) -> None:
    """Add the command, with all built-in flags and those of the plugins named in `argv`.

    Raises ValueError if a named plugin cannot be imported, or declares a flag that exists already.
    """
    sub = commands.add_parser(
        "build",
        help="turn videos into shards; run again to continue or to add features",
        epilog=EXIT_CODES,
    )
    others = [name for name in FEATURES.names() if name not in FEATURES.own]
    sub.add_argument(
        "--dataset", required=True, type=SOURCES.choice(), help=", ".join(SOURCES.names())
    )
    sub.add_argument(
        "--feature",
        action="append",
        default=[],
        type=FEATURES.choice(),
        metavar="NAME",
        help="a feature of another package; its options are then listed here too; may be given "
        f"several times (installed: {', '.join(others) or 'none'})",
    )
    named = _named(argv)
    plugins: list[type] = [source_class(n) for n in SOURCES.names() if n == named.dataset]
    plugins += [feature_class(n) for n in others if n in named.feature]
    taken: dict[str, Field[Any]] = {}
    own = (*map(source_class, SOURCES.own), *map(feature_class, FEATURES.own), BuildOptions)
    for kind in (*own, *plugins):
        add_flags(sub, kind, taken)
    sub.set_defaults(run=run)


def _named(argv: Sequence[str]) -> Namespace:
    """Return the data set and features that a command line names, before its flags are known."""
    first = ArgumentParser("pipeline build", add_help=False)
    first.add_argument("--dataset", default="")
    first.add_argument("--feature", action="append", default=[])
    return first.parse_known_args(argv)[0] if argv[:1] == ["build"] else first.parse_args([])


def run(arguments: Namespace) -> int:
    """Build as the command line says, print the outcomes, and return the exit code."""
    from pipeline.report.report import printable

    options = BuildOptions.of(vars(arguments))
    report = build(options)
    if options.dry_run:
        for row in report.rows:
            cells = (row["video_id"], row["path"], row.get("code"))
            print(printable("  ".join(filter(None, cells))))
    print(report.table())
    if options.dry_run:
        return 0
    page = [] if options.no_page else ["report.html"]
    files = [*page, "report.json", *([] if report.stopped else ["dataset.json"])]
    print(f"written: {options.out} ({', '.join(files)})")
    if not (report.stopped or sum(report.segments.values())):
        ended = ((group["code"], row) for group in report.ends for row in group["examples"])
        examples = [f"{row['video_id']}: {code}: {row['message']}" for code, row in ended]
        why = printable("; ".join(examples[:3]) or "there was no input")
        print(f"exit 3: no segment was made: {why}; see {options.out}/{files[0]}", file=sys.stderr)
        return 3
    return 3 if report.stopped else share_code(report.failed_share, options.max_failed)


def build(options: BuildOptions) -> Report:
    """Build the data set and return its report.

    Raises UsageError for contradictory options. Then raises ValueError or FileNotFoundError, before
    any work starts, for everything else that the user must change: first the inputs, then the
    models.
    """
    from pipeline.report.report import Report

    check_usage(options)
    for feature in options.features:
        for line in feature.choices():
            print(line)
    listing = list_inputs(options)
    if listing.note:
        print(listing.note)
    if options.dry_run:
        rows = list(listing.rows)
        if not options.source.MADE:
            rows = [manifest.find(listing.root, row) for row in rows]
        outcomes = [manifest.ended_early(row) for row in rows]
        return Report.of(outcomes, rows, others=listing.others, notes=listing.notes)
    if options.fetch_weights:
        from pipeline.weights.fetch import fetch_missing

        fetch_missing([name for each in options.features for name in each.published_weights()])
    settings = make_settings(options, listing, ready(options))
    started = time.monotonic()
    check = node_check(options.features, settings.features)
    with closing(make_engine(options.engine, options.address, check)) as engine:
        options.source.make(options.limit, engine)
        with locked(options.out):
            return _build(options, settings, listing, engine, started)


def _build(
    options: BuildOptions,
    settings: Settings,
    listing: Listing,
    engine: Engine,
    started: float,
) -> Report:
    from model.contract.dataset import save_dataset
    from pipeline.features.plan import describe
    from pipeline.features.run import extract
    from pipeline.output.assemble import ResultsGone, write_shards
    from pipeline.output.finished import FILE as FINISHED
    from pipeline.output.finished import finished_rows, note_finished
    from pipeline.report.html import save_report
    from pipeline.report.report import Report
    from pipeline.report.rows import ROWS_FILE, BuiltRows
    from pipeline.sources.hashing import hash_inputs

    before = dataset_before(options.out, options.source.name, str(listing.root.resolve()))
    for name in ("report.json", "report.html"):
        (options.out / name).unlink(missing_ok=True)
    rows = hash_inputs(listing.root, listing.motion_root, listing.rows)
    rows.save(options.out / "manifest.parquet")
    planned = describe(options.source, settings, {})
    if before is not None:
        for line in changes(before, planned):
            print(line)

    def report(
        dataset: Dataset | None, stopped: str = "", rows: Sequence[ReportRow] = ()
    ) -> Report:
        seconds = time.monotonic() - started
        facts = (seconds, stopped, engine.times, listing.others, listing.notes)
        made = Report.of_rows(rows, dataset, *facts)
        return save_report(options.out, made, with_page=not options.no_page)

    found = before and finished_rows(options.out, settings, before, planned)
    if before is not None and found:
        print(f"{len(rows)} of {len(rows)} inputs are already done")
        return _with_codes(partial(report, rows=found), before, options, engine)
    for old in (options.out / ROWS_FILE, options.out / FINISHED):
        old.unlink(missing_ok=True)
    for last_try in (False, True):
        outcomes = extract(settings, rows, engine, options.max_failed)
        if left := outcomes.left:
            message = (
                f"more than {options.max_failed:.0%} of the inputs failed (--max-failed); {left} "
                "were left unprocessed, and no shard was written: look at the failures, then run "
                "again"
            )
            return report(None, message, BuiltRows(rows, outcomes, "left"))
        try:
            shards = write_shards(settings, rows, outcomes, options.out, engine)
            break
        except ResultsGone as gone:  # missing or damaged on the disk: computed again, once
            if last_try:
                raise
            print(gone)
    dataset = describe(options.source, settings, shards)
    if before is not None:
        keep_codes(options.out, before, dataset)
    save_dataset(options.out, dataset)
    ended = BuiltRows(rows, outcomes, "listed")
    made = _with_codes(partial(report, rows=ended), dataset, options, engine)
    note_finished(options.out, settings, planned, made)
    return made


def _with_codes(
    report: Callable[[Dataset], Report], dataset: Dataset, options: BuildOptions, engine: Engine
) -> Report:
    """Write the report, then extract the codes that the options name, and write it again."""
    done = report(dataset)
    if options.codec == "none":
        return done

    from model.contract.dataset import load_dataset
    from pipeline.features.codes import extract_codes

    extract_codes(options.out, options.codec, engine=engine, limit_s=options.item_limit_s)
    return report(load_dataset(options.out))


def check_usage(options: BuildOptions) -> None:
    """Raise UsageError for contradictory options, before any data is read."""
    options.source.check()
    read = [feature.name for feature in options.features if feature.on and not feature.annotations]
    if read and not options.source.pictures:
        raise UsageError(
            f"--no-video draws no pictures, but the pictures are read for {', '.join(read)}: use "
            "--visual none, and motion from annotations"
        )
    try:
        window_s = Fraction(options.window_s)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--window-s {options.window_s}: not a number of seconds") from None
    if not WINDOW_MIN_S <= window_s <= WINDOW_MAX_S:
        raise UsageError(
            f"--window-s {options.window_s}: a window has {WINDOW_MIN_S} to {WINDOW_MAX_S} s"
        )
    options.source.check_window(window_s)
    wants_sound = {
        "--codec": options.codec != "none",
        "--audio-track": options.audio_track,
        "--drop-silent": options.drop_silent,
    }
    if options.no_sound and any(wants_sound.values()):
        named = ", ".join(name for name, wanted in wants_sound.items() if wanted)
        raise UsageError(f"--no-sound reads no sound, which {named} needs; leave one of them out")
    check_engine(options.engine, options.address)


def ready(options: BuildOptions) -> tuple[Feature, ...]:
    """Check all models of a build; return its features, with precision and ids of weights set.

    Raises ValueError or FileNotFoundError, with advice, for unusable models.
    """
    window_s = Fraction(options.window_s)
    settled = with_precision(options.features, options.out)
    features = [feature.ready(window_s) for feature in reversed(settled)]
    if options.codec != "none":
        from model.codecs.base import load_codec

        load_codec(options.codec)
    return tuple(reversed(features))


def list_inputs(options: BuildOptions) -> Listing:
    """List the inputs of a build. Videos that the source makes itself may be missing.

    Raises FileNotFoundError, ValueError or OSError for inputs that are missing or cannot be listed.
    The message says which files to put where.
    """
    folder = next((f.annotations_dir for f in options.features if f.annotations_dir), None)
    if folder and not folder.is_dir():
        raise FileNotFoundError(f"--motion-dir {folder}: no such folder")
    files = next((f.annotations for f in options.features if f.on and f.annotations), None)
    listing = options.source.list(files, folder, options.limit)
    rows = listing.rows
    if options.limit is not None and not options.source.MADE:
        # an official list may name many more videos than the folder contains
        there = (r for r in rows if manifest.find(listing.root, r).known_code != "missing_file")
        rows = list(islice(there, options.limit))
    return replace(listing, motion_root=folder or listing.motion_root, rows=rows)


def make_settings(
    options: BuildOptions, listing: Listing, features: tuple[Feature, ...]
) -> Settings:
    """Return the settings for every video; `features` must be the result of `ready`."""
    from pipeline.features.plan import Settings

    return Settings(
        root=listing.root.resolve(),
        motion_root=listing.motion_root.resolve(),
        work=(options.out / ".work").resolve(),
        features=features,
        window_s=str(Fraction(options.window_s)),
        no_sound=options.no_sound,
        audio_track=options.audio_track,
        drop_silent=options.drop_silent,
        item_limit_s=options.item_limit_s,
    )
