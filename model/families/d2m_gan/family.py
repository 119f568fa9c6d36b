"""D2M-GAN as a family (Zhu et al. 2022, section 3): each step trains the adversary first.

Symbols: B batch, C latent width, L code steps, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model.audio import LogMel, mel_loss, wave_loss
from model.codecs.base import Codec, LatentCodec, join_codes, samples_per_code
from model.contract.dataset import Dataset
from model.contract.segment import MOTION, VISUAL
from model.data.inputs import GENRE, Inputs, inputs_of, shown
from model.data.source import Batch
from model.families.base import Model
from model.families.d2m_gan.base import Generator
from model.families.d2m_gan.config import LOSSES, PRESETS
from model.families.d2m_gan.config import Config as D2MGANConfig
from model.families.d2m_gan.discriminators import build_adversary
from model.families.d2m_gan.generator import build_generator
from model.families.d2m_gan.losses import codebook_loss, straight_through, weighted_total
from model.runtime.checkpoint import load_state
from model.runtime.optimiser import adam, gradient_norm, set_rate


class D2MGAN(Model[D2MGANConfig]):
    """A generator of latents, trained with discriminators and through the codec's decoder."""

    title = "D2M-GAN"
    Config = D2MGANConfig
    PRESETS = PRESETS
    parts = {  # noqa: RUF012
        "network": (dict, ()),
        "optimiser": (dict, ()),
        "adversary": (dict, ("network", "optimiser")),
    }
    losses = ("adversary/hinge", "loss/total")
    advice = "lower lr_generator or lr_discriminator"

    codec: LatentCodec
    network: Generator

    def __init__(
        self, config: D2MGANConfig, inputs: Inputs, codec: Codec, device: torch.device
    ) -> None:
        if not isinstance(codec, LatentCodec):
            raise ValueError(
                f"codec {codec.id}: D2M-GAN is trained through the latents of a JukeBox VQ-VAE, "
                "which this codec lacks; use --codec demo, jukebox-5b or the file of one"
            )
        self.config, self.inputs, self.codec, self.device = config, inputs, codec, device
        codebook, hop = codec.codebook(config.level), codec.level(config.level).hop
        self.network = build_generator(config, inputs, hop, codebook.cpu()).to(device)
        self.log_mel = LogMel().to(device)
        self.scale = codebook.std().item() if config.unit_scale else 1.0
        """Latents are divided by this before the adversary and the codebook loss."""

    @classmethod
    def levels_of(cls, config: D2MGANConfig) -> tuple[str, ...]:
        return (config.level,)

    @classmethod
    def inputs_of(cls, config: D2MGANConfig, dataset: Dataset) -> Inputs:
        wanted = {MOTION: config.use_motion, VISUAL: config.use_visual, GENRE: config.use_genre}
        inputs = inputs_of(dataset, [name for name, use in wanted.items() if use])
        if not {MOTION, VISUAL} & set(inputs.names):
            raise ValueError(
                f"{dataset.name}: no input to generate from: the data set has "
                f"{', '.join(sorted(dataset.fields))}; use_motion is {config.use_motion}, "
                f"use_visual is {config.use_visual}"
            )
        return inputs

    # --- training --------------------------------------------------------------------------------

    def start_training(self) -> None:
        self.adversary = build_adversary(self.config, self.codec.emb_width, self.device)
        self.optimiser = adam(
            self.network.parameters(), self.config.lr_generator, self.config.betas
        )

    def step(self, batch: Batch) -> dict[str, Tensor]:
        config, codec, level = self.config, self.codec, self.config.level
        true_codes = batch.codes[level]
        real = codec.embed(true_codes, level)
        raw = real
        if config.discriminate_latents or config.weights["latent"]:
            raw = codec.latents(batch.audio, level)
        with self.autocast():
            fake = self.network(batch.inputs, true_codes.shape[1])
        truth = raw if config.discriminate_latents else real
        hinge = self.adversary.step(truth / self.scale, fake / self.scale)

        losses = self.generator_losses(batch, real, raw, fake)
        total = weighted_total(losses, config.weights)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        self.optimiser.step()

        codes = codec.quantise(fake.detach(), level)
        return {
            **{f"loss/{name}": loss.detach() for name, loss in losses.items()},
            "loss/total": total.detach(),
            "adversary/hinge": hinge,
            "gradient/generator": gradient_norm(self.optimiser),
            "gradient/adversary": gradient_norm(self.adversary.optimiser),
            "codes/accuracy": (codes == true_codes).float().mean(),
        }

    def generator_losses(
        self, batch: Batch, real: Tensor, raw: Tensor, fake: Tensor
    ) -> dict[str, Tensor]:
        """Return the losses whose weight is not 0, by name.

        All latents are (B, C, L): `real` are the codebook entries of the true codes, `raw` the
        encoder's latents before quantisation, `fake` the generated ones.
        """
        weights = self.config.weights
        losses: dict[str, Tensor] = {}
        if weights["adversarial"] or weights["feature"]:
            truth = raw if self.config.discriminate_latents else real
            hinge, matching = self.adversary.losses(truth / self.scale, fake / self.scale)
            losses |= {"adversarial": hinge, "feature": matching}
        if weights["codebook"]:
            losses["codebook"] = codebook_loss(fake, real, self.scale)
        if weights["latent"]:
            losses["latent"] = codebook_loss(fake, raw, self.scale)
        if weights["wave"] or weights["mel"]:
            items = self.config.audio_items or len(batch)
            audio, target = self.decode_straight_through(fake[:items]), batch.audio[:items]
            losses["wave"] = wave_loss(audio, target)
            losses["mel"] = mel_loss(audio, target, self.log_mel)
        return {name: losses[name] for name in LOSSES if weights[name]}

    def decode_straight_through(self, latents: Tensor) -> Tensor:
        """Decode the nearest entries to audio (B, L * hop); `latents` get the gradient."""
        codec, level = self.codec, self.config.level
        entries = codec.embed(codec.quantise(latents.detach(), level), level)
        with self.autocast():
            return codec.decode_latents(straight_through(latents, entries), level).float()

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16)

    # --- validation and generation ---------------------------------------------------------------

    def validate(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        level = self.config.level
        true_codes = batch.codes[level]
        fake = self.network(batch.inputs, true_codes.shape[1])
        codes = self.codec.quantise(fake, level)
        real = self.codec.embed(true_codes, level)
        return {
            "val/codebook": codebook_loss(fake, real, self.scale),
            "val/accuracy": (codes == true_codes).float().mean(),
        }, {level: codes}

    def generate(
        self, inputs: Mapping[str, Tensor], steps: Mapping[str, int], options: Any = None
    ) -> dict[str, Tensor]:
        level = self.config.level
        length, window = steps[level], self.codec.steps(self.inputs.samples, level)
        count = self._windows(inputs)
        if self.network.any_length or (count, length) == (1, window):
            return {level: self.codec.quantise(self.network(inputs, length), level)}
        each = {
            name: x.repeat_interleave(count) if name == GENRE
            else x.reshape(-1, x.shape[1] // count, x.shape[2])
            for name, x in inputs.items()
        }  # fmt: skip
        codes = self.codec.quantise(self.network(each, window), level)
        hop = samples_per_code(self.codec, level)
        pieces = (join_codes(part, self.inputs.samples, hop, length) for part in codes.split(count))
        return {level: torch.cat(list(pieces))}

    def _windows(self, inputs: Mapping[str, Tensor]) -> int:
        """Return the length of the pieces in windows."""
        for name, spec in self.inputs.specs.items():
            if spec.vectors and name in inputs:
                return inputs[name].shape[1] // spec.vectors
        return 1

    # --- state -----------------------------------------------------------------------------------

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator": self.optimiser, "adversary": self.adversary.optimiser}

    def networks(self) -> list[torch.nn.Module]:
        return [self.network, self.adversary.network]

    def wants_measures(self) -> list[str]:
        return [*self.network.readers] if self.config.normalise_inputs else []

    def measure_inputs(self, name: str, values: Tensor) -> None:
        self.network.readers[name].standardise.measure(values)

    def describe(self) -> str:
        return f"generator {self.config.arch}, level {self.config.level}"

    def announcements(self) -> list[str]:
        unused = [shown(name) for name in (MOTION, VISUAL) if name not in self.inputs.specs]
        lines = [f"trained without: {', '.join(unused)}"] if unused else []
        largest = self.codec.codebook(self.config.level).abs().max().item()
        if (share := largest / self.network.sigma) > 1:
            lines.append(
                f"warning: the largest codebook value is {share:.2f} sigma; raise sigma, or set it "
                "to 0"
            )
        elif share < 0.05:
            lines.append(
                f"warning: the largest codebook value is only {share:.3f} sigma; consider sigma=0"
            )
        return lines

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "adversary": self.adversary.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], what: str) -> None:
        load_state(self.network, state["network"], f"{what}: network")
        load_state(self.optimiser, state["optimiser"], f"{what}: optimiser")
        load_state(self.adversary, state["adversary"], f"{what}: adversary")
        set_rate(self.optimiser, self.config.lr_generator)
        set_rate(self.adversary.optimiser, self.config.lr_discriminator)
