"""The outcome of every input: report.json, and the table that the command prints."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from model.contract.dataset import Dataset, load_dataset
from model.contract.files import atomic_file
from model.contract.segment import SPLITS
from pipeline.engine.outcome import FILTERED, PERMANENT, RETRYABLE, Outcome
from pipeline.engine.timing import StageTime
from pipeline.report.rows import (
    MAX_JSON_ROWS,
    ROWS_FILE,
    BuiltRows,
    ReportRow,
    StoredRows,
    save_report_rows,
)
from pipeline.report.tally import MAX_FAILED, Tally
from pipeline.sources.listing import others_words
from pipeline.sources.manifest import Row

SCHEMA = 1
WRITTEN_AT_ONCE = 4096
"""How many pieces of report.json are written at once; they are a few bytes each."""
MEANINGS = {"filtered": FILTERED, "failed": PERMANENT | RETRYABLE}


@dataclass
class Report:
    """The outcome of every input.

    `rows` holds one entry per input; all counts are computed from it. `stopped` says why a build
    stopped before its last input; it is "" if the build finished. `untrained` lists what was made
    with random weights. `codecs` maps codec ids to their notes. `stages` holds the times of the
    command that wrote the report, not of earlier commands. `others` counts, by suffix, the files in
    the source folder that do not count as videos. `notes` are sentences about the inputs.
    """

    rows: Sequence[ReportRow]
    segments: dict[str, int] = field(default_factory=dict)
    untrained: list[str] = field(default_factory=list)
    codecs: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    stopped: str = ""
    window_s: str = ""
    stages: list[StageTime] = field(default_factory=list)
    others: Mapping[str, int] = field(default_factory=dict)
    drop_silent: bool = False
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        outcomes: Sequence[Outcome | None],
        inputs: Sequence[Row],
        dataset: Dataset | None = None,
        seconds: float = 0.0,
        stopped: str = "",
        stages: Sequence[StageTime] = (),
        others: Mapping[str, int] | None = None,
        notes: Sequence[str] = (),
    ) -> Report:
        """Make the report of a build; raise ValueError if an input has no outcome.

        `outcomes` are in the order of `inputs`.
        """
        rows = BuiltRows(inputs, outcomes, "left" if stopped else "listed")
        return cls.of_rows(rows, dataset, seconds, stopped, stages, others, notes)

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[ReportRow],
        dataset: Dataset | None = None,
        seconds: float = 0.0,
        stopped: str = "",
        stages: Sequence[StageTime] = (),
        others: Mapping[str, int] | None = None,
        notes: Sequence[str] = (),
    ) -> Report:
        """Make the report of a build from its rows; raise ValueError if one has no outcome."""
        rows = rows if len(rows) > MAX_JSON_ROWS else list(rows)
        common: dict[str, Any] = {"seconds": seconds, "stages": list(stages)}
        common |= {"others": dict(others or {}), "notes": list(notes)}
        if dataset is None:
            return cls(rows, stopped=stopped, **common)
        segments = {split: dataset.segments(split) for split in dataset.splits}
        codecs = {name: codes.note for name, codes in dataset.codecs.items()}
        common |= {"drop_silent": bool(dataset.build.get("drop_silent"))}
        report = cls(rows, segments, dataset.untrained, codecs, window_s=dataset.window_s, **common)
        if report.counts["left"] + report.counts["listed"]:
            lost = next(row["video_id"] for row in rows if row["status"] in ("left", "listed"))
            raise ValueError(f"{lost}: no outcome; the outcomes do not match the inputs")
        if sum(segments.values()) != sum(report.tally.segments):
            raise ValueError(
                "the shards and the report have different numbers of segments; run the build again"
            )
        return report

    @cached_property
    def tally(self) -> Tally:
        """All counts, from one pass over the rows."""
        return Tally.of(self.rows)

    @property
    def counts(self) -> Counter[str]:
        return self.tally.counts

    @property
    def failed_share(self) -> float:
        """The share of inputs that failed; filtered inputs are not counted at all."""
        return self.counts["failed"] / max(1, len(self.rows) - self.counts["filtered"])

    @property
    def ends(self) -> list[dict[str, Any]]:
        """Failed and filtered inputs by status, stage and code; of each status, the largest group
        first.
        """
        return [
            {
                "status": status,
                "stage": stage,
                "code": code,
                "meaning": MEANINGS[status].get(code, ""),
                "retryable": code in RETRYABLE,
                "count": count,
                "examples": self.tally.examples[status, stage, code],
            }
            for (status, stage, code), count in sorted(
                self.tally.ends.items(), key=lambda end: (end[0][0], -end[1], end[0])
            )
        ]

    @property
    def material(self) -> dict[str, dict[str, Any]]:
        """What each split holds: videos, segments, hours, songs, segments by genre and dancers."""
        held = {}
        for split in (split for split in SPLITS if split in self.segments):
            segments, of = self.segments[split], self.tally.splits[split]
            held[split] = {
                "inputs": of.inputs,
                "segments": segments,
                "hours": round(float(segments * Fraction(self.window_s or 0) / 3600), 4),
                "songs": len(of.songs),
                "genres": {name: of.genres[name] for name in sorted(of.genres) if name},
                "dancers_seen": {str(count): of.dancers[count] for count in sorted(of.dancers)},
            }
        return held

    @property
    def silent(self) -> dict[str, Any]:
        """How many segments have no sound, how many inputs have some, and whether they are left
        out.
        """
        segments, inputs = self.tally.silent
        return {"segments": segments, "inputs": inputs, "left_out": self.drop_silent}

    @property
    def listed(self) -> dict[str, dict[str, int]]:
        """How many of the segments of a published list were made, by split; {} without a list.

        `missing` are those of videos that are absent, ignored, failed or too short for them.
        `unlisted` are segments that could be cut after those of the list; they are left out.
        """
        found: dict[str, dict[str, int]] = {}
        for split in SPLITS:
            listed, made, unlisted = self.tally.splits[split].listed
            if listed and self.segments:
                found[split] = {"listed": listed, "made": made, "missing": listed - made}
                found[split]["unlisted"] = unlisted
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the content of report.json; docs/reference/report.md explains its keys."""
        reasons: Counter[str] = Counter()
        for (status, _, code), count in self.tally.ends.items():
            reasons[f"{status}: {code}"] += count
        large = len(self.rows) > MAX_JSON_ROWS
        return {
            "schema": SCHEMA,
            "inputs": len(self.rows),
            "others": dict(self.others),
            "notes": self.notes,
            "counts": dict(sorted(self.counts.items())),
            "reasons": dict(sorted(reasons.items())),
            "ends": self.ends,
            "segments": self.segments,
            "window_s": self.window_s,
            "material": self.material,
            "silent": self.silent,
            "listed": self.listed,
            "several_audio_tracks": self.tally.several_tracks,
            "dropped_tail_s": round(self.tally.dropped_s, 3),
            "untrained": self.untrained,
            "codecs": self.codecs,
            "seconds": round(self.seconds, 1),
            "stopped": self.stopped,
            "stages": [stage.as_dict() for stage in self.stages],
            **({"rows_in": ROWS_FILE} if large else {"rows": self.rows}),
        }

    def dumps(self) -> str:
        return json.dumps(self.as_dict(), indent=1, sort_keys=True) + "\n"

    def save(self, out: Path) -> None:
        """Write the text of `dumps` to report.json, piece by piece; many rows to report.parquet.

        Written at once, its pieces would take nine times its size in memory.
        """
        if len(self.rows) > MAX_JSON_ROWS:
            save_report_rows(out / ROWS_FILE, self.rows)
        else:
            (out / ROWS_FILE).unlink(missing_ok=True)
        encoder = json.JSONEncoder(indent=1, sort_keys=True)
        with atomic_file(out / "report.json") as file:
            pieces = encoder.iterencode(self.as_dict())
            while text := "".join(islice(pieces, WRITTEN_AT_ONCE)):
                file.write(text.encode())
            file.write(b"\n")

    @classmethod
    def load(cls, out: Path) -> Report:
        """Read report.json; raise FileNotFoundError, with advice, if there is none."""
        path = out / "report.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: not found; run pipeline build --out {out} first")
        try:
            raw = json.loads(path.read_bytes())
            stopped = raw.get("stopped", "")
            stages = [StageTime.of(stage) for stage in raw.get("stages", [])]
            report = cls(
                StoredRows(out / ROWS_FILE) if "rows_in" in raw else raw["rows"],
                raw["segments"], raw["untrained"], {}, raw["seconds"], stopped,
                stages=stages, others=raw.get("others", {}), notes=raw.get("notes", []),
            )  # fmt: skip
            report.table()
            if not math.isfinite(report.seconds + report.as_dict()["dropped_tail_s"]):
                raise ValueError("its seconds are not finite numbers")
            if min((*report.tally.segments, *report.tally.dropped), default=0) < 0:
                raise ValueError("an input has a negative number of segments or seconds")
        except (
            *(ValueError, LookupError, TypeError, AttributeError, RecursionError),
            ArithmeticError,
        ) as error:
            raise ValueError(
                f"{path}: not a report of pipeline build ({error!r:.300}); run it again"
            ) from None
        if stopped:
            return report
        dataset = load_dataset(out)
        codecs = {name: codes.note for name, codes in dataset.codecs.items()}
        drop_silent = bool(dataset.build.get("drop_silent"))
        return replace(report, codecs=codecs, window_s=dataset.window_s, drop_silent=drop_silent)

    def table(self) -> str:
        """Return the report as printed text; the counts add up to the number of inputs."""
        facts = self.as_dict()
        lines = [f"{'inputs':<28}{facts['inputs']:>8}"]
        for status in ("ok", "filtered", "failed", "left", "listed"):
            if count := self.counts[status]:
                lines.append(f"  {status:<26}{count:>8}")
            for reason, number in facts["reasons"].items():
                if reason.startswith(f"{status}:"):
                    lines.append(f"    {reason.split(': ')[1]:<24}{number:>8}")
        for split, number in self.segments.items():
            lines.append(f"segments, {split:<18}{number:>8}")
        if self.segments:
            lines.append(f"{'tail dropped, s':<28}{facts['dropped_tail_s']:>8}")
        for split, counts in self.listed.items():
            lines.append(
                f"{f'listed segments, {split}':<28}{counts['listed']:>8}  "
                f"(missing {counts['missing']}; cut but not listed, left out: {counts['unlisted']})"
            )
        silent = facts["silent"]
        if silent["segments"]:
            kept = "in the shards; --drop-silent leaves them out"
            dropped = "left out" if silent["left_out"] else kept
            lines.append(f"{'silent segments':<28}{silent['segments']:>8}  ({dropped})")
            lines.append(f"{'  inputs that have some':<28}{silent['inputs']:>8}")
        if facts["several_audio_tracks"]:
            lines.append(
                f"{'several sound tracks':<28}{facts['several_audio_tracks']:>8}  "
                "(inputs that have them; --audio-track N reads another than the default one)"
            )
        for row in (*self.tally.failed, *self.tally.failed_early)[:MAX_FAILED]:
            lines.append(f"failed: {row['video_id']}: {row['stage']}: {row['message']}")
        lines += self.notes
        lines += [text] if (text := others_words(self.others)) else []
        lines += [f"STOPPED {self.stopped}"] if self.stopped else []
        lines += [f"UNTRAINED {note}" for note in self.untrained]
        lines += [f"CODEC {name}: {note}" for name, note in self.codecs.items() if note]
        return "\n".join(map(printable, lines))


def printable(text: str) -> str:
    """Return a line with its control characters escaped.

    File names come from strangers and may contain anything.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
