"""The web page of an evaluation: its tables, and audio and spectrograms of some clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.audio import LogMel
from model.baselines.base import Music
from model.contract.files import atomic_file, write_atomic
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.wav import write_wav
from model.data.clips import Clip
from model.evaluation.cells import seconds
from model.evaluation.tables import one_run
from model.measures.beats import onsets_s
from model.measures.rhythm import beats_s

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em;
       color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; display: block;
        overflow-x: auto }
th, td { padding: .25em .6em; border-bottom: 1px solid #ddd; text-align: right;
         white-space: nowrap }
th:first-child, td:first-child { text-align: left } th { background: #f3f3f3 }
.note { background: #fff3d6; padding: .5em .8em; border-left: 4px solid #d08020 }
figure { margin: 1em 0 } figcaption { font-size: 13px } audio { width: 100%; height: 32px }
img { width: 100%; display: block }
""".strip()


def write_page(
    folder: Path, evaluation: Mapping[str, Any], clips: Sequence[Clip], rows: Sequence[Music]
) -> None:
    """Write index.html into `folder`, and the audio and pictures of `clips` beside it.

    `clips` are those shown on the page; the music of each row has their audio, in the same order,
    or that of those in `of`.
    """
    parts = [f"<h1>{escape(evaluation['run'])}: {escape(evaluation['split'])}</h1>"]
    level, step = evaluation["level"], evaluation["step"]
    trained = f"level {level}, step {step}, " if level else ""
    facts = (
        f"{evaluation['dataset']}, {len(evaluation['segments'])} segments of "
        f"{seconds(evaluation['window_s'])} of {len(set(evaluation['songs']))} songs; "
        f"{trained}codec {evaluation['codec']}, embedding {evaluation['embedding']}."
    )
    parts.append(f"<p>{escape(facts)} In brackets: 95 % intervals, bootstrap over songs.</p>")
    parts += [f'<p class="note">{escape(label)}</p>' for label in evaluation["labels"]]
    for block in one_run(evaluation).split("\n\n"):
        parts.append(_table(block) if block.startswith("|") else f"<p>{escape(block)}</p>")
    for i, clip in enumerate(clips):
        parts.append(f"<h2>{escape(clip.name)} (song {escape(clip.song)})</h2>")
        true_beats = beats_s(clip.audio)
        for row, music in enumerate(rows):
            place = (
                i if music.of is None else next((k for k, n in enumerate(music.of) if n == i), -1)
            )
            if place < 0:
                continue
            audio = music.audio[place]
            stem = f"clip-{i + 1}-{row + 1:02d}"
            write_wav(folder / f"{stem}.wav", torch.from_numpy(audio))
            draw(audio, true_beats, folder / f"{stem}.png")
            parts.append(
                f'<figure><figcaption>{escape(music.name)}</figcaption><img src="{stem}.png" '
                f'alt="spectrogram with onsets and beats" loading="lazy"><audio controls '
                f'preload="none" src="{stem}.wav"></audio></figure>'
            )
    legend = (
        "Spectrograms: orange ticks above are the beats of the true music; white lines are the "
        "beats of this music; dots below are its onsets."
    )
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(evaluation["run"])}</title><style>{STYLE}'
        f"</style></head><body>{''.join(parts)}<p>{legend}</p></body></html>\n"
    )
    write_atomic(folder / "index.html", text.encode(errors="backslashreplace"))


def _table(block: str) -> str:
    """Return a Markdown table as HTML."""
    head, _, *body = [[cell.strip() for cell in line.strip("|").split("|")]
                      for line in block.splitlines()]  # fmt: skip
    rows = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    rows += ["".join(f"<td>{escape(cell)}</td>" for cell in line) for line in body]
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def draw(audio: np.ndarray, true_beats: np.ndarray, path: Path) -> None:
    """Draw a spectrogram of audio (N,) with its onsets and beats, and the true beats (K,), in s."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((11, 1.9), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    with torch.no_grad():
        mel = LogMel()(torch.from_numpy(np.ascontiguousarray(audio, np.float32))[None])[0].numpy()
    seconds = len(audio) / SAMPLE_RATE_HZ
    axis.imshow(mel, origin="lower", aspect="auto", extent=(0, seconds, 0, 80), vmin=-4, vmax=1)
    for beat in beats_s(audio):
        axis.axvline(beat, color="white", lw=0.8, alpha=0.8)
    axis.plot(
        true_beats, np.full(len(true_beats), 83), "|", color="#e07000", ms=9, mew=2, clip_on=False
    )
    onsets = onsets_s(audio)
    axis.plot(onsets, np.full(len(onsets), 2), ".", color="#ff5050", ms=5)
    axis.set(xlim=(0, seconds), ylim=(0, 86), yticks=[], xlabel="s")
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=80)
