"""Write one page to review a curation: songs with their clips, then rejected clips by reason."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from model.contract.files import write_atomic
from pipeline.curate.decide import REASONS, Verdict
from pipeline.curate.scores import Clip, ClipData, Figure
from pipeline.features.motion.body25 import BODY_25, BONES, MIN_CONFIDENCE

STYLE = """
body { font: 14px/1.4 sans-serif; margin: 1.5em; background: #fafafa; color: #222 }
section { margin: 1em 0; padding: .6em; background: #fff; border: 1px solid #ddd }
h2 { font-size: 1em; margin: 0 0 .4em } .test { border-left: 6px solid #d08020 }
figure { display: inline-block; margin: 0 .8em .6em 0; vertical-align: top }
figcaption { font-size: 12px; color: #555; max-width: 24em; overflow-wrap: anywhere }
figure div { position: relative; display: inline-block; line-height: 0 }
svg { position: absolute; inset: 0; width: 100%; height: 100%; fill: none; stroke-width: 1.5px }
svg * { vector-effect: non-scaling-stroke } rect { stroke: #bbb } .main rect { stroke: #ff0 }
.left { stroke: #fd3 } .right { stroke: #3af } .middle { stroke: #fff }
""".strip()


def save_page(
    path: Path,
    title: str,
    methods: str,
    clips: Sequence[Clip],
    materials: Sequence[ClipData],
    verdicts: Sequence[Verdict],
    failures: Sequence[str],
) -> None:
    """Write the page completely or not at all. It contains all pictures and loads no other file.

    `methods` says how dancers were counted, speech was measured and shots were found.
    """
    figures = [_figure(*row) for row in zip(clips, materials, verdicts, strict=True)]
    kept = [k for k, verdict in enumerate(verdicts) if verdict.decision == "keep"]
    songs = Counter(verdicts[k].song for k in kept)
    sides = Counter(verdicts[k].split for k in kept)
    counts = ", ".join(f"{count} {side}" for side, count in sorted(sides.items()))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(clips)} clips: {len(kept)} kept ({counts or 'none'}) in {len(songs)} songs, "
        f"{len(clips) - len(kept)} rejected; {escape(methods)}.</p>",
    ]
    for song, count in sorted(songs.items(), key=lambda item: (-item[1], item[0])):
        places = [k for k in kept if verdicts[k].song == song]
        side = verdicts[places[0]].split
        parts.append(_section(f"{song}: {count} clips, {side}", side, [figures[k] for k in places]))
    for reason, meaning in REASONS.items():
        places = [k for k, verdict in enumerate(verdicts) if verdict.reason == reason]
        if places:
            heading = f"rejected, {reason}: {meaning} ({len(places)})"
            parts.append(_section(heading, "", [figures[k] for k in places]))
    if failures:
        lines = "".join(f"<li>{escape(line)}</li>" for line in failures)
        parts.append(f"<section><h2>failed inputs</h2><ul>{lines}</ul></section>")
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    write_atomic(path, text.encode("utf-8", "backslashreplace"))


def _section(title: str, kind: str, figures: list[str]) -> str:
    return f'<section class="{kind}"><h2>{escape(title)}</h2>{"".join(figures)}</section>'


def _figure(clip: Clip, material: ClipData, verdict: Verdict) -> str:
    data = base64.b64encode(material.thumbnail).decode()
    lines = [
        clip.clip_id,
        f"{clip.start_s:.2f} to {clip.end_s:.2f} s of {clip.source}, box {clip.box}",
    ]
    if clip.genre:
        lines.append(f"genre {clip.genre}")
    if clip.dancers is not None:
        lines.append(
            f"{clip.dancers} dancers, complete in {clip.whole_body:.0%}, "
            f"{clip.energy:.2f} heights/s"
        )
    if clip.speech is not None:
        lines.append(
            f"speech {clip.speech:.0%}, singing {clip.singing:.0%}, music {clip.music:.0%}"
        )
    if verdict.detail:
        lines.append(verdict.detail)
    drawn = "".join(map(_drawn, material.figures))
    if drawn:
        drawn = f'<svg viewBox="0 0 3 1" preserveAspectRatio="none">{drawn}</svg>'
    return (
        f'<figure><div><img alt="" src="data:image/jpeg;base64,{data}">{drawn}</div>'
        f"<figcaption>{'<br>'.join(map(escape, lines))}</figcaption></figure>"
    )


def _drawn(figure: Figure) -> str:
    """Return the SVG of a person's box and bones.

    The drawing covers three pictures side by side, each 1 wide and 1 high.
    """
    x0, y0, x1, y1 = figure.box
    box = f'x="{figure.picture + x0:.3f}" y="{y0:.3f}" width="{x1 - x0:.3f}" height="{y1 - y0:.3f}"'
    parts = [f"<rect {box}/>"]
    joints = {} if figure.body is None else dict(zip(BODY_25, figure.body, strict=True))
    for bone in BONES if joints else ():
        a, b = (joints[name] for name in bone.split())
        if min(a[2], b[2]) >= MIN_CONFIDENCE:
            side = next((s for s in ("left", "right") if s in bone), "middle")
            ends = f'x1="{figure.picture + a[0]:.3f}" y1="{a[1]:.3f}"'
            ends += f' x2="{figure.picture + b[0]:.3f}" y2="{b[1]:.3f}"'
            parts.append(f'<line class="{side}" {ends}/>')
    return f'<g class="{"main" if figure.main else "other"}">{"".join(parts)}</g>'
