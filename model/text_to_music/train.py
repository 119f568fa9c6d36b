"""Training of a text-to-music model: the decoder learns the codes of captioned music.

Every step depends only on (seed, step), so a resumed run is bit for bit an uninterrupted one. What
is saved, tried and listened to has the moving average of the weights.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from model.audio import LogMel
from model.codecs.base import Codec
from model.families.inversion.base_model import load_base
from model.runtime.arguments import device_of
from model.runtime.checkpoint import Parts, check_finite, load_state, read_checkpoint, save_torch
from model.runtime.loop import Schedule, TrainingRun, loop
from model.runtime.optimiser import set_rate
from model.runtime.resume import check_begun, other_settings, refuse_other
from model.runtime.run_log import (
    SPECTROGRAMS,
    Progress,
    RunLog,
    reported,
    samples_folder,
    write_samples,
)
from model.runtime.settings import to_dict
from model.runtime.signals import stop_requested
from model.text_to_music.build import (
    CODEC_PART,
    at_our_rate,
    build_model,
    frames_of,
    loss_of,
)
from model.text_to_music.card import write_card, write_folder
from model.text_to_music.config import TextConfig
from model.text_to_music.generate import TextOptions, draw
from model.text_to_music.pointing import has_times, keep, keep_words_apart, point_to_times
from model.text_to_music.songs import Songs, read_songs
from model.text_to_music.tokenizer import build_tokenizer

if TYPE_CHECKING:
    from transformers import MusicgenForConditionalGeneration

CHECKPOINT = "checkpoint.pt"
WORDS = "text_encoder.shared.weight"
"""The name of the table of words, a row for each token."""
BITS = 1 / math.log(2)
"""The bits of a nat."""
VALIDATED = "held_out/bits"
PARTS: Parts = {
    "step": (int, ()),
    **{name: (dict, ()) for name in ("settings", "model", "average", "optimiser")},
    **{name: (str, ()) for name in ("songs", "codec")},
}
"""The parts of a checkpoint, whose format has no number."""


@dataclass
class State:
    """The state of training: `average` has the averaged weights of all that is trained, by name.

    `kept` has the first rows of some of these weights, which no step changes (pointing.py).
    """

    model: MusicgenForConditionalGeneration
    tokenizer: Any
    optimiser: torch.optim.AdamW
    average: dict[str, Tensor]
    kept: dict[str, Tensor]
    step: int = 0


def train_text(
    config: TextConfig,
    music: Path,
    captions: Path,
    codec: Codec,
    out: Path,
    resume: bool = False,
    init: Path | None = None,
) -> Path:
    """Train a model on captioned music, and return its folder, `out`.

    A new run begins with the weights of the model in the folder `init`, if it is given: see
    `begin_with`. Raises FileExistsError if `out` holds a run and `resume` is False,
    FileNotFoundError if there is no run to resume, ValueError if music, captions, settings or
    checkpoint are invalid or do not belong together, or a loss is not finite, and Interrupted,
    after saving, on SIGINT or SIGTERM.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    check_begun(out / CHECKPOINT, resume)
    frames = frames_of(config, codec)
    songs = read_songs(music, captions, codec, frames)
    state = build(config, codec, songs)
    if resume:
        restore(state, config, codec, songs, out)
    elif init is not None:
        begin_with(state, init, config)
    with RunLog(out, state.step) as log, stop_requested() as stop:
        run = TextTraining(state, config, codec, songs, out, log)
        loop(run, batches(config, songs, frames, state.step), stop)
    return out


Batch = tuple[Tensor, list[str]]
"""Codes (B, Q, T), and the text of each, "" for none."""


class TextTraining(TrainingRun):
    """The training of a text-to-music model, for the common training loop."""

    watched = ("loss/bits",)
    advice = "lower lr and resume"

    def __init__(
        self, state: State, config: TextConfig, codec: Codec, songs: Songs, out: Path, log: RunLog
    ) -> None:
        self.state, self.config, self.codec = state, config, codec
        self.songs, self.out, self.log = songs, out, log
        every = config.save_every
        self.schedule = Schedule(
            config.steps, config.log_every, every, val_every=every, sample_every=config.sample_every
        )
        self.progress = Progress(state.step, config.steps)
        self.began_s, self.first = time.perf_counter(), state.step

    @property
    def step(self) -> int:
        return self.state.step

    def advance(self, batch: Batch, wait_s: float) -> dict[str, Tensor | float]:
        return train_step(self.state, self.config, *batch)

    def report(self, now: Mapping[str, float], mean: Mapping[str, float], count: int) -> None:
        rate = (self.step - self.first) / (time.perf_counter() - self.began_s)
        self.log.scalars(self.step, {**mean, "steps_per_s": rate})
        self.progress.show(self.step, now, mean, count)

    def save(self) -> None:
        save(self.state, self.config, self.codec, self.songs, self.out)

    def validate(self) -> None:
        found = validate(self.state, self.config, self.codec, self.songs)
        self.log.scalars(self.step, found)
        self.progress.validated(self.step, found)
        write_card(self.state.model, self.config, self.codec, self.songs, self.out)

    def validated(self) -> bool:
        return reported(self.out, self.step, VALIDATED)

    def sample(self) -> None:
        heard = samples(self.state, self.config, self.codec, self.songs)
        write_samples(self.out, self.log, self.step, heard, LogMel())

    def sampled(self) -> bool:
        return (samples_folder(self.out, self.step) / SPECTROGRAMS).is_file()


def batches(config: TextConfig, songs: Songs, frames: int, step: int) -> Iterator[Batch]:
    """Yield the batch of each step from `step` on: windows anywhere, captions in varied forms."""
    for number in itertools.count(step):
        rng = np.random.default_rng([config.seed, number])
        codes, captions = songs.batch(rng, config.batch, frames)
        texts = [
            "" if rng.random() < config.drop_caption
            else caption.varied(rng, config.sentences, config.drop_phrase)
            for caption in captions
        ]  # fmt: skip
        yield codes, texts


def build(config: TextConfig, codec: Codec, songs: Songs) -> State:
    """Return the initial state: random weights, and the tokenizer of the songs' captions."""
    tokenizer = build_tokenizer(songs.texts(frames_of(config, codec)))
    model = build_model(config, codec, len(tokenizer)).to(device_of(config.device))
    model.train()
    model.audio_encoder.eval()
    if pointing := config.beat_heads > 0 and has_times(tokenizer):
        keep_words_apart(model)
    kept = point_to_times(model, tokenizer, config.beat_heads) if pointing else {}
    learnt = trained(model)
    # Scales, shifts and biases are few: only matrices decay.
    groups = [
        {"params": [p for p in learnt.values() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in learnt.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    betas = (config.betas[0], config.betas[1])
    optimiser = torch.optim.AdamW(groups, config.lr, betas, fused=True)
    average = {name: weight.detach().clone() for name, weight in learnt.items()}
    return State(model, tokenizer, optimiser, average, kept)


@torch.no_grad()
def begin_with(state: State, folder: Path, config: TextConfig) -> None:
    """Take over a model's weights, those of words by name; words that it lacks stay random.

    Raises ValueError if there is no such model in the folder, or it has other settings.
    """
    base = load_base(str(folder), state.model.device)
    old = dict(base.model.named_parameters())
    ours, theirs = state.tokenizer.get_vocab(), base.tokenizer.get_vocab()
    weights = {n: p for n, p in state.model.named_parameters() if not n.startswith(CODEC_PART)}
    for name, weight in weights.items():
        skipped = 1 if name == WORDS else 0
        if name not in old or old[name].shape[skipped:] != weight.shape[skipped:]:
            raise ValueError(
                f"{folder}: {name} does not fit; begin with a model of the same settings"
            )
        if name == WORDS:
            both = [word for word in ours if word in theirs]
            weight[[ours[word] for word in both]] = old[name][[theirs[word] for word in both]]
        else:
            weight.copy_(old[name])
    if state.kept:
        state.kept = point_to_times(state.model, state.tokenizer, config.beat_heads)
    for name, weight in trained(state.model).items():
        state.average[name].copy_(weight)
    print(f"{len(weights)} tensors of {folder}")


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights that are trained, by name: all that are not frozen, as the codec's are."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def train_step(
    state: State, config: TextConfig, codes: Tensor, texts: list[str]
) -> dict[str, Tensor | float]:
    """Take one step on codes (B, Q, T) and their texts; return the loss in bits per code."""
    model = state.model
    torch.manual_seed(config.seed * 1_000_003 + state.step)  # of dropout
    set_rate(state.optimiser, config.lr_at(state.step))
    loss = loss_of(model, state.tokenizer, codes.to(model.device), texts)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(list(trained(model).values()), config.clip)
    state.optimiser.step()
    keep(trained(model), state.kept)
    state.step += 1
    _average(state, min(config.average, state.step / (state.step + 9)))
    return {"loss/bits": loss.detach() * BITS, "gradient_norm": norm}


@torch.no_grad()
def _average(state: State, decay: float) -> None:
    weights = trained(state.model)
    torch._foreach_lerp_([state.average[n] for n in weights], list(weights.values()), 1 - decay)


@torch.no_grad()
def averaged(state: State) -> MusicgenForConditionalGeneration:
    """Return a frozen copy of the model with the averaged weights."""
    model = copy.deepcopy(state.model)
    for name, weight in trained(model).items():
        weight.copy_(state.average[name])
    return model.eval().requires_grad_(False)


def save(state: State, config: TextConfig, codec: Codec, songs: Songs, out: Path) -> None:
    """Write the checkpoint to resume from, and the folder of the model, each file atomically.

    Raises ValueError, and writes nothing, if a weight is not finite.
    """
    learnt = state.model.state_dict()
    contents = {
        "step": state.step,
        "settings": to_dict(config),
        "model": {n: v for n, v in learnt.items() if not n.startswith(CODEC_PART)},
        "average": state.average,
        "optimiser": state.optimiser.state_dict(),
        "songs": songs.fingerprint,
        "codec": codec.id,
    }
    check_finite(contents, ("model", "average", "optimiser"), TextTraining.advice)
    write_folder(averaged(state), state.tokenizer, out)
    write_card(state.model, config, codec, songs, out)
    save_torch(out / CHECKPOINT, contents, number=None)


def restore(state: State, config: TextConfig, codec: Codec, songs: Songs, out: Path) -> None:
    """Restore the state from the checkpoint of a run.

    Raises ValueError if it cannot be read, or if settings, codec or music are not those of the run.
    """
    path = out / CHECKPOINT
    saved = read_checkpoint(path, PARTS, number=None)
    found = {
        "other settings": other_settings(saved["settings"], config, str(path)),
        "another codec": "" if saved["codec"] == codec.id else f"{saved['codec']}, not {codec.id}",
        "other music or captions": "" if saved["songs"] == songs.fingerprint else "they differ",
    }
    refuse_other(out, found, "--music, --captions, --codec and --set")
    codec_weights = {n: v for n, v in state.model.state_dict().items() if n.startswith(CODEC_PART)}
    load_state(state.model, {**saved["model"], **codec_weights}, f"{path}: model")
    load_state(state.optimiser, saved["optimiser"], f"{path}: optimiser")
    if saved["average"].keys() != state.average.keys():
        raise ValueError(f"{path}: average does not fit the run's settings; train it again")
    state.average = {n: v.to(state.model.device) for n, v in saved["average"].items()}
    state.step = saved["step"]


def validate(state: State, config: TextConfig, codec: Codec, songs: Songs) -> dict[str, float]:
    """Return the bits per code of songs held out, by log tag: given which texts.

    With the right captions, with those of other songs, with none, with the sentence of genre and
    tempo, and, where beats are known, with that sentence without their times. Texts matter to the
    model by as much as the first is below the others.
    """
    model, frames = averaged(state), frames_of(config, codec)
    codes, captions = songs.windows(frames, config.val_windows)
    every = list(dict.fromkeys(caption.text for caption in songs.captions))
    wrong = [_other(every, caption.text, number) for number, caption in enumerate(captions)]
    untimed = [caption.untimed.sentence for caption in captions]
    timed = any(caption.beats for caption in captions)
    texts = {
        VALIDATED: [caption.text for caption in captions],
        f"{VALIDATED}_sentence": [caption.sentence for caption in captions],
        **({f"{VALIDATED}_untimed": untimed} if timed else {}),
        **({f"{VALIDATED}_wrong": wrong} if all(wrong) else {}),
        f"{VALIDATED}_none": [""] * len(captions),
    }
    return {tag: bits_of(model, state.tokenizer, codes, given) for tag, given in texts.items()}


def _other(texts: list[str], own: str, number: int) -> str:
    """Return another text than `own`, in turn from all of them; "" if there is none."""
    others = [text for text in texts if text != own]
    return others[7 * number % len(others)] if others else ""


@torch.no_grad()
def bits_of(
    model: MusicgenForConditionalGeneration,
    tokenizer: Any,
    codes: Tensor,
    texts: list[str],
    batch: int = 8,
) -> float:
    """Return the bits per code of codes (B, Q, T), each given its text ("": none)."""
    total = 0.0
    for first in range(0, len(codes), batch):
        part = codes[first : first + batch].to(model.device)
        loss = loss_of(model, tokenizer, part, texts[first : first + batch])
        total += float(loss) * BITS * len(part)
    return total / len(codes)


def samples(
    state: State, config: TextConfig, codec: Codec, songs: Songs
) -> dict[str, dict[str, Tensor]]:
    """Return what to listen to: held-out music through the codec, and music made from its words.

    Audio (N,) at 22 050 Hz, by song, "reconstruction" and "generated". The words are the song's
    genre and tempo, as the sentence.
    """
    model, frames = averaged(state), frames_of(config, codec)
    chosen = songs.held_out[:: max(1, len(songs.held_out) // config.samples)][: config.samples]
    prompts = [song.caption.sentence for song in chosen]
    made = at_our_rate(model, draw(model, state.tokenizer, prompts, frames, 0, TextOptions()))
    heard = {}
    for song, audio in zip(chosen, made, strict=True):
        codes = torch.from_numpy(song.codes[None, :, :frames].astype(np.int64)).to(model.device)
        true = codec.decode(codes, codec.levels[0])[0].cpu()
        heard[Path(song.name).stem] = {"reconstruction": true, "generated": audio}
    return heard
