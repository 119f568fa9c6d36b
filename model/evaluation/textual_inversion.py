"""The published results of encoder-based textual inversion, and our runs beside them.

Source: Li et al., "Dance-to-Music Generation with Encoder-based Textual Inversion", SIGGRAPH Asia
2024, AIST++, segments of 5.12 s. The paper's tables were not at hand: the figures are those of a
third party's summary of the paper. An independent retest, with LORIS's bins of 1 s and on four
tracks that no model was trained on, is that of the paper of PF-D2M (arXiv 2601.15872).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from model.contract.kinds import INVERSION
from model.evaluation.cells import cell, markdown, seconds
from model.measures.base import MEASURED
from model.measures.embeddings import CLAP, SIMILARITY, VGGISH, similarity_measures
from model.measures.rhythm import FIFTHS, LORIS

FIGURES = ("BCS", "BHS", "F1", "TD, BPM", "FAD", "CLAP", "coherence", "quality")
NOT_REPORTED = ("–",) * 6
PUBLISHED: dict[str, tuple[str, ...]] = {
    "ground truth": (*NOT_REPORTED, "4.26", "4.25"),
    "CMT": (".3368", ".1515", ".2090", "21.74", "16.54", ".4454", "1.79", "3.08"),
    "CDCD": (".4233", ".2151", ".2852", "19.25", "16.47", ".3032", "2.02", "1.35"),
    "LORIS": (".3721", ".3371", ".3537", "17.80", "13.15", ".6180", "2.56", "2.42"),
    "MDM": (".3798", ".4185", ".3982", "22.96", "4.812", ".5793", "2.97", "2.58"),
    "Li et al., AudioLDM": (
        ".4419", ".3605", ".3971", "22.73", "8.522", ".7030", "2.95", "3.02",
    ),
    "Li et al., MusicGen": (
        ".4118", ".3874", ".3992", "16.06", "6.014", ".4685", "3.56", "3.54",
    ),
    "Li et al., Riffusion": (
        ".4761", ".4398", ".4572", "20.34", "3.416", ".7680", "3.24", "3.15",
    ),
}  # fmt: skip
"""Li et al.'s rows with the digits as published; opinions are from 1 to 5, and higher is better."""

RETESTED = ("BCS %", "CSD %", "BHS %", "HSD %", "F1 %")
RETEST: dict[str, tuple[str, ...]] = {
    "CDCD": ("89.2", "9.0", "93.8", "10.0", "91.5"),
    "LORIS": ("89.9", "8.9", "95.3", "8.9", "92.5"),
    "Li et al.": ("90.6", "11.1", "80.9", "28.3", "85.5"),
    "PF-D2M": ("89.4", "8.1", "99.8", "1.9", "94.3"),
}


def is_inversion(evaluation: Mapping[str, Any]) -> bool:
    """Return whether an evaluation.json is of a run of this family."""
    return evaluation.get("family") == INVERSION


def beside_textual_inversion(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Return both published tables with a row for each of our runs, and what the rows are from.

    Runs of all families have a row. A score that a run's evaluation does not have is a dash. Only
    CLAP's similarity is in the column CLAP, with the name of weights that are not the published
    ones, and only VGGish's distance is in the column FAD.
    """
    first = [["music", *FIGURES], *([name, *row] for name, row in PUBLISHED.items())]
    second = [["music", *RETESTED], *([name, *row] for name, row in RETEST.items())]
    for e in evaluations:
        first.append([f"ours: {e['run']}", *_of_first(e)])
        second.append([f"ours: {e['run']}", *_of_second(e)])
    return "\n\n".join(
        [
            f"**Textual inversion, AIST++**: bins of 0.2 s\n\n{markdown(first)}",
            "**Textual inversion, retest by PF-D2M on 4 unseen tracks**: LORIS's bins of 1 s\n\n"
            + markdown(second),
            "\n".join(_caption(evaluations)),
        ]
    )


def _of_first(evaluation: Mapping[str, Any]) -> list[str]:
    scores = _scores(evaluation)
    names = (FIFTHS.bcs, FIFTHS.bhs, FIFTHS.f1, "tempo_difference")
    cells = [cell(scores.get(name), MEASURED[name]) for name in names]
    distance = scores.get("frechet") if evaluation["embedding"] == VGGISH else None
    cells.append(cell(distance, MEASURED["frechet"]))
    by_clap = [
        cell(scores[SIMILARITY + name], measure) + (f" ({name})" if name != CLAP else "")
        for name, measure in _clap(scores)
    ]
    return [*cells, "; ".join(by_clap) or "–", "–", "–"]


def _clap(scores: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the name and measure of each CLAP that a run was scored with."""
    names = [name.removeprefix(SIMILARITY) for name in scores if name.startswith(SIMILARITY)]
    claps = [name for name in names if name.partition(":")[0] == CLAP]
    return list(zip(claps, similarity_measures(claps).values(), strict=True))


def _of_second(evaluation: Mapping[str, Any]) -> list[str]:
    scores, names = _scores(evaluation), (LORIS.bcs, LORIS.csd, LORIS.bhs, LORIS.hsd, LORIS.f1)
    return [cell(scores.get(name), replace(MEASURED[name], percent=True)) for name in names]


def _scores(evaluation: Mapping[str, Any]) -> Mapping[str, Any]:
    return evaluation["rows"][evaluation["row"]]["scores"]


def _caption(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the rows are from: theirs, then each of ours."""
    lines = [
        "Figures of the two tables must never be compared: with bins of 0.2 s, far fewer agree "
        "than with bins of 1 s. What else differs:",
        "- published rows: AIST++, 5.12 s; their estimator of tempo, CLAP weights and embedding of "
        "FAD are not known. Ours: tempo of librosa's beats; FAD is shown only with --embedding "
        "vggish, CLAP only with --embedding clap or --similarity clap. Opinions of our music: "
        "model mos.",
        "- the retest's tracks are not ours, and the length of its segments is not known",
    ]
    for e in evaluations:
        lines.append(
            f"- ours: {e['run']}: family {e.get('family', 'd2m-gan')}; {e['dataset']}, split "
            f"{e['split']}, {len(e['segments'])} segments of {seconds(e['window_s'])} of "
            f"{len(set(e['songs']))} songs; codec {e['codec']}; "
            + "; ".join(e["labels"] or ["published weights"])
        )
    return lines
