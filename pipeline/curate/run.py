"""`pipeline curate`: measure every video durably, then decide on all clips at once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from pipeline import manifest
from pipeline.build import locked
from pipeline.curate.decide import REASONS, Verdict, decide, read_overrides
from pipeline.curate.duplicates import distance
from pipeline.curate.measure import NAME, Measure, Work
from pipeline.curate.page import save_page
from pipeline.curate.scores import Clip, Likeness, Material
from pipeline.curate.settings import DEFAULT, Settings, load_settings
from pipeline.curate.songs import compare
from pipeline.curate.table import save_table
from pipeline.engine import LocalEngine, RayEngine, make_engine
from pipeline.ledger import Ledger, result_key
from pipeline.manifest import Row
from pipeline.outcome import Outcome, attempt
from pipeline.progress import progress
from pipeline.report import Report
from pipeline.sources import folder


@dataclass(frozen=True)
class CurateOptions:
    """What the command line says; the defaults are the command's."""

    dataset: str
    out: Path
    source: Path | None = None
    thresholds: Path | None = None
    overrides: Path | None = None
    engine: str = "ray"
    address: str | None = None
    limit: int | None = None
    decide_only: bool = False


@dataclass(frozen=True)
class Curation:
    """What a run made, beside its files: clips, their verdicts, and the inputs' report."""

    clips: list[Clip]
    verdicts: list[Verdict]
    report: Report

    def table(self) -> str:
        """Return the printed form."""
        lines = [self.report.table(), f"{'clips':<28}{len(self.clips):>8}"]
        for split in ("train", "test"):
            songs = [v.song for v in self.verdicts if v.split == split]
            count = f"{len(songs):>8}   ({len(set(songs))} songs)"
            lines.append(f"  {'kept, ' + split:<26}{count}")
        for reason in REASONS:
            if number := sum(v.reason == reason for v in self.verdicts):
                lines.append(f"  {'rejected, ' + reason:<26}{number:>8}")
        return "\n".join(lines)


def curate(options: CurateOptions) -> Curation:
    """Curate a source folder into `<dataset>.parquet` and `<dataset>.html` in `out`.

    Raises ValueError or FileNotFoundError for what the user must change.
    """
    settings = load_settings(options.thresholds or DEFAULT)
    inputs = options.out / f"{options.dataset}.inputs.parquet"
    if options.source is None and not options.decide_only:
        raise ValueError(
            f"--dataset {options.dataset} needs --source DIR: a folder of videos, downloaded by "
            "yourself (none are shipped)"
        )
    if options.decide_only and not inputs.is_file():
        raise FileNotFoundError(f"{inputs}: nothing was measured yet; leave out --decide-only")
    started = time.monotonic()
    ledger = Ledger((options.out / ".work" / "results").resolve())
    with locked(options.out):
        if options.decide_only:
            rows = _saved(inputs)
            stage = Measure(Path(), ledger, settings.shots, settings.picture)
        else:
            listing = folder.list_folder(options.source, "none")
            rows = listing.rows[: options.limit]
            rows = manifest.hash_inputs(listing.root, listing.motion_root, rows)
            manifest.save(inputs, rows)
            stage = Measure(listing.root.resolve(), ledger, settings.shots, settings.picture)
        outcomes = _measured(options, stage, rows)
        return _decided(options, settings, stage, rows, outcomes, started)


def _measured(options: CurateOptions, stage: Measure, rows: Sequence[Row]) -> dict[str, Outcome]:
    """Bring every row to its end: from the ledger where it is there, else by measuring."""
    outcomes = {
        row.video_id: manifest.ended_early(row) or attempt("ledger", lambda r=row: stage.stored(r))
        for row in rows
    }
    todo = [Work(row) for row in rows if outcomes[row.video_id] is None]
    if todo and options.decide_only:
        names = ", ".join(work.row.path for work in todo[:3])
        raise ValueError(
            f"--decide-only: {len(todo)} inputs are not measured with these settings "
            f"({names} …); run without it"
        )
    if len(todo) < len(rows):
        print(f"{len(rows) - len(todo)} of {len(rows)} inputs are done already")
    engine: LocalEngine | RayEngine | None = None
    try:
        if todo:
            engine = make_engine(options.engine, options.address)
            done = engine.run([stage], todo, _lost)
            for work in progress(done, NAME, len(todo), "video"):
                outcomes[work.row.video_id] = work.outcome
    finally:
        if engine is not None:
            engine.close()
    return outcomes


def _decided(
    options: CurateOptions,
    settings: Settings,
    stage: Measure,
    rows: Sequence[Row],
    outcomes: dict[str, Outcome],
    started: float,
) -> Curation:
    found: list[tuple[Clip, Material]] = []
    for row in rows:
        if outcomes[row.video_id].status == "ok":
            found += stage.clips(row)
    clips, materials = [clip for clip, _ in found], [material for _, material in found]
    overrides = read_overrides(options.overrides, {clip.clip_id for clip in clips})
    alike = likenesses(stage.ledger, clips, materials)
    verdicts = decide(clips, alike, settings.decide, overrides)
    kept = {c.video_id for c, v in zip(clips, verdicts, strict=True) if v.decision == "keep"}
    for row in rows:
        if outcomes[row.video_id].status == "ok" and row.video_id not in kept:
            words = f"{row.path}: see the reason of each clip in {options.dataset}.html"
            outcomes[row.video_id] = Outcome("filtered", NAME, "no_clip", words)
    save_table(options.out / f"{options.dataset}.parquet", clips, verdicts)
    failures = [f"{o.code}: {o.message}" for o in outcomes.values() if o.status == "failed"]
    page = options.out / f"{options.dataset}.html"
    title = f"Curation of {options.dataset}"
    save_page(page, title, clips, materials, verdicts, failures)
    report = replace(Report.of(outcomes, rows), seconds=time.monotonic() - started)
    report.save(options.out)
    return Curation(clips, verdicts, report)


def likenesses(
    ledger: Ledger, clips: Sequence[Clip], materials: Sequence[Material]
) -> list[Likeness]:
    """Return the pairs of clips that sound alike, from the ledger where these were compared."""
    if not clips:
        return []
    content = [
        [clip.sha256, clip.start_frame, hashlib.sha256(m.fingerprint.tobytes()).hexdigest()]
        for clip, m in zip(clips, materials, strict=True)
    ]
    key = result_key(hashlib.sha256(json.dumps(content).encode()).hexdigest(), NAME, {"pairs": 2})
    stored = ledger.read(NAME, key)
    if stored is None:
        pairs = compare([m.fingerprint for m in materials])
        far = [
            distance(materials[p.first].hashes, materials[p.second].hashes, p.lag_s) for p in pairs
        ]
        columns = {
            "first": np.array([p.first for p in pairs], int),
            "second": np.array([p.second for p in pairs], int),
            "song": np.array([p.score for p in pairs]),
            "picture": np.array(far),
            "within": np.array([p.within for p in pairs]),
            "beyond": np.array([p.beyond for p in pairs]),
        }
        ledger.write(NAME, key, columns, {})
    else:
        columns = stored.arrays
    names = [field.name for field in fields(Likeness)]
    return [Likeness(*row) for row in zip(*(columns[name].tolist() for name in names), strict=True)]


def _saved(path: Path) -> list[Row]:
    """Return the rows that `manifest.save` wrote."""
    import pyarrow.parquet as pq

    table = pq.read_table(path).to_pylist()
    return [Row(**{**row, "dancers": tuple(row["dancers"])}) for row in table]


def _lost(work: Work, stage: str, code: str, words: str) -> Work:
    return Work(work.row, Outcome("failed", stage, code, words))
