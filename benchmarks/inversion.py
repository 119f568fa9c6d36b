"""What textual inversion adds to a small text-to-music model, on songs that nobody trained on.

    python benchmarks/inversion.py --base runs/text --shards shards/inversion [--test SHARDS]
        [--steps 1500] [--seeds 0 1] [--runs runs/inversion] [--set KEY=VALUE …]

`--shards` has the synthetic data set in windows of the base model, with its codes (docs/guide/
inversion.md). For each seed the two encoders are trained with the preset tiny; then the frozen
model plays for the dances of the test split, or of that of `--test`: with both learnt words, with
one of them, with neither but the truth in words (genre and tempo), with the rhythm's word set to
zero, and with other instruments named behind the words. Prints a table for each seed, with
intervals over songs, and the differences of rows that are compared; then both over the seeds' mean.
Again with the same options it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import run
from torch import Tensor, nn

from model.contract.dataset import Dataset, load_dataset
from model.contract.files import write_atomic
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.storage import to_location
from model.contract.terminal import print_anything
from model.contract.wav import decode_wav
from model.data.pieces import Piece
from model.evaluation.evaluate import NAME, evaluate, folder_of, load
from model.evaluation.tables import cell, markdown
from model.generation.generate import SUMMARY, chosen_options, read_pieces, write_pieces
from model.generation.run import Run, load_run
from model.measures.base import recorded
from model.measures.bootstrap import mean_interval, paired_difference
from model.text_to_music.captions import PROMPT, Caption
from pipeline.sources.synthetic.captions import GENRE_WORDS, rounded, tempo_word
from pipeline.sources.synthetic.music import score_of

SHARED = ("onset_f", "beat_f", "tempo_difference", "genre", "genre_heard", "kl", "loudness_db")
DRUMS, NO_DRUMS = "with drums", "without drums"
TEXT, FULL = "text alone", "rhythm and genre"


def in_words(piece: Piece) -> Caption:
    """Return the caption of a piece in the model's own words: genre and tempo of its song."""
    song = re.search(r"_(m[A-Z]{2}\d+)_", piece.video_id)
    assert song is not None, f"{piece.video_id}: no video of the synthetic data set"
    tempo_bpm = score_of(song[1], 0)[1]
    genre, tempo = GENRE_WORDS[song[1][1:3]], (tempo_word(tempo_bpm), rounded(tempo_bpm))
    return Caption("", genre, tempo, ())


def with_beats(piece: Piece, dataset: Dataset) -> Caption:
    """Return the same with the times of the beats, which the data set's truth has."""
    truth = np.load(Path(dataset.source).parent / "truth" / f"{piece.video_id}.npz")
    beats = tuple(truth["beat_times_s"].tolist())
    return replace(in_words(piece), beats=beats).at(piece.start_s, dataset.seconds)


@dataclass(frozen=True)
class Variant:
    """A row: the prompt of a piece of a data set, and whether its rhythm's word is set to zero."""

    prompt: Callable[[Piece, Dataset], str]
    zeroed: bool = False


VARIANTS: Mapping[str, Variant] = {
    TEXT: Variant(lambda piece, _: in_words(piece).sentence),
    "text with all beats": Variant(lambda piece, dataset: with_beats(piece, dataset).sentence),
    "genre alone": Variant(lambda *_: "a @ music"),
    "rhythm alone": Variant(lambda *_: "a music with * as the rhythm"),
    "rhythm of zeros": Variant(lambda *_: PROMPT, zeroed=True),
    DRUMS: Variant(lambda *_: f"{PROMPT}, drums, bass, organ"),
    NO_DRUMS: Variant(lambda *_: f"{PROMPT}, no drums, piano, strings"),
}
COMPARED = (
    ("onset_f", FULL, TEXT), ("beat_f", FULL, TEXT), ("onset_f", FULL, "rhythm of zeros"),
    ("onset_f", FULL, "genre alone"), ("beat_f", FULL, "genre alone"),
    ("genre", FULL, "rhythm alone"), ("genre_heard", FULL, "rhythm alone"),
    ("genre_heard", "genre alone", "rhythm alone"),
    ("onset_f", NO_DRUMS, TEXT), ("beat_f", DRUMS, TEXT),
)  # fmt: skip


def main() -> None:
    """Train, play and score what is missing, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True, help="the text-to-music model's folder")
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--test", type=Path, metavar="SHARDS", help="the songs to play for")
    parser.add_argument("--runs", type=Path, default=Path("runs/inversion"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--play", action="append", default=[], metavar="KEY=VALUE",
                        help="options of generation, for all rows")  # fmt: skip
    arguments = parser.parse_args()
    tested, found = arguments.test or arguments.shards, []
    for seed in arguments.seeds:
        folder = arguments.runs / f"seed{seed}"
        train(arguments, seed, folder)
        if not (folder_of(folder) / NAME).exists():
            trained = load_run(folder)
            music = [
                f"{name}={play(trained, tested, folder / name, variant, arguments.play)}"
                for name, variant in VARIANTS.items()
            ]
            evaluate(
                trained, tested, embedding="mel-statistics", music=tuple(music),
                settings=tuple(arguments.play), seed=seed,
            )  # fmt: skip
        found.append(load(folder))
        print(f"\n## Seed {seed}\n\n{report(found[-1], folder)}", flush=True)
    if len(found) > 1:
        print(f"\n## The mean of {len(found)} seeds\n\n{report_of_mean(found)}")


def train(arguments: argparse.Namespace, seed: int, folder: Path) -> None:
    """Train the encoders, or go on with it."""
    if (folder / "done").exists():
        return
    settings = [f"seed={seed}", f"max_steps={arguments.steps}", *arguments.set]
    run(
        "train", "--family", "inversion", "--base", arguments.base, "--shards", arguments.shards,
        "--preset", "tiny", "--out", folder,
        *(part for each in settings for part in ("--set", each)),
        *(["--resume"] if (folder / "last.pt").exists() else []),
    )  # fmt: skip
    (folder / "done").touch()


def play(trained: Run, shards: Path, out: Path, variant: Variant, options: Sequence[str]) -> Path:
    """Write the music of a variant for the test split, unless that was done; return its folder."""
    if (out / SUMMARY).exists():
        return out
    torch.manual_seed(0)
    root = to_location(shards)
    dataset = load_dataset(root)
    by_prompt: dict[str, list[Piece]] = {}
    for piece in read_pieces(root, trained, dataset, "test"):
        by_prompt.setdefault(variant.prompt(piece, dataset), []).append(piece)
    encoder = trained.model.network.rhythm  # type: ignore[attr-defined]
    hook = encoder.register_forward_hook(zeros) if variant.zeroed else None
    for prompt, pieces in by_prompt.items():
        chosen = chosen_options(trained, [*options, f"prompt={json.dumps(prompt)}"])
        write_pieces(trained, pieces, out, dataset.untrained, options=chosen)
    if hook is not None:
        hook.remove()
    return out


def zeros(_: nn.Module, __: Any, words: Tensor) -> Tensor:
    """Return zeros in place of the words of the rhythm."""
    return torch.zeros_like(words)


def report(evaluation: Mapping[str, Any], folder: Path) -> str:
    """Return the tables of a seed: its rows, the rows compared, and the drums in the music."""
    measures, rows = recorded(evaluation), dict(evaluation["rows"])
    titles = {name: FULL if name == evaluation["row"] else name for name in rows}
    names = [name for name in SHARED if name in measures]
    lines = [["music", *(measures[name].title for name in names)]]
    for name, row in rows.items():
        if row["scores"].keys() & {"onset_f", "genre_heard"}:
            cells = [cell(row["scores"].get(each), measures[each]) for each in names]
            lines.append([titles[name], *cells])
    each = {titles[name]: row["each"] for name, row in rows.items()}
    return "\n\n".join(
        [markdown(lines), compared(evaluation, measures, each), drums_in(evaluation, folder)]
    )


def compared(
    evaluation: Mapping[str, Any], measures: Mapping[str, Any], each: Mapping[str, Any]
) -> str:
    """Return the table of the rows that are compared, from the values of `each` row."""
    lines = [["measure", "more with", "than with", "by", "songs"]]
    for name, more, less in COMPARED:
        if name in measures:
            a, b = (np.array(each[row][name], float) for row in (more, less))
            d = paired_difference(a, b, songs_of(evaluation, measures[name]))
            by = f"{d.mean:.3f} [{d.low:.3f}, {d.high:.3f}]"
            lines.append([measures[name].title, more, less, by, f"{d.groups_won} of {d.groups}"])
    return markdown(lines)


def songs_of(evaluation: Mapping[str, Any], measure: Any) -> list[str]:
    """Return the song of each value of a measure."""
    return list(evaluation["songs" if measure.of == "clip" else "segment_songs"])


def report_of_mean(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Return the tables of the mean over seeds of each value of the rows that are compared."""
    first, measures = evaluations[0], recorded(evaluations[0])
    names = [name for name in dict.fromkeys(name for name, *_ in COMPARED) if name in measures]
    rows = [FULL, *VARIANTS]
    each: dict[str, dict[str, np.ndarray]] = {}
    for row in rows:
        values = [dict(one["rows"])[one["row"] if row == FULL else row] for one in evaluations]
        each[row] = {
            name: np.mean([np.array(one["each"][name], float) for one in values], axis=0)
            for name in names
        }
    lines = [["music", *(measures[name].title for name in names)]]
    for row in rows:
        found = [mean_interval(each[row][n], songs_of(first, measures[n])) for n in names]
        lines.append([row, *(f"{i.value:.3f} [{i.low:.3f}, {i.high:.3f}]" for i in found)])
    return "\n\n".join([markdown(lines), compared(first, measures, each)])


def drums_in(evaluation: Mapping[str, Any], folder: Path) -> str:
    """Return the table of how much of the music is struck: with drums named, and without."""
    lines = [["music", "struck %"]]
    songs = sorted({key.partition("/")[0] for key in evaluation["segments"]})
    for name in (DRUMS, NO_DRUMS):
        path = folder / name / "struck.json"
        if not path.exists():
            files = [folder / name / f"{video}.wav" for video in songs]
            write_atomic(path, json.dumps([struck(file) for file in files]).encode())
        values = np.array(json.loads(path.read_bytes()))
        share = mean_interval(values, [re.sub(r".*_(m\w\w\d+)_.*", r"\1", v) for v in songs])
        ends = f"[{100 * share.low:.1f}, {100 * share.high:.1f}]"
        lines.append([name, f"{100 * share.value:.1f} {ends}"])
    return markdown(lines)


def struck(path: Path) -> float:
    """Return the share of the percussive part in a file's energy above 500 Hz, by median filters.

    Source: Fitzgerald, Harmonic/percussive separation using median filtering, 2010 (librosa).
    """
    import librosa

    spectrum = librosa.stft(decode_wav(path.read_bytes(), path.name), n_fft=2048)
    spectrum = spectrum[int(500 / SAMPLE_RATE_HZ * 2048) :]
    harmonic, percussive = (np.abs(each) ** 2 for each in librosa.decompose.hpss(spectrum))
    return float(percussive.sum() / max(harmonic.sum() + percussive.sum(), 1e-12))


if __name__ == "__main__":
    print_anything()
    main()
