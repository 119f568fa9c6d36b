"""Assemble shards: plan every tar from the inputs alone, then write those that do not exist yet."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from model.contract.dataset import Shard
from model.contract.files import write_atomic
from model.contract.segment import META, SCHEMA, SPLITS, WAV, segment_key
from model.contract.shards import (
    check_whole,
    is_shard_name,
    json_bytes,
    npy_bytes,
    shard_name,
    write_shard,
)
from model.contract.wav import wav_bytes
from pipeline.engine.base import Engine
from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.outcomes import Outcomes
from pipeline.engine.progress import progress
from pipeline.features.plan import Settings, dancers_seen
from pipeline.sources.manifest import Row
from pipeline.sources.rows import Rows

SEGMENTS_PER_SHARD = 256
RECORDED = [field.name for field in fields(Row) if field.name != "listed_segments"]
"""What a tar depends on. Listed segments select segments, and are in none of them."""


class ResultsGone(OSError):
    """Stored results that a shard needs are missing or damaged; they must be computed again."""


Written = Shard | ResultsGone | Outcome
"""What became of a planned shard: written, not possible before results are computed, or failed."""


def write_shards(
    settings: Settings,
    rows: Rows,
    outcomes: Outcomes,
    out: Path,
    engine: Engine,
) -> dict[str, list[Shard]]:
    """Write the tars of every split and return their entries for dataset.json.

    Rows are sorted by id and segments by time, so the bytes depend only on the inputs. They do not
    depend on the number of workers, the order of their work, or the engine.

    Raises ResultsGone if stored results are missing, after the other shards are written. Raises
    OSError if a shard cannot be written.
    """
    drafts = {split: list(drafted(settings, rows, outcomes, split)) for split in SPLITS}
    stage = WriteShard(settings, out.resolve())
    written: dict[str, Shard] = {}
    todo: list[Draft] = []
    for draft in (draft for of_split in drafts.values() for draft in of_split):
        if shard := stage.stored(draft.plan(rows)):
            written[draft.name] = shard
        else:
            todo.append(draft)
    done = engine.run([stage], (draft.plan(rows) for draft in todo), _lost_shard)
    gone: ResultsGone | None = None
    for plan, shard in progress(done, "shards", len(todo), "shard"):
        if isinstance(shard, ResultsGone):
            gone = gone or shard
        elif isinstance(shard, Outcome):
            raise OSError(f"{plan.name}: {shard.message}; run the same command again")
        else:
            written[plan.name] = shard
    if gone:
        raise gone
    for path in out.glob("*.tar"):
        if path.name not in written and is_shard_name(path.name):
            path.unlink()
    return {
        split: [written[draft.name] for draft in of_split]
        for split, of_split in drafts.items()
        if of_split
    }


def drafted(settings: Settings, rows: Rows, outcomes: Outcomes, split: str) -> Iterator[Draft]:
    """Yield the drafts of a split's tars, with the segments sorted by id and time."""
    wanted = np.fromiter((of_row == split for of_row in rows.column("split")), bool)
    wanted &= np.fromiter((outcomes.status(k) == "ok" for k in range(len(rows))), bool)
    order = rows.sorted_by("video_id")
    number, at, index = 0, array("I"), array("I")
    for row in order[wanted[order]]:
        outcome = outcomes[int(row)]
        assert outcome is not None, "it is ok"
        for segment in kept(settings, outcome):
            at.append(row)
            index.append(segment)
            if len(at) == SEGMENTS_PER_SHARD:
                yield Draft(shard_name(split, number), at, index)
                number, at, index = number + 1, array("I"), array("I")
    if at:
        yield Draft(shard_name(split, number), at, index)


def kept(settings: Settings, outcome: Outcome) -> list[int]:
    """Return the indices (from 0) of an input's segments that become samples."""
    dropped = {number - 1 for number in outcome.silent_segments} if settings.drop_silent else set()
    return [index for index in range(outcome.segments + len(dropped)) if index not in dropped]


@dataclass(frozen=True)
class Draft:
    """A tar to be planned: its name, and number of the row and index of each segment."""

    name: str
    rows: array[int]
    segments: array[int]

    def plan(self, rows: Rows) -> ShardPlan:
        """Return the plan, with the rows themselves."""
        found = {number: rows[number] for number in sorted(set(self.rows))}
        pairs = zip(self.rows, self.segments, strict=True)
        return ShardPlan(self.name, tuple((found[number], index) for number, index in pairs))


@dataclass(frozen=True)
class ShardPlan:
    """The plan of one tar: its name, and its (row, segment index from 0) pairs in order."""

    name: str
    segments: tuple[tuple[Row, int], ...]


@dataclass
class WriteShard:
    """Write one planned tar from the stored results."""

    settings: Settings
    out: Path
    name: str = "shards"
    batch: int = 1
    gpus: float = 0.0
    limit_s: float = 0.0

    def setup(self) -> None:
        """Do nothing: there is nothing to load."""

    def __call__(self, items: list[ShardPlan]) -> list[tuple[ShardPlan, Written]]:
        return [(plan, attempt("shards", partial(self._write, plan))) for plan in items]

    def stored(self, plan: ShardPlan) -> Shard | None:
        """Return the entry of a tar that already exists as planned, or None."""
        note, path = self._note(plan), self.out / plan.name
        if not note.is_file() or not path.is_file():
            return None
        try:
            stored = json.loads(note.read_text(encoding="utf-8"))
            shard, plan_digest = Shard(**stored["shard"]), stored["plan"]
            check_whole(path, shard)
        except (ValueError, KeyError, TypeError):
            return None  # a damaged note or tar: the caller writes it again
        return shard if plan_digest == self._digest(plan) else None

    def _write(self, plan: ShardPlan) -> Shard | ResultsGone:
        try:
            shard = write_shard(self.out / plan.name, self._segments(plan))
        except ResultsGone as gone:
            return gone
        write_atomic(
            self._note(plan), json_bytes({"plan": self._digest(plan), "shard": asdict(shard)})
        )
        return shard

    def _note(self, plan: ShardPlan) -> Path:
        return self.settings.work / "shards" / f"{plan.name}.json"

    def _digest(self, plan: ShardPlan) -> str:
        """Return a hash of everything that determines the tar's bytes."""
        parts = [SCHEMA, self.settings.untrained()]
        for row, index in plan.segments:
            keys = [self.settings.key(stage, row) for stage in self.settings.stages()]
            known = {name: getattr(row, name) for name in RECORDED}
            parts.append([known, index, keys])
        return hashlib.sha256(json_bytes(parts)).hexdigest()

    def _segments(self, plan: ShardPlan) -> Iterator[tuple[str, dict[str, bytes]]]:
        row, results = None, {}
        for wanted, index in plan.segments:
            if wanted is not row:
                row, results = wanted, self.settings.results(wanted)
            yield segment_key(row.video_id, index + 1), members(self.settings, row, results, index)


def members(
    settings: Settings, row: Row, results: Mapping[str, Any], index: int
) -> dict[str, bytes]:
    """Return the tar members of one segment; the features are in reverse order.

    Raises ResultsGone if a stored result is missing.
    """
    missing = [stage for stage in settings.stages() if results.get(stage) is None]
    if missing:
        raise ResultsGone(f"{row.video_id}: no stored result of {', '.join(missing)}; run again")
    cut, counted = results["cut"], dancers_seen(row, results, index + 1)
    made = {} if settings.no_sound else {WAV: wav_bytes(cut.arrays["pcm"][index])}
    for feature in reversed(settings.made):
        made[feature.suffix] = npy_bytes(results[feature.name].arrays[feature.name][index])
    made[META] = json_bytes(
        {
            "video_id": row.video_id,
            "segment": index + 1,
            "start_s": float(Fraction(cut.facts["starts_s"][index])),
            "window_s": float(Fraction(settings.window_s)),
            "split": row.split,
            "song": row.song,
            "genre": row.genre,
            "dancers": list(row.dancers),
            **({} if counted is None else {"dancers_seen": counted[index]}),
            **clip_facts(row),
            "source": row.path,
            "source_sha256": row.sha256,
            "padded_ms": cut.facts["padded_ms"][index],
            **({} if settings.no_sound else {"gain": cut.facts["gains"][index]}),
            "untrained": settings.untrained(),
        }
    )
    return made


def clip_facts(row: Row) -> dict[str, list]:
    """Return a clip's time span (s) and picture box (px) in its video; nothing for a complete
    video.
    """
    if not row.span_s:
        return {}
    return {"clip_s": [float(at_s) for at_s in row.span_s], "box_px": list(row.box)}


def _lost_shard(plan: ShardPlan, stage: str, code: str, words: str) -> tuple[ShardPlan, Written]:
    return plan, Outcome("failed", stage, code, words)
