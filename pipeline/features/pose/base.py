"""Who dances where: pose estimators and person detectors by name, and what each is asked.

An estimator's name is a kind of `--motion`; a detector's is one of `--detector`, which takes a file
and `untrained` too: those are torchvision's.

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
"""What is used where the user names none."""
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
"""A box less sure than this is nobody, to the detectors here; part of the results' keys."""


class PoseEstimator(Protocol):
    """Joints of persons. It is made with `weights` (WEIGHTS where the user named none) and
    `precision` (`float32` or `bf16`); `names`, `input_px` and `batch` hold after `setup`."""

    WEIGHTS: ClassVar[str]
    """The weights where the user names none, "" for one that has a single set."""
    INPUT: ClassVar[Literal["crops"]]
    """What it is called with: crops of persons that a detector found. There is no other yet."""

    names: tuple[str, ...]
    """The K joints, as in motion/body25.py; `to_body25` takes those that BODY_25 has."""
    input_px: tuple[int, int]
    """(w, h) of a crop: the person's box and a quarter more, grown to this shape."""
    batch: int
    """Crops of one forward pass: a result must not depend on how crops are grouped."""

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError, saying what to do, where it cannot be used."""
        ...

    def weights_id(self) -> str:
        """Return what identifies the weights: a hash of their file."""
        ...

    def setup(self) -> None:
        """Load the weights; called once in each worker, before the first call."""
        ...

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Return float32 (n, K, 3), x and y in px of the crop and score, for uint8 (n, h, w, 3)."""
        ...


class Detector(Protocol):
    """Persons' boxes. It is made with `weights`, what the user named it by (its registered name, or
    for torchvision's a file or `untrained`), and `precision` (`float32` or `bf16`)."""

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError, saying what to do, where it cannot be used."""
        ...

    def weights_id(self) -> str:
        """Return what identifies the weights: a hash of their file."""
        ...

    def setup(self) -> None:
        """Load the weights; called once in each worker, before the first call."""
        ...

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        """Return for each RGB frame, uint8 (n, H, W, 3), float32 (P, 5): x0, y0, x1, y1, score."""
        ...


def make_estimator(name: str, weights: str = "", precision: str = "float32") -> PoseEstimator:
    """Return the estimator by name, its weights not yet loaded; ValueError for an unknown one."""
    kind = ESTIMATORS.get(name)
    return kind(weights=weights or kind.WEIGHTS, precision=precision)


def make_detector(name: str, precision: str = "float32") -> Detector:
    """Return the detector that is registered under a name, or torchvision's with that file."""
    known = name if name in DETECTORS.names() else DETECTOR
    return DETECTORS.get(known)(weights=name, precision=precision)


def check_estimator(name: str, weights: str = "") -> None:
    """Raise FileNotFoundError or ValueError, saying what to do, where it cannot be used."""
    kind = ESTIMATORS.get(name)
    if kind.INPUT != "crops":
        raise ValueError(
            f"pose estimator {name!r} takes {kind.INPUT}; this version gives crops of persons"
        )
    make_estimator(name, weights).check()


def check_detector(name: str) -> None:
    """Raise FileNotFoundError or ValueError, saying what to do, where it cannot be used."""
    make_detector(name).check()


def estimator_id(name: str, weights: str = "") -> str:
    """Return what identifies an estimator and its weights in a result's key.

    Results of the first one are from a time when there was no other: its name is left out.
    """
    found = make_estimator(name, weights).weights_id()
    return found if name == ESTIMATOR else f"{name} {found}".strip()


def detector_id(name: str) -> str:
    """Return what identifies a detector and its weights in a result's key."""
    found = make_detector(name).weights_id()
    plugin = name in DETECTORS.names() and name not in DETECTORS.own
    return f"{name} {found}".strip() if plugin else found


def detector_name(text: str) -> str:
    """Return what names a detector; an argparse error for a word that is neither name nor file."""
    known = [*DETECTORS.names(), "untrained"]
    plain = text == Path(text).name and not Path(text).suffix and not Path(text).exists()
    if text and text not in known and plain:
        raise ArgumentTypeError(unknown("person detector", text, known) + " (or name a file)")
    return text
