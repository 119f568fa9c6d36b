"""What a feature of a segment is: everything that a build asks of one, in one class.

A feature is a frozen dataclass. Fields made by `option` are its options, for users of Python and,
as flags, of `pipeline build`; all other fields are filled in by `ready`. The two that the
project has are always at hand. One of another package is registered under `dance2music.features`
and named by `--feature NAME`; `SegmentArray` is the short way to write one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from model.contract.options import option, recorded
from model.contract.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    import numpy as np

    from pipeline.engine.base import Stage
    from pipeline.engine.ledger import Ledger, Result
    from pipeline.engine.outcome import Outcome
    from pipeline.media.reader import FrameRequest, Video
    from pipeline.sources.base import Source
    from pipeline.sources.listing import AnnotationFiles
    from pipeline.sources.manifest import Row

FEATURES = Registry(
    "features",
    "feature",
    {
        "motion": "pipeline.features.motion.base:Motion",
        "visual": "pipeline.features.visual.base:Visual",
    },
)
"""In the order in which they are worked on: a stage of the first may decode for the second."""
RESERVED = ("cut", "pose", "codes", "curate", "people")
"""Names under which results of other kinds are stored."""

Arrays = Mapping[str, "np.ndarray"]
Maker = Callable[["Row", "Result", "Video"], tuple[Arrays, Mapping[str, Any]]]
"""Make a feature of one input whose windows are known: arrays and facts, to be stored."""


def precision() -> Any:
    """Return the option that all features with networks share: one flag sets it for all."""
    return option(
        "float32", "arithmetic of the networks (default float32)", choices=["float32", "bf16"]
    )


class BuildSettings(Protocol):
    """What a feature may know of the build that it is part of (`pipeline.features.plan.Settings`).

    `root` is the folder of the videos, `motion_root` that of the annotations, `window_s` the length
    of a segment as a fraction in text, `item_limit_s` how long a stage may work on one video.
    """

    @property
    def root(self) -> Path: ...
    @property
    def motion_root(self) -> Path: ...
    @property
    def window_s(self) -> str: ...
    @property
    def item_limit_s(self) -> float: ...
    @property
    def ledger(self) -> Ledger: ...

    def feature(self, name: str) -> Any:
        """Return the feature of a name."""
        ...

    def key(self, result: str, row: Row) -> str:
        """Return the key under which a result of an input is stored."""
        ...

    def has(self, result: str, row: Row) -> bool:
        """Return whether a result is stored."""
        ...

    def clips(self, row: Row) -> Clips | None:
        """Return how the frames of an input are read that a later stage still waits for."""
        ...

    def end(self, stage: str, row: Row, outcome: Outcome) -> Outcome:
        """Store how a stage ended for an input, and return it as the report has it."""
        ...


class Clips(Protocol):
    """How frames are read for a stage that looks at clips; a video is decoded once for all stages.

    `cut` is the stored result that has the windows.
    """

    NAME: str
    """The feature's."""

    def clip_request(self, settings: BuildSettings, row: Row, cut: Result) -> FrameRequest:
        """Return which frames the stage looks at, and how large."""
        ...

    def clip_parts(self, settings: BuildSettings, cut: Result) -> int:
        """Return in how many parts they are read: the stage itself reads more than one."""
        ...

    def as_clips(self, settings: BuildSettings, frames: np.ndarray) -> np.ndarray:
        """Return the frames that were asked for as what travels to the stage, in `Work.clips`."""
        ...

    def read_clips(
        self, settings: BuildSettings, row: Row, cut: Result, video: Video
    ) -> np.ndarray:
        """Decode them, and nothing else, and return what travels."""
        ...


@dataclass(frozen=True)
class Feature:
    """One array of every segment. What is not overridden does nothing.

    `name` is that of its results in the ledger, whose array has the name too, (n, …) for n windows;
    `suffix` is that of its member in a tar.
    """

    name: ClassVar[str] = ""
    suffix: ClassVar[str] = ""
    VERSION: ClassVar[int] = 1
    """Raise it when the code gives other results: the older ones are made again."""

    @classmethod
    def off(cls) -> Feature:
        """Return the feature switched off; for those that are always at hand."""
        raise ValueError(f"{cls.name}: cannot be switched off; leave it out")

    @property
    def on(self) -> bool:
        """Whether it is made at all."""
        return True

    @property
    def results(self) -> tuple[str, ...]:
        """Names of the results that it stores for an input; the last is the feature itself."""
        return (self.name,)

    @property
    def annotations(self) -> AnnotationFiles | None:
        """How the files that it reads beside the videos are called, None where it reads none."""
        return None

    @property
    def annotations_dir(self) -> Path | None:
        """Where the user says that they lie, None for the source's usual places."""
        return None

    @property
    def decodes(self) -> bool:
        """Whether one of its stages decodes the picture, for the features after it too."""
        return False

    def for_source(self, source: Source) -> Self:
        """Return the feature with what it leaves to the source filled in."""
        return self

    def check(self, window_s: Fraction) -> None:
        """Raise ValueError or FileNotFoundError, saying what to do, for options that are no use.

        It is called before any work, and may load the networks to see that their files are right.
        """

    def ready(self, window_s: Fraction) -> Self:
        """Check the feature, and return it with what identifies its weights filled in.

        Raises what `check` raises. It is called for a feature that is off too.
        """
        if self.on:
            self.check(window_s)
        return self

    def key(self, row: Row, cut: Mapping[str, Any], result: str) -> str:
        """Return the key under which one of its results is stored: of all that decides it.

        `cut` is the configuration that decides the windows.
        """
        text = json.dumps(
            [self.VERSION, row.sha256, self.name, {**cut, **self.record()}, self.weights_name()],
            sort_keys=True,
        )
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def weights_name(self) -> str:
        """Return what identifies the weights, for the key: a hash of their file; "" without."""
        return ""

    def spec(self, window_s: Fraction) -> dict[str, Any]:
        """Return the member's entry in dataset.json: `dtype`, `shape`, and what made it."""
        raise NotImplementedError

    def notes(self) -> list[str]:
        """Return what of it is made with untrained weights, in words."""
        return []

    def record(self) -> dict[str, Any]:
        """Return its options for dataset.json's `build`, by the names of their flags."""
        return recorded(self)

    def maker(self, settings: BuildSettings) -> Maker | None:
        """Return what makes it in the extract stage, its models loaded; None where no such does.

        It is called once in each worker.
        """
        return None

    def clips(self) -> Clips | None:
        """Return how frames are read for its stages, None where these ask for none."""
        return None

    def stages(self, settings: BuildSettings) -> list[Stage]:
        """Return the stages that make it, after the extract stage."""
        return []


@dataclass(frozen=True)
class SegmentArray(Feature):
    """A feature that a function makes of a video and its windows: one float32 array a segment.

    A subclass sets `name` and `shape`, has its options as fields, and writes `compute`.
    """

    shape: ClassVar[tuple[int, ...]] = ()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.suffix = cls.__dict__.get("suffix") or f"{cls.name}.npy"

    def load(self) -> Any:
        """Return what `compute` needs and what takes long to make; called once in each worker."""

    def compute(
        self, video: Path, windows: Sequence[tuple[Fraction, Fraction]], loaded: Any
    ) -> np.ndarray:
        """Return (n, *shape) for n windows: (start, stop) in seconds on the video's clock.

        `loaded` is what `load` gave. Raise StageError (pipeline/engine/outcome.py) with a code of
        the closed list where the file is at fault: its input then ends with that code.
        """
        raise NotImplementedError

    def spec(self, window_s: Fraction) -> dict[str, Any]:
        return {"dtype": "float32", "shape": list(self.shape)}

    def maker(self, settings: BuildSettings) -> Maker:
        import numpy as np

        loaded, window_s = self.load(), Fraction(settings.window_s)

        def make(row: Row, cut: Result, video: Video) -> tuple[Arrays, Mapping[str, Any]]:
            starts_s = [Fraction(start_s) for start_s in cut.facts["starts_s"]]
            windows = [(start_s, start_s + window_s) for start_s in starts_s]
            made = np.asarray(self.compute(video.path, windows, loaded), np.float32)
            if made.shape != (len(windows), *self.shape) or not np.isfinite(made).all():
                raise ValueError(
                    f"{self.name} gave an array {made.shape}, expected ({len(windows)}, "
                    f"{', '.join(map(str, self.shape))}) of finite numbers; mend that feature"
                )
            return {self.name: made}, {}

        return make


def feature_class(name: str) -> type[Feature]:
    """Return the class registered under a name.

    Raises ValueError for an unknown name, a package that cannot be imported, and a class that
    cannot stand beside the others in a data set.
    """
    found = FEATURES.get(name)
    if not (isinstance(found, type) and issubclass(found, Feature)):
        raise ValueError(f"feature {name!r}: {found!r:.80} is no subclass of Feature; mend it")
    if found.name != name or name in RESERVED or found.suffix in ("", "wav", "json"):
        raise ValueError(
            f"feature {name!r}: its class is named {found.name!r}, its member {found.suffix!r}; "
            f"both must be its own, the name the registered one and none of {', '.join(RESERVED)}"
        )
    return found


def recorded_weights(weights: str) -> str:
    """Return how dataset.json names weights: by their name, or by a path that holds anywhere.

    Names are those of the published weights, and any word that is no file's.
    """
    from pathlib import Path

    from pipeline.weights.table import TABLE

    word = not set(weights) & set("/\\.:") and not Path(weights).exists()
    if word or weights in ("kinetics", "untrained", *(weight.name for weight in TABLE)):
        return weights
    config, colon, file = "", "", weights
    if not Path(weights).exists():  # CONFIG.py:FILE
        config, colon, file = weights.rpartition(":")
    return f"{Path(config).resolve() if colon else ''}{colon}{Path(file).resolve()}"
