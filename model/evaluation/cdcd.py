"""The published results of CDCD, and the rule that assigns a masked model to one of their rows.

Source: Zhu et al., "Discrete Contrastive Diffusion for Cross-Modal Music and Image Generation",
ICLR 2023: beats coverage, beats hit and genre accuracy in percent, and the mean opinion score, at
the high level with segments of 2 s. The paper's tables were not at hand: coverage and hit of
`step-wise, intra` on AIST++ are those of a third party's digest of the paper, all other figures are
from memory and unverified.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.evaluation.paper import AIST

D2M_GAN_ROW = "D2M-GAN"
CONDITIONS = ("vector", "aligned")
"""The columns of our runs: one vector for a segment, as in CDCD's code, or aligned in time."""

CDCD: dict[str, dict[str, tuple[tuple[float, ...], float | None]]] = {
    AIST: {
        "ground truth": ((100.0, 100.0, 88.5), 4.7),
        D2M_GAN_ROW: ((88.2, 84.7, 24.4), 3.3),
        "vanilla": ((89.0, 83.8, 25.3), 3.3),
        "step-wise, intra": ((93.9, 90.7, 25.8), 3.6),
        "sample-wise, inter": ((91.8, 86.9, 27.2), 3.6),
    },
    "TikTok": {
        D2M_GAN_ROW: ((88.4, 82.3), None),
        "vanilla": ((88.7, 81.4), None),
        "step-wise, intra": ((91.8, 86.3), None),
    },
}
"""By data set and row: cover, hit and, on AIST++, genre; and the mean opinion score, 1 to 5."""


def variant_of(config: Mapping[str, Any]) -> str:
    """Return the row of a masked model's settings; combinations CDCD lacks have names alike."""
    if config["contrast"] == "none":
        return "vanilla"
    return f"{config['contrast']}-wise, {config['negatives']}"
