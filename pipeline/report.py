"""What became of every input: report.json, and the table the command prints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from model.segment import Dataset, load_dataset, write_atomic
from pipeline.manifest import Row
from pipeline.outcome import Outcome


@dataclass
class Report:
    """Every input's end. `rows` holds one entry per input; all counts come from it.

    `stopped` says why a build ended before its last input, "" where it did not. `untrained` says
    what was made with random weights, `codecs` maps codec ids to their notes.
    """

    rows: list[dict[str, Any]]
    segments: dict[str, int] = field(default_factory=dict)
    untrained: list[str] = field(default_factory=list)
    codecs: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    stopped: str = ""

    @classmethod
    def of(
        cls,
        outcomes: Mapping[str, Outcome | None],
        inputs: Sequence[Row],
        dataset: Dataset | None = None,
        seconds: float = 0.0,
        stopped: str = "",
    ) -> Report:
        """Make the report of a build; raises ValueError if an input has no end."""
        rows = []
        for row in inputs:
            outcome = outcomes.get(row.video_id)
            if outcome is None and dataset is not None:
                raise ValueError(f"{row.video_id}: no outcome; inputs and outcomes do not add up")
            facts = asdict(outcome) if outcome else {"status": "left" if stopped else "listed"}
            rows.append({"video_id": row.video_id, "path": row.path, "split": row.split, **facts})
        if dataset is None:
            return cls(rows, seconds=seconds, stopped=stopped)
        segments = {split: dataset.segments(split) for split in dataset.splits}
        codecs = {name: codes.note for name, codes in dataset.codecs.items()}
        report = cls(rows, segments, dataset.untrained, codecs, seconds)
        if sum(segments.values()) != sum(row["segments"] for row in rows):
            raise ValueError("shards and report do not add up; run the build again")
        return report

    @property
    def counts(self) -> Counter[str]:
        return Counter(row["status"] for row in self.rows)

    @property
    def failed_share(self) -> float:
        return self.counts["failed"] / len(self.rows) if self.rows else 0.0

    def as_dict(self) -> dict[str, Any]:
        reasons = Counter(f"{row['status']}: {row['code']}" for row in self.rows if row.get("code"))
        return {
            "inputs": len(self.rows),
            "counts": dict(sorted(self.counts.items())),
            "reasons": dict(sorted(reasons.items())),
            "segments": self.segments,
            "dropped_tail_s": round(sum(row.get("dropped_s", 0.0) for row in self.rows), 3),
            "untrained": self.untrained,
            "codecs": self.codecs,
            "seconds": round(self.seconds, 1),
            "stopped": self.stopped,
            "rows": self.rows,
        }

    def save(self, out: Path) -> None:
        text = json.dumps(self.as_dict(), indent=1, sort_keys=True) + "\n"
        write_atomic(out / "report.json", text.encode())

    @classmethod
    def load(cls, out: Path) -> Report:
        """Read report.json; raises FileNotFoundError with what to do where there is none."""
        path = out / "report.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: not found; run pipeline build --out {out} first")
        try:
            raw = json.loads(path.read_bytes())
            stopped, codecs = raw.get("stopped", ""), {}
            report = cls(
                raw["rows"], raw["segments"], raw["untrained"], {}, raw["seconds"], stopped
            )
            report.table()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{path}: not a report of pipeline build ({error!r:.300}); run it again"
            ) from None
        if not stopped:
            codecs = {name: codes.note for name, codes in load_dataset(out).codecs.items()}
        return replace(report, codecs=codecs)

    def table(self) -> str:
        """Return the printed form: every line's number adds up to the inputs."""
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
        for row in [row for row in self.rows if row["status"] == "failed"][:10]:
            lines.append(f"failed: {row['video_id']}: {row['stage']}: {row['message']}")
        lines += [f"STOPPED {self.stopped}"] if self.stopped else []
        lines += [f"UNTRAINED {note}" for note in self.untrained]
        lines += [f"CODEC {name}: {note}" for name, note in self.codecs.items() if note]
        return "\n".join(map(_printable, lines))


def _printable(text: str) -> str:
    """Return a line whose control characters are spelt out: file names come from strangers."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
