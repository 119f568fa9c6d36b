"""Validation on held-out segments: losses, code accuracy, rhythm scores, and audio samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from model.audio import LogMel, mel_loss, wave_loss
from model.data.source import Batch, Segments, mixed_batches, spread_batches
from model.families.base import Model
from model.measures.beats import SCORES, beats_scores, mean_scores
from model.training.state import State


@torch.no_grad()
def validate(state: State, source: Segments) -> dict[str, float]:
    """Return measures of the model and rhythm scores by log tag, on `val_segments` segments.

    The segments are spread over the split. Runs in float32, as `generate` does, for any precision
    of training. Only `val_sound_segments` of them, if the family sets it, are generated; with a
    likelihood, the bits per code are of all.
    """
    config, model = state.config, state.model
    generated = min(model.val_sound_segments or config.val_segments, config.val_segments)
    level, log_mel = model.sound_level, LogMel().to(state.device)
    sums: dict[str, float] = {}
    clips: list[dict[str, float]] = []
    count = 0
    with eval_mode(state):
        for batch in spread_batches(source, config.batch_size, generated):
            batch = batch.to(state.device)
            values, codes = model.validate(batch)
            count += len(batch)
            audio = state.codec.decode(codes[level], level) if codes else None
            if audio is not None:
                values["val/wave"] = wave_loss(audio, batch.audio)
                values["val/mel"] = mel_loss(audio, batch.audio, log_mel)
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(batch)
            if audio is None:
                continue
            # Decoded audio is up to one hop shorter than the original.
            true = batch.audio[:, : audio.shape[1]]
            for made, truth in zip(audio.cpu().numpy(), true.cpu().numpy(), strict=True):
                clips.append(beats_scores(made, truth))
        likely = likelihood(state, source) if model.likelihood else {}
    rhythm = mean_scores(clips) if clips else {}
    return {
        **likely,
        **{name: value / count for name, value in sums.items()},
        # Without any onset in the true music, the scores are undefined.
        **{f"val/{name}": x for name, x in rhythm.items() if name in SCORES and math.isfinite(x)},
    }


def likelihood(state: State, source: Segments) -> dict[str, float]:
    """Return the bits per code of true codes, and what the dance is worth, by log tag.

    `val/gain` is how many bits the dance saves over the music alone, and `val/gain_others` what
    other dances "save": below 0 if the model follows the dance.
    """
    config, sums, count = state.config, dict[str, float](), 0
    for batch in mixed_batches(source, config.batch_size, config.val_segments):
        batch = batch.to(state.device)
        count += len(batch)
        for tag, values in bits_of(state.model, batch).items():
            sums[tag] = sums.get(tag, 0.0) + values.sum().item()
    return {tag: total / count for tag, total in sums.items()}


def bits_of(model: Model, batch: Batch) -> dict[str, Tensor]:
    """Return the bits per code of a batch's segments, and the gains of dances: (B,) by log tag."""
    own, alone = model.bits(batch.inputs, batch.codes), model.bits({}, batch.codes)
    others = {name: x.roll(len(batch) // 2, 0) for name, x in batch.inputs.items()}
    found = {f"val/bits/{level}": bits for level, bits in own.items()}
    found["val/bits"] = torch.stack([*own.values()]).mean(0)
    found |= {f"val/gain/{level}": alone[level] - bits for level, bits in own.items()}
    if len(batch) > 1:
        wrong = model.bits(others, batch.codes)
        found |= {f"val/gain_others/{level}": alone[level] - bits for level, bits in wrong.items()}
    return found


@torch.no_grad()
def sample(state: State, source: Segments) -> dict[str, dict[str, Tensor]]:
    """Return by key the true audio (N,), its reconstruction by the codec, and generated audio.

    There is no reconstruction for a family without codes.
    """
    model, level, found = state.model, state.model.sound_level, {}
    with eval_mode(state):
        for batch in spread_batches(source, 1, state.config.sample_segments):
            batch = batch.to(state.device)
            sounds = {"truth": batch.audio}
            if level:
                sounds["reconstruction"] = state.codec.decode(batch.codes[level], level)
            sounds["generated"], _ = model.sound(batch.inputs, batch.audio.shape[1])
            found[batch.keys[0]] = {name: audio[0].cpu() for name, audio in sounds.items()}
    return found


@contextmanager
def eval_mode(state: State) -> Iterator[None]:
    """Set eval mode and the same noise every time; afterwards restore the random number state."""
    devices = [state.device] if state.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(state.config.seed)
        state.model.network.eval()
        try:
            yield
        finally:
            state.model.network.train()
