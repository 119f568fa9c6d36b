"""One page to look a curation over: songs with their clips, then what was rejected and why."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from model.segment import write_atomic
from pipeline.curate.decide import REASONS, Verdict
from pipeline.curate.scores import Clip, Material

STYLE = """
body { font: 14px/1.4 sans-serif; margin: 1.5em; background: #fafafa; color: #222 }
section { margin: 1em 0; padding: .6em; background: #fff; border: 1px solid #ddd }
h2 { font-size: 1em; margin: 0 0 .4em } .test { border-left: 6px solid #d08020 }
figure { display: inline-block; margin: 0 .8em .6em 0; vertical-align: top }
figcaption { font-size: 12px; color: #555; max-width: 24em; overflow-wrap: anywhere }
figure div { position: relative; display: inline-block; line-height: 0 }
svg { position: absolute; inset: 0; width: 100%; height: 100% }
""".strip()


def save_page(
    path: Path,
    title: str,
    clips: Sequence[Clip],
    materials: Sequence[Material],
    verdicts: Sequence[Verdict],
    failures: Sequence[str],
) -> None:
    """Write the page, whole or not at all. It loads nothing: pictures are in it."""
    figures = [_figure(*row) for row in zip(clips, materials, verdicts, strict=True)]
    kept = [k for k, verdict in enumerate(verdicts) if verdict.decision == "keep"]
    songs = Counter(verdicts[k].song for k in kept)
    sides = Counter(verdicts[k].split for k in kept)
    words = ", ".join(f"{count} {side}" for side, count in sorted(sides.items()))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(clips)} clips: {len(kept)} kept ({words or 'none'}) in {len(songs)} songs, "
        f"{len(clips) - len(kept)} rejected.</p>",
    ]
    for song, count in sorted(songs.items(), key=lambda item: (-item[1], item[0])):
        places = [k for k in kept if verdicts[k].song == song]
        side = verdicts[places[0]].split
        parts.append(_section(f"{song}: {count} clips, {side}", side, [figures[k] for k in places]))
    for reason, meaning in REASONS.items():
        places = [k for k, verdict in enumerate(verdicts) if verdict.reason == reason]
        if places:
            words = f"rejected, {reason}: {meaning} ({len(places)})"
            parts.append(_section(words, "", [figures[k] for k in places]))
    if failures:
        lines = "".join(f"<li>{escape(line)}</li>" for line in failures)
        parts.append(f"<section><h2>inputs that gave nothing</h2><ul>{lines}</ul></section>")
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    write_atomic(path, text.encode("utf-8", "backslashreplace"))


def _section(title: str, kind: str, figures: list[str]) -> str:
    return f'<section class="{kind}"><h2>{escape(title)}</h2>{"".join(figures)}</section>'


def _figure(clip: Clip, material: Material, verdict: Verdict) -> str:
    data = base64.b64encode(material.thumbnail).decode()
    lines = [
        clip.clip_id,
        f"{clip.start_s:.2f} to {clip.end_s:.2f} s of {clip.source}, box {clip.box}",
    ]
    if clip.dancers is not None:
        lines.append(f"{clip.dancers} dancers")
    if verdict.detail:
        lines.append(verdict.detail)
    drawn = _skeletons(material.joints) if material.joints is not None else ""
    return (
        f'<figure><div><img alt="" src="data:image/jpeg;base64,{data}">{drawn}</div>'
        f"<figcaption>{'<br>'.join(map(escape, lines))}</figcaption></figure>"
    )


def _skeletons(joints: np.ndarray, least: float = 0.3) -> str:
    """Return dots for `joints` (3, P, J, 3) over three pictures side by side."""
    dots = [
        f'<circle cx="{100 * (picture + x) / 3:.2f}%" cy="{100 * y:.2f}%" r="2" fill="#0f0"/>'
        for picture, people in enumerate(joints)
        for x, y, sure in people.reshape(-1, 3)
        if sure >= least
    ]
    return f"<svg>{''.join(dots)}</svg>"
