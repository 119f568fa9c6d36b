"""Validation on held-out segments: losses, code accuracy, rhythm scores, and audio samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from model.audio import LogMel, mel_loss, wave_loss
from model.data.source import Source, spread_batches
from model.measures.beats import SCORES, beats_scores, mean_scores
from model.training.state import State


@torch.no_grad()
def validate(state: State, source: Source) -> dict[str, float]:
    """Return measures of the model and rhythm scores by log tag, on `val_segments` segments.

    The segments are spread over the split. Runs in float32, as `generate` does, for any precision
    of training.
    """
    config, model = state.config, state.model
    level, log_mel = model.sound_level, LogMel().to(state.device)
    sums: dict[str, float] = {}
    clips: list[dict[str, float]] = []
    with eval_mode(state):
        for batch in spread_batches(source, config.batch_size, config.val_segments):
            batch = batch.to(state.device)
            values, codes = model.validate(batch)
            audio = state.codec.decode(codes[level], level)
            values["val/wave"] = wave_loss(audio, batch.audio)
            values["val/mel"] = mel_loss(audio, batch.audio, log_mel)
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(batch)
            # Decoded audio is up to one hop shorter than the original.
            true = batch.audio[:, : audio.shape[1]]
            for generated, truth in zip(audio.cpu().numpy(), true.cpu().numpy(), strict=True):
                clips.append(beats_scores(generated, truth))
    rhythm = mean_scores(clips)
    return {
        **{name: value / len(clips) for name, value in sums.items()},
        # Without any onset in the true music, the scores are undefined.
        **{f"val/{name}": rhythm[name] for name in SCORES if math.isfinite(rhythm[name])},
    }


@torch.no_grad()
def sample(state: State, source: Source) -> dict[str, dict[str, Tensor]]:
    """Return by key the true audio (N,), its reconstruction by the codec, and generated audio."""
    model, codec = state.model, state.codec
    level, found = model.sound_level, {}
    with eval_mode(state):
        for batch in spread_batches(source, 1, state.config.sample_segments):
            batch = batch.to(state.device)
            steps = {name: codes.shape[-1] for name, codes in batch.codes.items()}
            codes = model.generate(batch.inputs, steps)
            found[batch.keys[0]] = {
                "truth": batch.audio[0].cpu(),
                "reconstruction": codec.decode(batch.codes[level], level)[0].cpu(),
                "generated": codec.decode(codes[level], level)[0].cpu(),
            }
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
