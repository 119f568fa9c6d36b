"""Textual inversion as a family: a frozen MusicGen, whose words for a dance are learnt.

Source: Li et al., "Dance-to-Music Generation with Encoder-based Textual Inversion", SIGGRAPH Asia
2024, arXiv 2401.17800.

Symbols: B batch, Q codebooks, L code steps, T motion frames, D features, R values of a rhythm, W
words of a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.codecs.base import Codec
from model.codecs.encodec.codec import LEVEL, EncodecCodec
from model.contract.dataset import Dataset
from model.contract.segment import GENRES, MOTION, SAMPLE_RATE_HZ
from model.contract.storage import Location
from model.data.inputs import GENRE, Inputs, check_motion, given, inputs_of
from model.data.source import Batch
from model.families.averaged import Averaged
from model.families.code_models import BITS
from model.families.inversion.base_model import TextToMusic, load_base
from model.families.inversion.config import PRESETS, Options
from model.families.inversion.config import Config as InversionConfig
from model.families.inversion.encoders import GenreEncoder, RhythmEncoder
from model.families.inversion.prompt import GENRE_WORD, Prompt, read_prompt, without_genre
from model.families.inversion.rhythm import LOST_FRAMES, frames_of, rhythm_of
from model.families.inversion.sampling import draw
from model.families.inversion.times import beats_as_rhythm, times_of, word_of

ONE_HOT = tuple(sorted(GENRES))
"""The genres in the order of the paper's code."""


class WordEncoders(nn.Module):
    """All that is trained: the encoders of the rhythm and, if it is used, of the genre."""

    def __init__(self, config: InversionConfig, values: int, out: int) -> None:
        super().__init__()
        self.rhythm = RhythmEncoder(values, config.width, out, config.rhythm_words)
        self.genre = GenreEncoder(len(GENRES), config.width, out) if config.use_genre else None
        order = torch.tensor([ONE_HOT.index(name) for name in GENRES])
        self.register_buffer("order", order, persistent=False)

    def genre_word(self, index: Tensor) -> Tensor:
        """Return the word (B, 1, E) of genres (B,), as indices of GENRES."""
        assert self.genre is not None
        order: Tensor = self.get_buffer("order")
        return self.genre(F.one_hot(order[index], len(ONE_HOT)).float())


class Inversion(Averaged[InversionConfig]):
    """Two encoders make words of a frozen text-to-music model from a dance."""

    title = "Textual inversion"
    Config = InversionConfig
    PRESETS = PRESETS
    Options = Options
    best = "val/bits"
    likelihood = True
    pieces_at_once = 8
    any_motion = True
    optional = frozenset({GENRE})
    last_rate = 0.0

    network: WordEncoders
    trained: WordEncoders

    @classmethod
    def settled(cls, config: InversionConfig, dataset: Dataset, root: Location) -> InversionConfig:
        base = Path(config.base)
        if base.is_dir():
            config = replace(config, base=str(base.resolve()))
        return replace(config, base_id=load_base(config.base, torch.device("cpu")).id)

    @classmethod
    def levels_of(cls, config: InversionConfig) -> tuple[str, ...]:
        return (LEVEL,)

    @classmethod
    def inputs_of(cls, config: InversionConfig, dataset: Dataset) -> Inputs:
        check_motion(dataset)
        return inputs_of(dataset, (MOTION, GENRE) if config.use_genre else (MOTION,))

    def __init__(
        self, config: InversionConfig, inputs: Inputs, codec: Codec, device: torch.device
    ) -> None:
        self.config, self.inputs, self.codec, self.device = config, inputs, codec, device
        self.base = load_base(config.base, device, config.bf16)
        check_base(self.base, config.base_id, codec)
        self.seconds = inputs.samples / SAMPLE_RATE_HZ
        self.window = codec.steps(inputs.samples, LEVEL)
        """The codes of a window, which is a segment."""
        self.values = frames_of(self.seconds) - LOST_FRAMES
        self.network = WordEncoders(config, self.values, self.base.width).to(device)
        self.prompts: dict[str, Prompt] = {}
        """The prompts read so far."""
        self.prompt(config.prompt)

    # --- words -----------------------------------------------------------------------------------

    def prompt(self, text: str) -> Prompt:
        """Return a prompt as tokens; ValueError if its placeholders cannot be found."""
        if text not in self.prompts:
            words = self.config.rhythm_words
            self.prompts[text] = read_prompt(self.base.tokenizer, text, words, self.base.source)
        return self.prompts[text]

    def rhythm_word(self, network: WordEncoders, motion: Tensor) -> Tensor:
        """Return the words (B, P, E) of the rhythms of motions (B, T, D)."""
        rhythm = np.stack(
            [
                rhythm_of(each, self.seconds, self.config.true_sectors)
                for each in motion.float().cpu().numpy()
            ]
        )
        return network.rhythm(torch.from_numpy(rhythm).to(self.device))

    def words(
        self, network: WordEncoders, prompt: Prompt, rhythm: Tensor, genre: Tensor | None
    ) -> Tensor:
        """Return the words (B, W, D) of a prompt for a `rhythm_word` and genres (B,)."""
        genre_word = None if genre is None else network.genre_word(genre)
        return self.base.words(prompt, rhythm, genre_word)

    # --- training --------------------------------------------------------------------------------

    def start_training(self) -> None:
        super().start_training()
        self.heard: dict[str, Tensor] = {}
        """The beats of the segments trained on so far, as rhythms (R,)."""
        if self.config.hear_beats:
            self.times = times_of(self.base, self.values)

    def decays(self, parameter: nn.Parameter) -> bool:
        return True  # as published

    def step(self, batch: Batch) -> dict[str, Tensor]:
        self.trained.train()
        codes, prompt = batch.codes[LEVEL], self.prompt(self.config.prompt)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            genre = batch.inputs[GENRE] if len(prompt.genre) else None
            word = self.rhythm_word(self.trained, batch.inputs[MOTION])
            words = self.words(self.trained, prompt, word, genre)
            heard = torch.rand(len(codes), device=self.device) >= self.config.drop_words
            loss = nats = self.base.nats(words, heard, codes).mean()
        if self.config.hear_beats:
            wanted = word_of(self.beats(batch), self.times)[:, None].expand_as(word)
            loss = nats + self.config.hear_beats * F.mse_loss(word.float(), wanted)
        rate = self.rate(self.steps)
        self.descend(loss)
        return {
            f"bits/{LEVEL}": nats.detach() * BITS,
            "loss/total": loss.detach(),
            "gradient/network": self.clip.norm,
            "rate": torch.tensor(rate),
        }

    def beats(self, batch: Batch) -> Tensor:
        """Return the beats of a batch's music as rhythms (B, R); each segment is heard once."""
        for key, audio in zip(batch.keys, batch.audio, strict=True):
            if key not in self.heard:
                self.heard[key] = beats_as_rhythm(audio.float().cpu().numpy(), self.values)
        return torch.stack([self.heard[key] for key in batch.keys]).to(self.device)

    # --- validation and generation ---------------------------------------------------------------

    def validate(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return {}, self.generate(batch.inputs, {LEVEL: batch.codes[LEVEL].shape[-1]})

    @property
    def val_sound_segments(self) -> int:
        return self.config.val_sound_segments

    def bits(self, inputs: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        true = codes[LEVEL]
        heard = torch.full((len(true),), bool(inputs), device=self.device)
        if inputs:
            prompt = self.prompt(self.config.prompt)
            genre = inputs[GENRE] if len(prompt.genre) else None
            word = self.rhythm_word(self.network, given(inputs, MOTION))
            words = self.words(self.network, prompt, word, genre)
        else:
            words = self.base.words(self.prompt("music"), None, None).expand(len(true), -1, -1)
        return {LEVEL: self.base.nats(words, heard, true).mean(1) * BITS}

    def generate(
        self, inputs: Mapping[str, Tensor], steps: Mapping[str, int], options: Any = None
    ) -> dict[str, Tensor]:
        options = options or Options()
        motion, genre = given(inputs, MOTION), inputs.get(GENRE)
        text = options.prompt or self.config.prompt
        if GENRE_WORD in text and (genre is None or not self.config.use_genre):
            if options.prompt:
                raise ValueError(
                    f"the prompt {text!r} has {GENRE_WORD!r}, the dance's genre, which is not "
                    "known; give --genre, or leave it out"
                    if self.config.use_genre
                    else f"the prompt {text!r} has {GENRE_WORD!r}, but the run was trained without "
                    "the genre; leave it out"
                )
            text = without_genre(text)
        prompt, length = self.prompt(text), steps[LEVEL]
        codes = torch.zeros(
            len(motion), self.base.codebooks, 0, dtype=torch.long, device=self.device
        )
        frames = motion.shape[1] // max(1, round(length / self.window))
        for start in window_starts(length, self.window, options.overlap):
            first = min(round(start * frames / self.window), max(0, motion.shape[1] - frames))
            seen = motion[:, first : first + frames]
            word = self.rhythm_word(self.network, seen)
            words = self.words(self.network, prompt, word, genre if len(prompt.genre) else None)
            mask = torch.ones(words.shape[:2], dtype=torch.long, device=self.device)
            wanted = min(self.window, length - start)
            drawn = draw(
                self.base.model.decoder, words, mask, codes[..., start:], wanted,
                options.guidance, options.top_k, options.temperature,
            )  # fmt: skip
            codes = torch.cat([codes[..., :start], drawn], 2)
        return {LEVEL: codes}

    def remarks(self, step: int) -> list[str]:
        return [f"{self.title}: {note}" for note in [self.base.note] if note]


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Return the first code of each window of a piece of `length` codes.

    Each keeps a share `overlap` of the window before, the last one more, so that it is complete.
    """
    apart = max(1, window - round(window * overlap))
    starts = list(range(0, max(1, length - window + 1), apart))
    if starts[-1] + window < length:
        starts.append(length - window)
    return starts


def check_base(base: TextToMusic, base_id: str, codec: Codec) -> None:
    """Raise ValueError if a base model is not the one of the run, or of another codec's codes."""
    if base_id and base.id != base_id:
        raise ValueError(
            f"{base.source}: the run's words were learnt for another text-to-music model "
            f"({base_id}, this one is {base.id}); put that model back, or train again"
        )
    own = EncodecCodec.from_module(base.model.audio_encoder, codebooks=base.codebooks)
    if own.codes_id != codec.codes_id:
        raise ValueError(
            f"the codes are of codec {codec.codes_id}, but the text-to-music model "
            f"{base.source} makes codes of {own.codes_id}; extract them with its codec: pipeline "
            f"extract-codes --shards DIR --codec encodec:{base.source}"
        )
