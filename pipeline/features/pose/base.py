"""The interfaces and registries of pose estimators and person detectors.

The name of an estimator is a value of `--motion`, that of a detector a value of `--detector`.
`--detector` also accepts a file and `untrained`, for the torchvision detectors.

Legend: n crops or frames, H height, W width, P persons, K joints.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from model.contract.registry import Registry, unknown

if TYPE_CHECKING:
    import numpy as np

ESTIMATOR, DETECTOR = "mmpose", "fasterrcnn_mobilenet"
"""The defaults."""
ESTIMATORS = Registry(
    "pose", "pose estimator", {ESTIMATOR: "pipeline.features.pose.estimator_mmpose:PoseNet"}
)
DETECTORS = Registry(
    "detectors",
    "person detector",
    dict.fromkeys(
        (DETECTOR, "fasterrcnn_resnet50"),
        "pipeline.features.pose.detector_torchvision:Detector",
    ),
)
PUBLISHED = "hrnet_w32_wholebody, hrnet_w32_coco"
MIN_SCORE = 0.5
"""The detectors of this project drop boxes with a lower score; part of the results' keys."""


class PoseEstimator(Protocol):
    """Estimates the joints of persons.

    The class is called with `weights` (default WEIGHTS) and `precision` (`float32` or `bf16`).
    `names`, `input_px` and `batch` are valid after `setup`.
    """

    WEIGHTS: ClassVar[str]
    """The default weights; "" if there is only one set."""
    INPUT: ClassVar[Literal["crops"]]
    """The kind of input: crops of detected persons. Other kinds are not supported yet."""

    names: tuple[str, ...]
    """The names of the K joints, as in motion/body25.py; `to_body25` uses those in BODY_25."""
    input_px: tuple[int, int]
    """(w, h) of a crop: the person's box, enlarged by a quarter and extended to this shape."""
    batch: int
    """Crops per forward pass; a result must not depend on how crops are grouped."""

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError, with advice, if it is unusable."""
        ...

    def weights_id(self) -> str:
        """Return the id of the weights: a hash of their file."""
        ...

    def setup(self) -> None:
        """Load the weights; called once in each worker, before the first call."""
        ...

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Return float32 (n, K, 3), x and y in px of the crop and score, for uint8 (n, h, w, 3)."""
        ...


class Detector(Protocol):
    """Detects the boxes of persons.

    The class is called with `weights` (the name that the user gave: the registered name, or for
    the torchvision detectors a file or `untrained`) and `precision` (`float32` or `bf16`).
    """

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError, with advice, if it is unusable."""
        ...

    def weights_id(self) -> str:
        """Return the id of the weights: a hash of their file."""
        ...

    def setup(self) -> None:
        """Load the weights; called once in each worker, before the first call."""
        ...

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        """Return for each RGB frame, uint8 (n, H, W, 3), float32 (P, 5): x0, y0, x1, y1, score."""
        ...


def make_estimator(name: str, weights: str = "", precision: str = "float32") -> PoseEstimator:
    """Return the estimator with this name, without loading its weights.

    Raises ValueError for an unknown name.
    """
    kind = ESTIMATORS.get(name)
    return kind(weights=weights or kind.WEIGHTS, precision=precision)


def make_detector(name: str, precision: str = "float32") -> Detector:
    """Return the detector registered under this name, or the torchvision detector of this file."""
    known = name if name in DETECTORS.names() else DETECTOR
    return DETECTORS.get(known)(weights=name, precision=precision)


def check_estimator(name: str, weights: str = "") -> None:
    """Raise FileNotFoundError or ValueError, with advice, if it is unusable."""
    kind = ESTIMATORS.get(name)
    if kind.INPUT != "crops":
        raise ValueError(
            f"pose estimator {name!r} needs {kind.INPUT}; only crops of persons are supported"
        )
    make_estimator(name, weights).check()


def check_detector(name: str) -> None:
    """Raise FileNotFoundError or ValueError, with advice, if it is unusable."""
    make_detector(name).check()


def estimator_id(name: str, weights: str = "") -> str:
    """Return the id of an estimator and its weights for the key of a result.

    The name of the first estimator is left out, to keep the keys from before others existed.
    """
    found = make_estimator(name, weights).weights_id()
    return found if name == ESTIMATOR else f"{name} {found}".strip()


def detector_id(name: str) -> str:
    """Return the id of a detector and its weights for the key of a result."""
    found = make_detector(name).weights_id()
    plugin = name in DETECTORS.names() and name not in DETECTORS.own
    return f"{name} {found}".strip() if plugin else found


def detector_name(text: str) -> str:
    """Return `text` if it names a detector or a file; else raise an argparse error."""
    known = [*DETECTORS.names(), "untrained"]
    plain = text == Path(text).name and not Path(text).suffix and not Path(text).exists()
    if text and text not in known and plain:
        raise ArgumentTypeError(unknown("person detector", text, known) + " (or name a file)")
    return text
