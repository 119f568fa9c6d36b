"""Masked models as a family: masked diffusion over the codec's codes, and in-painting.

Symbols: B batch, N codes of a level, L positions, K entries, T steps of the chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from model.codecs.base import Codec
from model.data.inputs import GENRE, Inputs, given
from model.data.source import Batch
from model.families.code_models import BITS, CodeModel, check_count, nats
from model.families.masked.config import NONE, PRESETS, VECTOR, Options
from model.families.masked.config import Config as MaskedConfig
from model.families.masked.losses import Times, level_losses, masked_codes
from model.families.masked.network import MaskedLevel, MaskedNetwork
from model.families.masked.sampling import Filler, Predict, fill
from model.families.tokens.network import of_level
from model.families.tokens.onsets import OnsetStrength
from model.runtime.checkpoint import load_state


class Masked(CodeModel[MaskedConfig]):
    """A transformer that fills in masked codes of any places, coarsest level first."""

    title = "Masked"
    Config = MaskedConfig
    PRESETS = PRESETS
    Options = Options
    parts = {**CodeModel.parts, "times": (dict, ("squares", "counts"))}  # noqa: RUF012
    inpaints = True

    network: MaskedNetwork
    trained: MaskedNetwork

    def __init__(
        self, config: MaskedConfig, inputs: Inputs, codec: Codec, device: torch.device
    ) -> None:
        self.config, self.inputs, self.codec, self.device = config, inputs, codec, device
        self.network = MaskedNetwork(config, inputs, codec).to(device)

    # --- training --------------------------------------------------------------------------------

    def start_training(self) -> None:
        super().start_training()
        self.times = Times(self.config.chain_steps, self.config.times, self.device)
        self.onset_strength = OnsetStrength(self.network.step_samples).to(self.device)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        config, network, count = self.config, self.trained, len(batch)
        network.train()
        times, shares = self.times.draw(count)
        weight = 1 / (shares * config.chain_steps)
        logs: dict[str, Tensor] = {}
        total = torch.zeros((), device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            condition, heads = network.condition(batch.inputs, count, self.kept(count))
            predicted = {}
            for name in self.levels:
                mask = self.level(network, name).mask
                read = masked_codes(batch.codes[name], times / config.chain_steps, mask)
                upper = batch.codes.get(network.above.get(name, ""))
                if upper is not None:
                    upper = self.with_wrong(upper)
                predicted[name] = network.logits(name, read, condition, upper), read == mask
        for name, (logits, hidden) in predicted.items():
            codes = batch.codes[name]
            found = level_losses(config, logits, codes, hidden, times, batch.songs)
            if name == self.levels[0]:
                self.times.record(times, found["bound"])
            # Over all steps of the chain, as the bound is: T times the mean of a step.
            means = {kind: config.chain_steps * (x * weight).mean() for kind, x in found.items()}
            logs[f"bits/{name}"] = means["bound"].detach() * BITS
            for kind, loss in means.items():
                total = total + config.weights.get(kind, 1.0) * loss
                logs[f"loss/{kind}/{name}"] = loss.detach()
        if heads is not None:
            onsets = self.onset_strength(batch.audio, self.network.window)
            losses = {"onset": F.binary_cross_entropy_with_logits(heads.onsets.float(), onsets)}
            if heads.genre is not None:
                losses["genre"] = F.cross_entropy(heads.genre.float(), batch.inputs[GENRE])
            for kind, loss in losses.items():
                total = total + config.weights[kind] * loss
                logs[f"loss/{kind}"] = loss.detach()
        rate = self.rate(self.steps)
        self.descend(total)
        return {
            **logs,
            "loss/total": total.detach(),
            "gradient/network": self.clip.norm,
            "rate": torch.tensor(rate),
        }

    def level(self, network: MaskedNetwork, name: str) -> MaskedLevel:
        """Return the network of a level."""
        return cast(MaskedLevel, network.levels[name])

    # --- validation and generation ---------------------------------------------------------------

    def bits(self, inputs: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return an upper bound of the bits per code, by level: (B,).

        It is that of drawing one code after another, in the mean over all orders (Hoogeboom et al.
        2022), which no chain with fewer steps can beat: the cross entropy of n masked codes, with n
        from 1 to N. `bound_draws` values of n are spread over this range. Masks are the same in
        every call.
        """
        network, found = self.network, {}
        count, draws = len(codes[self.levels[0]]), self.config.bound_draws
        condition, _ = network.condition(inputs, count)
        for name in self.levels:
            true, mask = codes[name], self.level(network, name).mask
            rng = torch.Generator(self.device).manual_seed(0)
            start = torch.rand(count, generator=rng, device=self.device)
            sums = torch.zeros(count, device=self.device)
            for i in range(draws):
                masked = ((i + start) / draws * true.shape[1]).long() + 1
                order = torch.rand(true.shape, generator=rng, device=self.device).argsort(1)
                hidden = order < masked[:, None]
                read = torch.where(hidden, mask, true)
                upper = codes.get(network.above.get(name, ""))
                logits = network.logits(name, read, condition, upper).float()
                sums += (nats(logits, true) * hidden).sum(1) / masked
            found[name] = sums / draws * BITS
        return found

    def generate(
        self, inputs: Mapping[str, Tensor], steps: Mapping[str, int], options: Any = None
    ) -> dict[str, Tensor]:
        count = len(next(iter(inputs.values())))
        nothing = {
            name: torch.zeros(count, steps[name], dtype=torch.long, device=self.device)
            for name in self.levels
        }
        everything = {name: torch.ones_like(codes[0]).bool() for name, codes in nothing.items()}
        return self.inpaint(inputs, nothing, everything, options)

    def inpaint(
        self,
        inputs: Mapping[str, Tensor],
        codes: Mapping[str, Tensor],
        replaced: Mapping[str, Tensor],
        options: Any = None,
    ) -> dict[str, Tensor]:
        guides = bool(self.config.drop_all)
        options = options or (Options() if guides else Options(guidance=(1.0,)))
        for name in ("steps", "guidance", "temperature", "top_p"):
            check_count(name, getattr(options, name), len(self.levels))
        asked = [of_level(options.guidance, i) for i in range(len(self.levels))]
        if not guides and any(value != 1 for value in asked):
            raise ValueError(
                f"guidance is {asked}, but the run was trained with drop_all=0 and knows no music "
                "without a dance; generate with --set guidance=1"
            )
        for name in (name for name in self.inputs.names if name not in self.optional):
            given(inputs, name)
        found: dict[str, Tensor] = {}
        for i, name in enumerate(self.levels):
            filler = Filler(
                of_level(options.steps, i), options.order, of_level(options.guidance, i),
                of_level(options.temperature, i), of_level(options.top_p, i),
            )  # fmt: skip
            level = self.level(self.network, name)
            masked = torch.where(replaced[name], level.mask, codes[name])
            upper = found.get(self.network.above.get(name, ""))
            predict = self.predictor(level, inputs, masked, upper, filler.guides)
            window = self.network.window
            found[name] = fill(masked, level.mask, level.patch, window, predict, filler)
        return found

    def predictor(
        self,
        level: MaskedLevel,
        inputs: Mapping[str, Tensor],
        codes: Tensor,
        upper: Tensor | None,
        guides: bool,
    ) -> Any:
        """Return a function from a window's start and stop to what predicts its codes.

        With `guides`, rows without the dance follow those with it.
        """
        count, total = len(codes), -(-codes.shape[1] // level.patch)
        dances = [self.network.conditions(inputs, count, total)]
        if guides:
            dances.append(self.network.conditions({}, count, total))
        above = 0.0 if level.upper is None else level.upper(upper, total)

        def window(start: int, stop: int) -> Predict:
            own = above if isinstance(above, float) else above[:, start:stop]
            rows = torch.cat([dance(start, stop) + own for dance in dances])

            def predict(codes: Tensor, at: Tensor | None) -> Tensor:
                times = len(dances)
                return level(
                    codes.repeat(times, 1), rows, None if at is None else at.repeat(times, 1)
                )

            return predict

        return window

    # --- state -----------------------------------------------------------------------------------

    def announcements(self) -> list[str]:
        config = self.config
        lines = super().announcements()
        if config.condition == VECTOR:
            lines.append("condition: one vector for a segment, from an untrained encoder, as CDCD")
        if config.contrast != NONE:
            lines.append(f"contrast: {config.contrast}, negatives {config.negatives}")
        return lines

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "times": self.times.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], what: str) -> None:
        super().load_state_dict(state, what)
        load_state(self.times, state["times"], f"{what}: times")
