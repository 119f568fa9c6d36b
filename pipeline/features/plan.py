"""The settings of a build, the keys of its results, and the outcome of each input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.contract.dataset import Dataset, Shard
from model.contract.options import flag_of
from model.contract.segment import PEAK, SAMPLE_RATE_HZ, WAV, window_samples
from pipeline.engine.ledger import Ledger, Result, result_key
from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.time_limit import ITEM_LIMIT_S
from pipeline.features.base import FEATURES, Clips, Feature, feature_class
from pipeline.features.sound import MAX_GAIN
from pipeline.sources.manifest import Row

if TYPE_CHECKING:
    import numpy as np

    from pipeline.sources.base import Source

INPUT = "<input>"


def arranged(given: Iterable[Feature], source: Source) -> tuple[Feature, ...]:
    """Return all features of a build in the order of work; missing ones are switched off.

    Raises ValueError if a feature is given twice, or if two features set a shared flag to
    different values.
    """
    by_name: dict[str, Feature] = {}
    for feature in (feature.for_source(source) for feature in given):
        if feature.name in by_name:
            raise ValueError(f"feature {feature.name!r} is given twice; give it once")
        by_name[feature.name] = feature
    for name in FEATURES.own:
        by_name.setdefault(name, feature_class(name).off())
    others = sorted(by_name.keys() - FEATURES.own.keys())
    found = tuple(by_name[name] for name in (*FEATURES.own, *others))
    record: dict[str, Any] = {}
    for feature in (feature for feature in found if feature.on):
        for key, value in feature.record().items():
            if record.setdefault(key, value) != value:
                raise ValueError(
                    f"{flag_of(key)} is {record[key]} for one feature and {value} for "
                    f"{feature.name!r}: a data set has one value; give both the same"
                )
    return found


@dataclass(frozen=True)
class Settings:
    """What a build does to every video. The key of a result contains the settings that affect it.

    `features` are in the order of work and checked by `ready`; features that are off are included.
    """

    root: Path
    motion_root: Path
    work: Path
    features: tuple[Feature, ...] = ()
    window_s: str = "2"
    no_sound: bool = False
    audio_track: int = 0
    drop_silent: bool = False
    item_limit_s: float = ITEM_LIMIT_S

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.work / "results")

    @property
    def made(self) -> list[Feature]:
        """The features that are on."""
        return [feature for feature in self.features if feature.on]

    def feature(self, name: str) -> Any:
        """Return the feature with this name."""
        return next(feature for feature in self.features if feature.name == name)

    def key(self, result: str, row: Row) -> str:
        """Return the key of one result (`cut`, or a result of a feature) for one input."""
        cut = {"window_s": self.window_s, "rate_hz": SAMPLE_RATE_HZ, "peak": PEAK, "gain": MAX_GAIN}
        cut |= row.clip_key
        cut |= {"audio_track": self.audio_track} if self.audio_track else {}
        cut |= {"no_sound": True} if self.no_sound else {}
        if result == "cut":
            return result_key(row.sha256, "cut", cut)
        maker = next(feature for feature in self.features if result in feature.results)
        return maker.key(row, cut, result)

    def has(self, result: str, row: Row) -> bool:
        """Return whether a result is stored."""
        return self.ledger.has(result, self.key(result, row))

    def clips(self, row: Row) -> Clips | None:
        """Return how to read the frames that a later stage still needs; None if none are needed."""
        for feature in self.made:
            if (clips := feature.clips()) and not self.has(feature.name, row):
                return clips
        return None

    def stages(self) -> list[str]:
        """Return the names of the results that every video has."""
        return ["cut", *(feature.name for feature in self.made)]

    def untrained(self) -> list[str]:
        """Return sentences on results computed with random weights, the last feature first."""
        return [note for feature in reversed(self.made) for note in feature.notes()]

    def strip_path(self, row: Row, outcome: Outcome) -> Outcome:
        """Return an outcome without the input's path: a file with the same content shares it."""
        message = outcome.message.replace(str(self.root / row.path), INPUT)
        return replace(outcome, message=message.replace(row.path, INPUT))

    def add_path(self, row: Row, outcome: Outcome) -> Outcome:
        """Return a stored outcome with the current path of its input."""
        return replace(outcome, message=outcome.message.replace(INPUT, row.path))

    def end(self, stage: str, row: Row, outcome: Outcome) -> Outcome:
        """Store the outcome of a stage for an input, and return it with the input's path."""
        outcome = self.strip_path(row, outcome)
        key = self.key(stage, row)
        error = attempt("ledger", lambda: self.ledger.write(stage, key, {}, {}, outcome))
        return self.add_path(row, error or outcome)

    def results(self, row: Row) -> dict[str, Result | None]:
        """Return the stored results of one input by name; None for missing ones."""
        return {stage: self.ledger.read(stage, self.key(stage, row)) for stage in self.stages()}

    def outcome(self, row: Row) -> Outcome | None:
        """Return the outcome of one input from the ledger; None if a result is missing."""
        results = {stage: self.ledger.facts(stage, self.key(stage, row)) for stage in self.stages()}
        cut = results["cut"]
        end = self.cut_outcome(row, cut.facts) if cut and not cut.outcome else None
        if end and end.status == "filtered":
            return end
        for result in results.values():
            if result is not None and result.outcome is not None:
                return self.add_path(row, result.outcome)
        if end is None or None in results.values():
            return None
        counted = dancers_seen(row, results, end.segments) or ()
        left_out = end.silent_segments if self.drop_silent else ()
        listed = counted[: end.segments + len(left_out)]
        shown = tuple(count for i, count in enumerate(listed, 1) if i not in left_out)
        return replace(end, dancers_seen=shown)

    def cut_outcome(self, row: Row, facts: dict[str, Any]) -> Outcome:
        """Return the outcome if no stage fails: `ok`, or `silent` if all segments are dropped."""
        cut = len(facts["starts_s"])
        listed = min(cut, row.listed_segments or cut)
        silent = tuple(number for number in facts["silent_segments"] if number <= listed)
        known: dict[str, Any] = {"silent_segments": silent, "unlisted_segments": cut - listed}
        known["audio_tracks"] = facts["audio_tracks"]
        segments = listed - (len(silent) if self.drop_silent else 0)
        if not segments:
            message = f"{row.path}: all its {len(silent)} segments are silent"
            return Outcome("filtered", "cut", "silent", message, **known)
        return Outcome("ok", segments=segments, dropped_s=facts["dropped_s"], **known)


@dataclass(frozen=True)
class Work:
    """An input row on its way through the stages.

    `clips` are the frames for a later stage, from `Clips.as_clips`. `deferred` means that there are
    too many frames to send: the later stage reads them itself. `number` is that of the row among
    all inputs.
    """

    row: Row
    clips: np.ndarray | None = field(default=None, repr=False)
    outcome: Outcome | None = None
    deferred: bool = False
    number: int = 0

    @property
    def bytes(self) -> int:
        """The size of the input's file."""
        return self.row.bytes


def dancers_seen(row: Row, results: Mapping[str, Result | None], segments: int) -> list[int] | None:
    """Return how many dancers each of an input's segments shows.

    If a feature counted them, return its counts, otherwise the count of curation for each of
    `segments`, otherwise None.
    """
    for result in results.values():
        if result and result.facts.get("dancers_seen"):
            return result.facts["dancers_seen"]
    return None if row.dancers_seen is None else [row.dancers_seen] * segments


def settings_record(settings: Settings) -> dict[str, Any]:
    """Return the options, by flag, that compute the same features from another video.

    If two features share a flag, the value of the feature that is on is used.
    """
    record: dict[str, Any] = {}
    for feature in sorted(settings.features, key=lambda feature: feature.on):
        record |= feature.record()
    names = [feature.name for feature in settings.made if feature.name not in FEATURES.own]
    record |= {"feature": names} if names else {}
    record["window_s"] = settings.window_s
    sound = {name: getattr(settings, name) for name in ("no_sound", "audio_track", "drop_silent")}
    return record | {name: value for name, value in sound.items() if value}


def describe(source: Source, settings: Settings, shards: dict[str, list[Shard]]) -> Dataset:
    """Return the content of dataset.json, without codes."""
    window_s = Fraction(settings.window_s)
    fields = {feature.suffix: feature.spec(window_s) for feature in settings.made}
    if not settings.no_sound:
        shape = [window_samples(settings.window_s)]
        form = {"dtype": "int16", "shape": shape, "rate_hz": SAMPLE_RATE_HZ}
        fields[WAV] = {**form, **source.sound()}
    return Dataset(
        name=source.name,
        window_s=settings.window_s,
        fields=fields,
        build=settings_record(settings),
        splits=shards,
        source=str(settings.root),
        untrained=settings.untrained(),
    )
