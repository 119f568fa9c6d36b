"""The interfaces and registries of pose estimators and person detectors.

The name of an estimator is a value of `--motion`, that of a detector a value of `--detector`.
`--detector` also accepts a file and `untrained`, for the torchvision detectors.

Legend: n crops or frames, H height, W width, P persons, K joints, J those of a detector.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from model.contract.registry import Registry, unknown
from pipeline.features.runtime import TORCH, runtime_of

if TYPE_CHECKING:
    import numpy as np

ESTIMATOR, DETECTOR = "mmpose", "fasterrcnn_mobilenet"
"""The defaults."""
ESTIMATORS = Registry(
    "pose",
    "pose estimator",
    {
        ESTIMATOR: "pipeline.features.pose.estimator_mmpose:PoseNet",
        "blazepose": "pipeline.features.pose.blazepose:BlazePose",
        "movenet": "pipeline.features.pose.movenet:MoveNet",
    },
)
DETECTORS = Registry(
    "detectors",
    "person detector",
    {
        DETECTOR: "pipeline.features.pose.detector_torchvision:Detector",
        "fasterrcnn_resnet50": "pipeline.features.pose.detector_torchvision:Detector",
        "movenet": "pipeline.features.pose.movenet:MoveNet",
    },
)
PUBLISHED = "hrnet_w32_wholebody, hrnet_w32_coco"
ESTIMATOR_OF = {
    "blazepose_full": "blazepose",
    "blazepose_heavy": "blazepose",
    "movenet_multipose": "movenet",
}
"""The estimator of published weights, for commands that take only these. Others are mmpose's."""
MIN_SCORE = 0.5
"""The detectors of this project drop boxes with a lower score; part of the results' keys."""


class PoseEstimator(Protocol):
    """Estimates the joints of persons.

    The class is called with `weights` (default WEIGHTS) and `precision` (`float32` or `bf16`), and
    with `runtime` if that is not torch but one of its RUNTIMES.
    `names`, `input_px` and `batch` are valid after `setup`.
    """

    WEIGHTS: ClassVar[str]
    """The default weights; "" if there is only one set."""
    INPUT: ClassVar[Literal["crops", "frames"]]
    """The kind of input: crops of detected persons, or complete frames. For frames it returns
    persons and joints in the form of a detector of joints (see `Detector`)."""

    names: tuple[str, ...]
    """The names of the K joints, as in motion/body25.py; `to_body25` uses those in BODY_25."""
    input_px: tuple[int, int]
    """(w, h) of a crop: the person's box, enlarged by a quarter and extended to this shape. A
    `Placing` estimator places its crops itself."""
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


class Placing(PoseEstimator, Protocol):
    """An estimator of crops that decides where they lie. For others it is the box with a margin."""

    DETECTOR: ClassVar[str]
    """The detector that is used if the user names none."""

    def places(self, people: np.ndarray) -> np.ndarray:
        """Return where crops lie: float64 (n, 2, 3), from px of a crop to px of the frame.

        A row of `people` (n, 4 + 3 J) is a box and J joints (x, y, score); J is 0 if the detector
        finds boxes only.
        """
        ...

    def settle(self, joints: np.ndarray, people: np.ndarray) -> np.ndarray:
        """Return the final joints (n, K, 3) in px of the frame; `people` as in `places`."""
        ...


class Detector(Protocol):
    """Detects the boxes of persons.

    The class is called with `weights` (the name that the user gave: the registered name, or for
    the torchvision detectors a file or `untrained`) and `precision` (`float32` or `bf16`), and with
    `runtime` if that is not torch but one of its RUNTIMES.
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
        """Return for each RGB frame, uint8 (n, H, W, 3), float32 (P, 5): x0, y0, x1, y1, score.

        A detector of joints returns (P, 5 + 3 J): x, y and score of each joint behind the box.
        """
        ...


def joints_of(people: np.ndarray) -> np.ndarray:
    """Return a view of the joints (n, J, 3) of persons (n, 4 + 3 J); n and J may be 0."""
    return people[:, 4:].reshape(len(people), (people.shape[1] - 4) // 3, 3)


def make_estimator(
    name: str, weights: str = "", precision: str = "float32", runtime: str = TORCH
) -> PoseEstimator:
    """Return the estimator with this name, without loading its weights.

    Raises ValueError for an unknown name, or one that the runtime cannot run.
    """
    kind = ESTIMATORS.get(name)
    more = runtime_of(kind, name, runtime)
    return kind(weights=weights or kind.WEIGHTS, precision=precision, **more)


def make_detector(name: str, precision: str = "float32", runtime: str = TORCH) -> Detector:
    """Return the detector registered under this name, or the torchvision detector of this file.

    Raises ValueError for one that the runtime cannot run.
    """
    kind = DETECTORS.get(name if name in DETECTORS.names() else DETECTOR)
    return kind(weights=name, precision=precision, **runtime_of(kind, name, runtime))


def check_estimator(name: str, weights: str = "") -> None:
    """Raise FileNotFoundError or ValueError, with advice, if it is unusable."""
    if (given := ESTIMATORS.get(name).INPUT) not in ("crops", "frames"):
        raise ValueError(
            f"pose estimator {name!r} needs {given}; only crops of persons and frames are supported"
        )
    make_estimator(name, weights).check()


def takes_frames(net: object) -> bool:
    """Return whether an estimator, or its class, finds its own people in complete frames."""
    return getattr(net, "INPUT", "crops") == "frames"


def detector_for(estimator: str, named: str = "") -> str:
    """Return the name of the detector that the estimator needs; "" if it finds persons itself.

    Raises ValueError if the user names a detector for such an estimator.
    """
    kind = ESTIMATORS.get(estimator)
    if not takes_frames(kind):
        return named or getattr(kind, "DETECTOR", DETECTOR)
    if named:
        raise ValueError(f"--detector {named}: {estimator} finds its own people; leave it out")
    return ""


def usual_estimator(weights: str = "") -> tuple[str, str]:
    """Return the name of the estimator for `--motion auto`, and the reason for this choice.

    It is that of the weights, if the user names some; else mmpose, if it is installed and its
    weights are in their folder; else blazepose. No file is read.
    """
    from importlib.util import find_spec

    from pipeline.weights.table import lookup

    if weights:
        return ESTIMATOR_OF.get(weights, ESTIMATOR), f"for --pose-weights {weights}"
    if find_spec("mmpose") is None:
        return "blazepose", "mmpose is not installed"
    wanted = (ESTIMATORS.get(ESTIMATOR).WEIGHTS, DETECTOR)
    if missing := [name for name in wanted if not lookup(name).path.is_file()]:
        return "blazepose", f"mmpose is installed, but its weights {missing[0]} are not there"
    return ESTIMATOR, "it is installed, with its weights"


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
