"""How a run does on held-out segments: losses, codes, rhythm, and samples to hear."""

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
    """Return figures, code accuracy and rhythm on `val_segments` spread over the split, by log tag.

    In float32, as `generate` runs, whatever the precision of training.
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
            # The decoder gives back less than a hop less than it was given.
            true = batch.audio[:, : audio.shape[1]]
            for ours, theirs in zip(audio.cpu().numpy(), true.cpu().numpy(), strict=True):
                clips.append(beats_scores(ours, theirs))
    rhythm = mean_scores(clips)
    return {
        **{name: value / len(clips) for name, value in sums.items()},
        # Where no clip's truth has an onset there is no rhythm to score.
        **{f"val/{name}": rhythm[name] for name in SCORES if math.isfinite(rhythm[name])},
    }


@torch.no_grad()
def sample(state: State, source: Source) -> dict[str, dict[str, Tensor]]:
    """Return, by key, audio (N,) as recorded ("truth"), through the codec, and generated."""
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
    """Evaluate without touching the run: same noise every time, random numbers put back after."""
    devices = [state.device] if state.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(state.config.seed)
        state.model.network.eval()
        try:
            yield
        finally:
            state.model.network.train()
