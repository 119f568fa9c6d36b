"""One step of training: the adversary, then the generator."""

from __future__ import annotations

import torch
from torch import Tensor

from model.data.source import Batch
from model.families.d2m_gan.config import LOSSES
from model.families.d2m_gan.losses import (
    codebook_loss,
    mel_loss,
    straight_through,
    wave_loss,
    weighted_total,
)
from model.runtime.optimiser import gradient_norm
from model.training.state import State


def train_step(state: State, batch: Batch) -> dict[str, Tensor]:
    """Train the adversary, then the generator, on one batch.

    Returns 0-dim tensors on the device, by log tag; nothing here waits for the device.
    """
    config, codec, level = state.config, state.codec, state.config.level
    real = codec.lookup(batch.codes, level)
    raw = real
    if config.discriminate_latents or config.weights["latent"]:
        raw = codec.latents(batch.audio, level)
    with autocast(state):
        fake = state.generator(batch.motion, batch.visual, batch.codes.shape[1], batch.genre)
    shown = raw if config.discriminate_latents else real
    judged = state.adversary.step(shown / state.scale, fake / state.scale)

    losses = generator_losses(state, batch, real, raw, fake)
    total = weighted_total(losses, config.weights)
    state.optimiser.zero_grad(set_to_none=True)
    total.backward()
    state.optimiser.step()
    state.step += 1

    logs = {f"loss/{name}": loss.detach() for name, loss in losses.items()}
    codes = codec.quantise(fake.detach(), level)
    return {
        **logs,
        "loss/total": total.detach(),
        "adversary/hinge": judged,
        "gradient/generator": gradient_norm(state.optimiser),
        "gradient/adversary": gradient_norm(state.adversary.optimiser),
        "codes/accuracy": (codes == batch.codes).float().mean(),
    }


def generator_losses(
    state: State, batch: Batch, real: Tensor, raw: Tensor, fake: Tensor
) -> dict[str, Tensor]:
    """Return the losses that have a weight, by name.

    Latents (B, C, L): `real` are the true codes' entries, `raw` the encoder's before look-up,
    `fake` the generator's.
    """
    weights = state.config.weights
    losses: dict[str, Tensor] = {}
    if weights["adversarial"] or weights["feature"]:
        shown = raw if state.config.discriminate_latents else real
        hinge, matching = state.adversary.losses(shown / state.scale, fake / state.scale)
        losses |= {"adversarial": hinge, "feature": matching}
    if weights["codebook"]:
        losses["codebook"] = codebook_loss(fake, real, state.scale)
    if weights["latent"]:
        losses["latent"] = codebook_loss(fake, raw, state.scale)
    if weights["wave"] or weights["mel"]:
        items = state.config.audio_items or len(batch)
        audio, target = decode_straight_through(state, fake[:items]), batch.audio[:items]
        losses["wave"] = wave_loss(audio, target)
        losses["mel"] = mel_loss(audio, target, state.log_mel)
    return {name: losses[name] for name in LOSSES if weights[name]}


def decode_straight_through(state: State, latents: Tensor) -> Tensor:
    """Decode the nearest entries to audio (B, L * hop); the gradient goes straight to `latents`."""
    codec, level = state.codec, state.config.level
    entries = codec.lookup(codec.quantise(latents.detach(), level), level)
    with autocast(state):
        return codec.decode_latents(straight_through(latents, entries), level).float()


def autocast(state: State) -> torch.autocast:
    return torch.autocast(state.device.type, torch.bfloat16, enabled=state.config.bf16)
