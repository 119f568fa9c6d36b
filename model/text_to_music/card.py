"""The folder of a trained model: transformers' files, and a card that says what it is."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.codecs.base import Codec
from model.contract.files import write_atomic
from model.runtime.run_log import read_metrics
from model.text_to_music.build import CODEC_PART, seconds_of
from model.text_to_music.captions import PROMPT
from model.text_to_music.config import TextConfig
from model.text_to_music.songs import Songs

if TYPE_CHECKING:
    from transformers import MusicgenForConditionalGeneration

CARD = "README.md"
TITLES = {
    "held_out/bits": "with their own captions",
    "held_out/bits_sentence": "with genre and tempo alone, as the sentence",
    "held_out/bits_wrong": "with captions of other songs",
    "held_out/bits_none": "without captions",
}


def write_folder(model: MusicgenForConditionalGeneration, tokenizer: Any, out: Path) -> None:
    """Write model and tokenizer into a folder, each file atomically."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".saving-") as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).iterdir()):
            write_atomic(out / path.name, path.read_bytes())  # safetensors' own is private


def write_card(
    model: MusicgenForConditionalGeneration,
    config: TextConfig,
    codec: Codec,
    songs: Songs,
    out: Path,
) -> None:
    """Write the card, with the figures of the run's metrics.jsonl."""
    text = card(model, config, codec, songs, read_metrics(out))
    write_atomic(out / CARD, text.encode())


def card(
    model: MusicgenForConditionalGeneration,
    config: TextConfig,
    codec: Codec,
    songs: Songs,
    metrics: Sequence[Mapping[str, float]],
) -> str:
    """Return the card of a model in Markdown."""
    weights = {name: p.numel() for name, p in model.named_parameters()}
    coded = sum(count for name, count in weights.items() if name.startswith(CODEC_PART))
    minutes = sum(
        seconds_of(model, song.codes.shape[1]) for song in (*songs.train, *songs.held_out)
    ) / 60  # fmt: skip
    figures = latest(metrics)
    step, rate = int(figures.get("step", 0)), figures.get("steps_per_s")
    codec_words = f"the EnCodec `{codec.id}` ({coded / 1e6:.2f} million"
    codec_words += f"; {codec.note})" if codec.note else ")"
    lines = [
        "# Text-to-music model",
        "",
        *([f"{config.note[0].upper()}{config.note[1:]}.", ""] if config.note else []),
        f"MusicGen's architecture with {(sum(weights.values()) - coded) / 1e6:.2f} million weights "
        f"and {codec_words}.",
        "",
        f"* Trained with `model train-text` on {len(songs.train)} songs; {len(songs.held_out)} "
        f"others were held out ({minutes:.0f} minutes together). It knows the words of their "
        "captions only.",
        f"* It makes up to {config.window_s:g} s of music. transformers loads it with "
        "`MusicgenForConditionalGeneration.from_pretrained(FOLDER)` and "
        "`AutoTokenizer.from_pretrained(FOLDER)`.",
        f"* {config.sentences:.0%} of the captions in training had the form `{PROMPT}`, with words "
        "of genre and tempo in place of the two signs.",
        f"* Settings: {config.steps} steps of {config.batch} windows, lr {config.lr:g}, "
        f"seed {config.seed}" + (f"; {rate:.2f} steps a second." if rate else "."),
    ]
    found = [(title, figures[tag]) for tag, title in TITLES.items() if tag in figures]
    if found:
        lines += ["", f"| bits per code of songs held out, at step {step} | |", "|---|---|"]
        lines += [f"| {title} | {value:.3f} |" for title, value in found]
    return "\n".join(lines) + "\n"


def latest(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the last validation's figures with its step, and the last rate of steps."""
    found: dict[str, float] = {}
    for row in metrics:
        found.update({k: v for k, v in row.items() if k == "steps_per_s" or k in TITLES})
        if any(tag in row for tag in TITLES):
            found["step"] = row["step"]
    return found
