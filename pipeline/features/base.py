"""The interface of a feature of a segment: one class has everything that a build needs of it.

A feature is a frozen dataclass. Fields made by `option` are its options: arguments in Python, and
flags of `pipeline build`. All other fields are set by `ready`. The two features of this project
are always available. A feature of another package is registered under `dance2music.features` and
selected by `--feature NAME`; the easiest way to write one is a subclass of `SegmentArray`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from model.contract.options import option, recorded
from model.contract.precision import AUTO, PRECISIONS
from model.contract.registry import Registry
from pipeline.features.runtime import RUNTIMES, TORCH, runtime_facts

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
"""In the order of processing: a stage of the first feature may also decode for the second one."""
RESERVED = ("cut", "pose", "codes", "curate", "people", "voices")
"""Names that other kinds of stored results use; a feature cannot have them."""

Arrays = Mapping[str, "np.ndarray"]
Maker = Callable[["Row", "Result", "Video"], tuple[Arrays, Mapping[str, Any]]]
"""Computes a feature of one input with known windows; returns the arrays and facts to store."""


def precision() -> Any:
    """Return the option `precision`, which all features with networks share.

    A build replaces `auto` before it calls `ready` (pipeline/features/precision.py).
    """
    return option(
        AUTO,
        "number format of the networks: float32, bf16, or auto (default): bf16 where the hardware "
        "is faster with it (a GPU, or a CPU with AMX), else float32",
        choices=PRECISIONS,
    )


def runtime() -> Any:
    """Return the option `runtime`, which all features with networks share.

    It is recorded, and part of keys, only if it is not torch: earlier results keep their keys.
    """
    return option(
        TORCH,
        "library that runs the networks: torch (default), or openvino, which is faster on CPUs",
        choices=RUNTIMES,
        record=recorded_runtime,
    )


def recorded_runtime(runtime: str) -> str:
    """Return how dataset.json's `build` records a runtime: "", which it leaves out, for torch."""
    return runtime_facts(runtime).get("runtime", "")


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
        """Return how to read the frames that a later stage still needs; None if none are needed."""
        ...

    def end(self, stage: str, row: Row, outcome: Outcome) -> Outcome:
        """Store how a stage ended for an input, and return it as the report has it."""
        ...


class Clips(Protocol):
    """How to read the frames that a later stage needs, as short sequences (clips).

    The stage that decodes the video reads them too, so the video is decoded only once.

    `cut` is the stored result that contains the windows.
    """

    NAME: str
    """The name of the feature."""

    def clip_request(self, settings: BuildSettings, row: Row, cut: Result) -> FrameRequest:
        """Return which frames the stage needs, and in which size."""
        ...

    def clip_parts(self, settings: BuildSettings, cut: Result) -> int:
        """Return the number of parts to read; if there are several, the stage reads them itself."""
        ...

    def as_clips(self, settings: BuildSettings, frames: np.ndarray) -> np.ndarray:
        """Convert the requested frames to the array that is sent to the stage, in `Work.clips`."""
        ...

    def read_clips(
        self, settings: BuildSettings, row: Row, cut: Result, video: Video
    ) -> np.ndarray:
        """Decode only these frames, and return the array that is sent to the stage."""
        ...


@dataclass(frozen=True)
class Feature:
    """One array for every segment. Methods that are not overridden do nothing.

    `name` is the name of its results in the ledger and of their array, which is (n, …) for n
    windows. `suffix` is the suffix of its file in a tar.
    """

    name: ClassVar[str] = ""
    suffix: ClassVar[str] = ""
    VERSION: ClassVar[int] = 1
    """Increase it when the code gives other results: older results are then computed again.

    Motion and Visual have stages of their own, each with its number in STAGE_VERSIONS.
    """

    @classmethod
    def off(cls) -> Feature:
        """Return the feature switched off; only for features that are always available."""
        raise ValueError(f"{cls.name}: cannot be switched off; leave it out")

    @property
    def on(self) -> bool:
        """Whether the feature is computed."""
        return True

    @property
    def results(self) -> tuple[str, ...]:
        """Names of the results that it stores for an input; the last one is the feature itself."""
        return (self.name,)

    @property
    def annotations(self) -> AnnotationFiles | None:
        """The names of the annotation files that it reads; None if it reads none."""
        return None

    @property
    def annotations_dir(self) -> Path | None:
        """The folder of these files; None for the default folder of the source."""
        return None

    @property
    def decodes(self) -> bool:
        """Whether one of its stages decodes the video, also for the features after it."""
        return False

    def for_source(self, source: Source) -> Self:
        """Return the feature with the defaults of the source filled in."""
        return self

    def choices(self) -> list[str]:
        """Return what was chosen for the user, in words: a build says it first."""
        return []

    def check(self, window_s: Fraction) -> None:
        """Raise ValueError or FileNotFoundError, with advice, if the options are unusable.

        It is called before any work. It may load the networks to check their files.
        """

    def ready(self, window_s: Fraction) -> Self:
        """Check the feature, and return it with the ids of its weights filled in.

        Raises the same errors as `check`. It is also called for a feature that is off.
        """
        if self.on:
            self.check(window_s)
        return self

    def key(self, row: Row, cut: Mapping[str, Any], result: str) -> str:
        """Return the key of one of its results: a hash of everything that affects the result.

        `cut` is the configuration that determines the windows.
        """
        from pipeline.engine.ledger import result_key

        config = {**cut, **self.record()}
        return result_key(row.sha256, self.name, config, self.weights_name(), self.VERSION)

    def published_weights(self) -> list[str]:
        """Return the names, for `pipeline weights fetch`, of the published weights it uses."""
        return []

    def weights_name(self) -> str:
        """Return the id of the weights for the key: a hash of their file; "" without weights."""
        return ""

    def spec(self, window_s: Fraction) -> dict[str, Any]:
        """Return the feature's entry in dataset.json: `dtype`, `shape`, and how it was computed."""
        raise NotImplementedError

    def notes(self) -> list[str]:
        """Return sentences that name the parts computed with untrained weights."""
        return []

    def record(self) -> dict[str, Any]:
        """Return its options for `build` in dataset.json, by the names of their flags."""
        return recorded(self)

    def maker(self, settings: BuildSettings) -> Maker | None:
        """Return the function that computes it in the extract stage, with its models loaded.

        None if the extract stage does not compute it. It is called once in each worker.
        """
        return None

    def clips(self) -> Clips | None:
        """Return how to read the frames for its stages; None if they need no frames."""
        return None

    def stages(self, settings: BuildSettings) -> list[Stage]:
        """Return the stages after the extract stage that compute it."""
        return []


@dataclass(frozen=True)
class SegmentArray(Feature):
    """A feature computed by one function from a video and its windows: one float32 array a segment.

    A subclass sets `name` and `shape`, has its options as fields, and defines `compute`.
    """

    shape: ClassVar[tuple[int, ...]] = ()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.suffix = cls.__dict__.get("suffix") or f"{cls.name}.npy"

    def load(self) -> Any:
        """Return objects for `compute` that are slow to load; called once in each worker."""

    def compute(
        self, video: Path, windows: Sequence[tuple[Fraction, Fraction]], loaded: Any
    ) -> np.ndarray:
        """Return (n, *shape) for n windows: (start, stop) in seconds on the video's clock.

        `loaded` is the result of `load`. If the file is the problem, raise StageError
        (pipeline/engine/outcome.py) with a code of its closed list: the input gets that outcome.
        """
        raise NotImplementedError

    def spec(self, window_s: Fraction) -> dict[str, Any]:
        return {"dtype": "float32", "shape": list(self.shape)}

    def maker(self, settings: BuildSettings) -> Maker:
        import numpy as np

        loaded, window_s = self.load(), Fraction(settings.window_s)

        def make(row: Row, cut: Result, video: Video) -> tuple[Arrays, Mapping[str, Any]]:
            windows = windows_of(cut, window_s)
            made = np.asarray(self.compute(video.path, windows, loaded), np.float32)
            if made.shape != (len(windows), *self.shape) or not np.isfinite(made).all():
                raise ValueError(
                    f"{self.name} returned an array {made.shape}, expected ({len(windows)}, "
                    f"{', '.join(map(str, self.shape))}) of finite numbers; fix that feature"
                )
            return {self.name: made}, {}

        return make


def windows_of(cut: Result, window_s: Fraction) -> list[tuple[Fraction, Fraction]]:
    """Return the windows of a video, (start, stop) in seconds, from its result `cut`."""
    starts_s = [Fraction(start_s) for start_s in cut.facts["starts_s"]]
    return [(start_s, start_s + window_s) for start_s in starts_s]


def feature_class(name: str) -> type[Feature]:
    """Return the class registered under a name.

    Raises ValueError for an unknown name, a package that cannot be imported, and a class whose
    names conflict with those of another feature.
    """
    found = FEATURES.get(name)
    if not (isinstance(found, type) and issubclass(found, Feature)):
        raise ValueError(f"feature {name!r}: {found!r:.80} is no subclass of Feature; fix it")
    if found.name != name or name in RESERVED or found.suffix in ("", "wav", "json"):
        raise ValueError(
            f"feature {name!r}: its class has name = {found.name!r}, suffix = {found.suffix!r}; "
            f"the name must be {name!r} and none of {', '.join(RESERVED)}; the suffix must be its "
            "own, not wav or json"
        )
    return found


def recorded_weights(weights: str) -> str:
    """Return how dataset.json records weights: a name as it is, a path as an absolute path.

    Names are those of the published weights, and any word that does not name a file.
    """
    from pathlib import Path

    from pipeline.weights.table import TABLE

    word = not set(weights) & set("/\\.:") and not Path(weights).exists()
    if word or weights in ("", "kinetics", "untrained", *(weight.name for weight in TABLE)):
        return weights
    config, colon, file = "", "", weights
    if not Path(weights).exists():  # CONFIG.py:FILE
        config, colon, file = weights.rpartition(":")
    return f"{Path(config).resolve() if colon else ''}{colon}{Path(file).resolve()}"
