"""How a run does on held-out segments: losses, codes, rhythm, and samples to hear."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from model.data.source import Source, spread_batches
from model.families.d2m_gan.losses import codebook_loss, mel_loss, wave_loss
from model.measures.beats import SCORES, beats_scores, mean_scores
from model.training.state import State


@torch.no_grad()
def validate(state: State, source: Source) -> dict[str, float]:
    """Return losses, code accuracy and rhythm on `val_segments` spread over the split, by log tag.

    In float32, as `generate` runs, whatever the precision of training.
    """
    config, level = state.config, state.config.level
    sums: dict[str, float] = {}
    clips: list[dict[str, float]] = []
    with eval_mode(state):
        for batch in spread_batches(source, config.batch_size, config.val_segments):
            batch = batch.to(state.device)
            real = state.codec.lookup(batch.codes, level)
            fake = state.network(batch.motion, batch.visual, batch.codes.shape[1], batch.genre)
            codes = state.codec.quantise(fake, level)
            audio = state.codec.decode(codes, level)
            values = {
                "val/codebook": codebook_loss(fake, real, state.scale),
                "val/wave": wave_loss(audio, batch.audio),
                "val/mel": mel_loss(audio, batch.audio, state.log_mel),
                "val/accuracy": (codes == batch.codes).float().mean(),
            }
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
    found = {}
    with eval_mode(state):
        for batch in spread_batches(source, 1, state.config.sample_segments):
            batch, level = batch.to(state.device), state.config.level
            steps = batch.codes.shape[1]
            latents = state.network(batch.motion, batch.visual, steps, batch.genre)
            found[batch.keys[0]] = {
                "truth": batch.audio[0].cpu(),
                "reconstruction": state.codec.decode(batch.codes, level)[0].cpu(),
                "generated": state.codec.decode(state.codec.quantise(latents, level), level)[
                    0
                ].cpu(),
            }
    return found


@contextmanager
def eval_mode(state: State) -> Iterator[None]:
    """Evaluate without touching the run: same noise every time, random numbers put back after."""
    devices = [state.device] if state.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(state.config.seed)
        state.network.eval()
        try:
            yield
        finally:
            state.network.train()
