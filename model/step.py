"""One step of training: the adversary, then the generator."""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import LOSSES
from model.data import (
    Batch,
)
from model.losses import codebook_loss, mel_loss, straight_through, wave_loss, weighted_total
from model.optimiser import gradient_norm
from model.parallel import Team
from model.state import (
    State,
)


def train_step(state: State, batch: Batch) -> dict[str, Tensor]:
    """Train the adversary, then the generator, on one batch.

    Returns 0-dim tensors on the device, by log tag; nothing here waits for the device.
    """
    config, codec, level = state.config, state.codec, state.config.level
    real = codec.lookup(batch.codes, level)
    raw = real
    if config.judge_latents or config.weights["latent"]:
        raw = codec.latents(batch.audio, level)
    with autocast(state):
        fake = state.generator(batch.motion, batch.visual, batch.codes.shape[1], batch.genre)
    shown = raw if config.judge_latents else real
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
        shown = raw if state.config.judge_latents else real
        hinge, matching = state.adversary.losses(shown / state.scale, fake / state.scale)
        losses |= {"adversarial": hinge, "feature": matching}
    if weights["codebook"]:
        losses["codebook"] = codebook_loss(fake, real, state.scale)
    if weights["latent"]:
        losses["latent"] = codebook_loss(fake, raw, state.scale)
    if weights["wave"] or weights["mel"]:
        items = state.config.audio_items or len(batch)
        audio, target = hear(state, fake[:items]), batch.audio[:items]
        losses["wave"] = wave_loss(audio, target)
        losses["mel"] = mel_loss(audio, target, state.log_mel)
    return {name: losses[name] for name in LOSSES if weights[name]}


def hear(state: State, latents: Tensor) -> Tensor:
    """Decode the nearest entries to audio (B, L * hop); the gradient goes straight to `latents`."""
    codec, level = state.codec, state.config.level
    entries = codec.lookup(codec.quantise(latents.detach(), level), level)
    with autocast(state):
        return codec.decode_latents(straight_through(latents, entries), level).float()


def autocast(state: State) -> torch.autocast:
    return torch.autocast(state.device.type, torch.bfloat16, enabled=state.config.bf16)


def step_in_memory(state: State, batch: Batch, team: Team) -> dict[str, Tensor]:
    """Take a step; where memory runs out, raise ValueError that says which batch size fits."""
    step = state.step + 1
    try:
        return train_step(state, batch)
    except torch.OutOfMemoryError as error:
        asked = str(error).partition("\n")[0]
    # Out of the handler, whose traceback holds the tensors of the step.
    told = f"step {step}: out of memory on {state.device} with batches of {len(batch)} ({asked})"
    if team.size > 1 and len(batch) > 1:
        raise ValueError(f"{told}; start again with --set batch_size={len(batch) // 2}")
    if not (fits := largest_fit(state, batch) if team.size == 1 else 0):
        raise ValueError(f"{told}; not even 1 segment fits: use fewer channels, or bf16=true")
    raise ValueError(
        f"{told}; a step with {fits} fits, tried just now: start again with "
        f"--set batch_size={fits} (a run is resumed only with the batch size it began with)"
    )


def largest_fit(state: State, batch: Batch) -> int:
    """Return the largest half, quarter, … of a batch with which a step fits, 0 if none does.

    Takes steps to find out: the state is for nothing else afterwards.
    """
    items = len(batch) // 2
    while items:
        for optimiser in (state.optimiser, state.adversary.optimiser):
            optimiser.zero_grad(set_to_none=True)
        if state.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            train_step(state, batch.head(items))
        except torch.OutOfMemoryError:
            items //= 2
        else:
            return items
    return 0
