"""Make music from text with a trained model, from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from model.runtime.hugging_face import need_transformers
from model.runtime.settings import Settings, setting
from model.text_to_music.build import (
    GUIDANCE,
    TEXT_TO_MUSIC,
    TOP_K,
    at_our_rate,
    seconds_of,
)
from model.text_to_music.tokenizer import tokens

if TYPE_CHECKING:
    from transformers import MusicgenForConditionalGeneration

LONGEST_S = 30.0
"""The longest music of a model whose folder does not say on what length it was trained."""


@dataclass(frozen=True)
class TextOptions(Settings):
    """How codes are drawn; the defaults are MusicGen's."""

    guidance: float = setting(GUIDANCE, min=1)
    """How strongly the text acts; 1 is no guidance."""
    top_k: int = setting(TOP_K, min=1)
    temperature: float = setting(1.0, min=0.01)
    greedy: bool = False
    """Take the likeliest code instead of drawing one."""


def generate_text(
    folder: Path,
    prompts: Sequence[str],
    seconds: float,
    seed: int = 0,
    options: TextOptions = TextOptions(),
) -> Tensor:
    """Return music (B, N) float32 at 22 050 Hz for each prompt, about `seconds` long.

    The same arguments give the same music. Raises FileNotFoundError if the folder has no model, and
    ValueError for no or empty prompts, or more seconds than the model was trained on.
    """
    model, tokenizer = load_text_model(folder)
    longest_s = getattr(model.config, "window_s", LONGEST_S)
    frames = round(seconds / seconds_of(model, 1))
    if not 0 < seconds <= longest_s or frames < 2 * model.config.decoder.num_codebooks:
        raise ValueError(f"seconds is {seconds}; this model makes music of up to {longest_s:g} s")
    if not prompts or not all(prompt.strip() for prompt in prompts):
        raise ValueError(f"prompts are {list(prompts)}; expected at least one text, none empty")
    return at_our_rate(model, draw(model, tokenizer, prompts, frames, seed, options))


def load_text_model(folder: Path) -> tuple[MusicgenForConditionalGeneration, Any]:
    """Return the model of a folder, frozen, and its tokenizer; nothing is downloaded.

    Raises FileNotFoundError if the folder has no model.
    """
    transformers = need_transformers(TEXT_TO_MUSIC)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder}: no model (config.json); train one: model train-text, or give its folder"
        )
    model = transformers.MusicgenForConditionalGeneration.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return model.eval().requires_grad_(False), tokenizer


@torch.no_grad()
def draw(
    model: MusicgenForConditionalGeneration,
    tokenizer: Any,
    prompts: Sequence[str],
    frames: int,
    seed: int,
    options: TextOptions,
) -> Tensor:
    """Return audio (B, 1, M) of `frames` code steps at the codec's rate."""
    ids, mask = (part.to(model.device) for part in tokens(tokenizer, prompts))
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        drawn: Tensor = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=not options.greedy,
            top_k=None if options.greedy else min(options.top_k, model.config.decoder.vocab_size),
            temperature=None if options.greedy else options.temperature,
            guidance_scale=options.guidance,
            max_new_tokens=frames + model.config.decoder.num_codebooks - 1,
        )
    return drawn
