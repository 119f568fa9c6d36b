"""What a build does to every video, and the keys of its results."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ
from pipeline.engine.ledger import Ledger, Result, result_key
from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.time_limit import ITEM_LIMIT_S
from pipeline.features.sound import MAX_GAIN, PEAK
from pipeline.sources.manifest import Row

if TYPE_CHECKING:
    from pipeline.features.visual.base import Extractor


INPUT = "<input>"


@dataclass(frozen=True)
class Settings:
    """What a build does to every video; each result's key holds the part that decides it."""

    root: Path
    motion_root: Path
    work: Path
    window_s: str = "2"
    motion: str = "none"
    visual: str = "i3d_r50"
    visual_windows: int = 1
    weights: str = "kinetics"
    weights_id: str = ""
    flow: str = ""
    precision: str = "float32"
    smpl_model: str = ""
    smpl_model_id: str = ""
    pose_weights: str = ""
    pose_id: str = ""
    detector: str = ""
    detector_id: str = ""
    no_sound: bool = False
    audio_track: int = 0
    drop_silent: bool = False
    item_limit_s: float = ITEM_LIMIT_S

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.work / "results")

    def key(self, stage: str, row: Row) -> str:
        """Return the key of one stage's result for one input."""
        cut = {"window_s": self.window_s, "rate_hz": SAMPLE_RATE_HZ, "peak": PEAK, "gain": MAX_GAIN}
        cut |= row.clip_key
        cut |= {"audio_track": self.audio_track} if self.audio_track else {}
        cut |= {"no_sound": True} if self.no_sound else {}
        if stage == "cut":
            return result_key(row.sha256, "cut", cut)
        if stage == "pose" or (stage == "motion" and self.motion == "mmpose"):
            from pipeline.features.pose.people import CHOOSING, LOOKING

            config = LOOKING | {"precision": self.precision} | row.clip_key
            config |= cut | CHOOSING | {"motion": self.motion} if stage == "motion" else {}
            return result_key(row.sha256, stage, config, f"{self.pose_id} {self.detector_id}")
        if stage == "motion":
            inputs = row.sha256 + row.motion_sha256
            body = {"smpl_model": self.smpl_model_id} if self.smpl_model_id else {}
            return result_key(inputs, "motion", cut | {"motion": self.motion} | body)
        config = {"visual": self.visual, "windows": self.visual_windows}
        config |= {"flow": self.flow} if self.flow else {}
        return result_key(
            row.sha256, "visual", cut | config | {"precision": self.precision}, self.weights_id
        )

    def extractor(self) -> Extractor:
        """Return the visual extractor that the settings name."""
        from pipeline.features.visual.base import make_extractor

        return make_extractor(self.visual, self.weights, self.flow, self.precision)

    def stages(self) -> list[str]:
        """Return the stages that give a result for every video."""
        wanted = {"cut": True, "motion": self.motion != "none", "visual": self.visual != "none"}
        return [stage for stage, on in wanted.items() if on]

    def untrained(self) -> list[str]:
        """Return what this build makes with random weights, in words."""
        made = []
        if self.visual != "none" and self.weights == "untrained":
            made.append(f"visual features: {self.visual} with random weights")
        if self.pose_weights == "untrained":
            made.append("motion: poses by a network with random weights")
        if self.detector == "untrained":
            made.append("motion: dancers found by a network with random weights")
        return made

    def strip_path(self, row: Row, outcome: Outcome) -> Outcome:
        """Return an outcome without the input's name: equal content elsewhere ends the same way."""
        words = outcome.message.replace(str(self.root / row.path), INPUT).replace(row.path, INPUT)
        return replace(outcome, message=words)

    def add_path(self, row: Row, outcome: Outcome) -> Outcome:
        """Return a stored outcome with the name that its input has now."""
        return replace(outcome, message=outcome.message.replace(INPUT, row.path))

    def end(self, stage: str, row: Row, outcome: Outcome) -> Outcome:
        """Store how a stage ended for an input and return it as the report tells it."""
        outcome = self.strip_path(row, outcome)
        key = self.key(stage, row)
        error = attempt("ledger", lambda: self.ledger.write(stage, key, {}, {}, outcome))
        return self.add_path(row, error or outcome)

    def results(self, row: Row) -> dict[str, Result | None]:
        """Return what the ledger holds for one input, by stage."""
        return {stage: self.ledger.read(stage, self.key(stage, row)) for stage in self.stages()}

    def outcome(self, row: Row) -> Outcome | None:
        """Return the end of one input as the ledger has it, None while something is missing."""
        results = {stage: self.ledger.facts(stage, self.key(stage, row)) for stage in self.stages()}
        cut = results["cut"]
        end = self.cut_outcome(row, cut.facts) if cut and not cut.outcome else None
        if end and end.status == "filtered":
            return end
        for result in results.values():
            if result is None:
                return None
            if result.outcome is not None:
                return self.add_path(row, result.outcome)
        return end

    def cut_outcome(self, row: Row, facts: dict[str, Any]) -> Outcome:
        """Return how an input ends if no stage fails: `ok`, or `silent` where all is dropped."""
        silent = tuple(facts["silent_segments"])
        known = {"silent_segments": silent, "audio_tracks": facts["audio_tracks"]}
        segments = len(facts["starts_s"]) - (len(silent) if self.drop_silent else 0)
        if not segments:
            words = f"{row.path}: all its {len(silent)} segments are silent"
            return Outcome("filtered", "cut", "silent", words, **known)
        return Outcome("ok", segments=segments, dropped_s=facts["dropped_s"], **known)


@dataclass(frozen=True)
class Work:
    """A row on its way through the stages.

    `clips` are frames that wait for the visual stage, uint8 (windows x W, F, 224, 224, 3), F being
    what the extractor looks at: 8 for i3d_r50. `deferred` says that they are too many to travel.
    """

    row: Row
    clips: np.ndarray | None = field(default=None, repr=False)
    outcome: Outcome | None = None
    deferred: bool = False


def settings_record(settings: Settings) -> dict[str, Any]:
    """Return the options that make the same features of another video again."""
    names = ["motion", "visual", "weights", "window_s", "visual_windows", "precision"]
    more = ("flow", "smpl_model", "pose_weights", "detector")
    more += ("no_sound", "audio_track", "drop_silent")
    names += [name for name in more if getattr(settings, name)]
    values = {name: asdict(settings)[name] for name in names}
    paths = ("weights", "pose_weights", "detector")
    return values | {name: recorded(values[name]) for name in paths if name in values}


def recorded(weights: str) -> str:
    """Return how dataset.json names weights: by their name, or by a path that holds anywhere."""
    from pipeline.weights.table import TABLE

    if weights in ("kinetics", "untrained", *(weight.name for weight in TABLE)):
        return weights
    config, colon, file = "", "", weights
    if not Path(weights).exists():  # CONFIG.py:FILE
        config, colon, file = weights.rpartition(":")
    return f"{Path(config).resolve() if colon else ''}{colon}{Path(file).resolve()}"
