"""Cells of tables: values with intervals, several values, and rows as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from model.measures.base import Measure


def cell(found: Mapping[str, Any] | None, measure: Measure) -> str:
    """Return a value with its interval, or a dash."""
    if found is None or found["value"] is None:
        return "–"
    scale, digits = (100, 1) if measure.percent else (1, measure.digits)
    value, *ends = (
        f"{round(scale * found[key], digits) + 0.0:.{digits}f}"  # no -0.000
        for key in ("value", *(("low", "high") if found["low"] is not None else ()))
    )
    return f"{value} [{', '.join(ends)}]" if ends else value


def seconds(window_s: str) -> str:
    """Return the length of a window, which is stored as a fraction such as 128/25, as 5.12 s."""
    return f"{float(Fraction(window_s)):g} s"


def slashed(figures: Sequence[float]) -> str:
    """Return figures with one decimal, with slashes between them."""
    return " / ".join(f"{value:.1f}" for value in figures)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table; the first row is the head."""
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])
