"""The results of the paper, and the rules that assign a run to one of its table rows.

Source: the tables on AIST++ and TikTok of Zhu et al., ECCV 2022: beats coverage, beats hit and
genre accuracy in percent (TikTok has no genres). The means have no intervals. With 86 test segments
of 10 songs, genre accuracy has about 9 points of noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Figures = tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, and cover, hit and genre accuracy at both levels."""

    name: str
    high: Figures
    low: Figures


OTHERS = {
    "Dance2Music": (83.5, 82.4, 7.0),
    "Foley Music": (74.1, 69.4, 8.1),
    "CMT": (85.5, 83.5, 11.6),
}
"""Other methods on AIST++, which have no level."""

FULL, AIST = "full model", "AIST++"
TABLES: dict[str, tuple[Row, ...]] = {
    AIST: (Row(FULL, (88.2, 84.7, 24.4), (92.3, 91.7, 26.7)),),
    "segment length": (
        Row("3 s", (88.2, 85.3, 25.6), (90.1, 88.2, 25.6)),
        Row("4 s", (87.1, 83.0, 23.3), (88.2, 84.7, 23.3)),
    ),
    "inputs": (
        Row("without motion", (83.5, 82.9, 15.1), (89.4, 87.6, 15.1)),
        Row("without visual", (87.1, 88.2, 16.3), (90.6, 90.0, 17.4)),
    ),
    "losses": (
        Row("without L_FM", (85.3, 84.7, 23.3), (91.7, 90.1, 24.4)),
        Row("without L_wav", (85.9, 84.7, 23.3), (89.4, 88.8, 23.3)),
        Row("without L_mel", (77.6, 76.5, 18.6), (78.8, 77.1, 17.4)),
    ),
    "design": (
        Row("1 discriminator", (75.3, 72.9, 9.3), (73.5, 71.8, 8.1)),
        Row("2 discriminators", (85.3, 82.9, 21.0), (87.0, 85.9, 22.1)),
        Row("no sigma scaling", (72.9, 71.8, 14.0), (72.4, 70.1, 12.8)),
        Row("no reshape", (73.5, 70.1, 11.6), (73.5, 71.8, 12.8)),
        Row("no decoder fine-tuning", (87.0, 84.7, 24.4), (92.3, 91.2, 26.7)),
    ),
}
TIKTOK: tuple[Row, ...] = (
    Row(FULL, (88.4, 82.3), (87.1, 83.9)),
    Row("without motion", (85.5, 72.4), (83.8, 74.6)),
    Row("without visual", (86.3, 81.7), (85.2, 81.7)),
)


def row_of(config: Mapping[str, Any], window_s: str, finetuned: bool, any_finetuned: bool) -> str:
    """Return the name of the paper's row for a run: its changes of the full model, with commas.

    `finetuned` says whether the run's decoder was fine-tuned, `any_finetuned` whether that of any
    run in the same table was. Only in the latter case, runs without fine-tuning get their own row.
    Combinations that the paper does not have give a name that is in no table.
    """
    weights = config["weights"]
    changed = {
        f"{float(Fraction(window_s)):g} s": Fraction(window_s) != 2,
        "without motion": not config["use_motion"],
        "without visual": not config["use_visual"],
        "without L_adv": not weights["adversarial"],
        "without L_FM": not weights["feature"],
        "without L_code": not weights["codebook"],
        "without L_wav": not weights["wave"],
        "without L_mel": not weights["mel"],
        "1 discriminator": config["discriminators"] == 1,
        "2 discriminators": config["discriminators"] == 2,
        "no sigma scaling": config["sigma"] == 1,
        "no reshape": config["reshape"] == "none",
        "no decoder fine-tuning": any_finetuned and not finetuned,
        "genre as an input": config["use_genre"],
        "network of the paper": config["arch"] == "paper",
    }
    return ", ".join(name for name, applies in changed.items() if applies) or FULL
