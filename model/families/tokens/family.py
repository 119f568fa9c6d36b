"""Token models as a family: one step trains all levels, and generation draws them in turn.

Symbols: B batch, N codes of a level, L positions, K entries.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from model.codecs.base import Codec
from model.contract.dataset import Dataset
from model.contract.segment import MOTION, VISUAL
from model.data.inputs import GENRE, Inputs, given, inputs_of, shown
from model.data.source import Batch
from model.families.base import Model
from model.families.tokens.config import PRESETS, Options, check_count
from model.families.tokens.config import Config as TokensConfig
from model.families.tokens.level import LevelNetwork
from model.families.tokens.network import TokenNetwork, of_level
from model.families.tokens.onsets import OnsetStrength
from model.families.tokens.sampling import Sampler, draw
from model.runtime.checkpoint import load_state
from model.runtime.optimiser import GradientClip, set_rate

BITS = 1 / math.log(2)


class Tokens(Model[TokensConfig]):
    """Transformers that draw codes one after another, coarsest level first.

    `network` holds the moving average of the trained weights, `trained` those weights.
    """

    title = "Tokens"
    Config = TokensConfig
    PRESETS = PRESETS
    Options = Options
    parts = {  # noqa: RUF012
        "network": (dict, ()),
        "trained": (dict, ()),
        "optimiser": (dict, ()),
        "progress": (dict, ("steps",)),
    }
    best = "val/bits"
    flat_memory = True
    likelihood = True
    optional = frozenset({GENRE})
    advice = "lower lr"

    network: TokenNetwork
    trained: TokenNetwork

    def __init__(
        self, config: TokensConfig, inputs: Inputs, codec: Codec, device: torch.device
    ) -> None:
        self.config, self.inputs, self.codec, self.device = config, inputs, codec, device
        self.network = TokenNetwork(config, inputs, codec).to(device)
        counts = {name: codec.steps(inputs.samples, name) for name in self.levels}
        self.window = self.network.positions(counts)
        """The positions of a segment."""

    @classmethod
    def levels_of(cls, config: TokensConfig) -> tuple[str, ...]:
        return config.level_names

    @classmethod
    def inputs_of(cls, config: TokensConfig, dataset: Dataset) -> Inputs:
        wanted = {MOTION: config.use_motion, VISUAL: config.use_visual, GENRE: config.use_genre}
        inputs = inputs_of(dataset, [name for name, use in wanted.items() if use])
        if not {MOTION, VISUAL} & set(inputs.names):
            raise ValueError(
                f"{dataset.name}: no dance to follow: the data set has "
                f"{', '.join(sorted(dataset.fields))}; use_motion is {config.use_motion}, "
                f"use_visual is {config.use_visual}"
            )
        return inputs

    # --- training --------------------------------------------------------------------------------

    def start_training(self) -> None:
        config = self.config
        self.trained = copy.deepcopy(self.network)
        self.steps = 0
        self.onset_strength = OnsetStrength(self.network.step_samples).to(self.device)
        # Scales, shifts, biases and tables are few: only matrices decay.
        every = [p for p in self.trained.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in every if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0},
        ]
        betas = (config.betas[0], config.betas[1])
        self.optimiser = torch.optim.AdamW(groups, config.lr, betas, fused=True)
        self.clip = GradientClip(self.optimiser, config.clip)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        config, network = self.config, self.trained
        network.train()
        set_rate(self.optimiser, self.rate(self.steps))
        count = len(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            condition = network.condition(batch.inputs, count, self.window, self.kept(count))
            read = {name: self.with_wrong(codes) for name, codes in batch.codes.items()}
            logits = {
                name: network.logits(
                    name, read[name], condition.values, read.get(network.above.get(name, ""))
                )
                for name in self.levels
            }
        losses = {
            name: F.cross_entropy(found.float().flatten(0, 1), batch.codes[name].flatten())
            for name, found in logits.items()
        }
        logs = {f"bits/{name}": loss.detach() * BITS for name, loss in losses.items()}
        onsets = self.onset_strength(batch.audio, self.window)
        losses["onset"] = F.binary_cross_entropy_with_logits(condition.onsets.float(), onsets)
        if condition.genre is not None:
            losses["genre"] = F.cross_entropy(condition.genre.float(), batch.inputs[GENRE])
        total = sum((config.weights.get(name, 1.0) * loss for name, loss in losses.items()),
                    torch.zeros((), device=self.device))  # fmt: skip
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        self.optimiser.step()
        self.steps += 1
        self.update_average()
        return {
            **logs,
            **{f"loss/{name}": loss.detach() for name, loss in losses.items()},
            "loss/total": total.detach(),
            "gradient/network": self.clip.norm,
            "rate": torch.tensor(self.rate(self.steps - 1)),
        }

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        config = self.config
        done = min(1.0, step / config.max_steps)
        falling = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))
        return config.lr * min(1.0, (step + 1) / config.warmup_steps) * falling

    def kept(self, count: int) -> dict[str, Tensor]:
        """Draw which of `count` segments keep each input: (B,) bool by name."""
        some = torch.rand(count, device=self.device) >= self.config.drop_all
        return {
            name: some & (torch.rand(count, device=self.device) >= self.config.drop_each)
            for name in self.inputs.names
        }

    def with_wrong(self, codes: Tensor) -> Tensor:
        """Return codes (B, N) of which a share is replaced by codes of other places."""
        wrong = torch.rand(codes.shape, device=codes.device) < self.config.wrong_codes
        other = torch.randint(codes.numel(), codes.shape, device=codes.device)
        return torch.where(wrong, codes.flatten()[other], codes)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights towards the trained ones; faster in the first steps."""
        decay = min(self.config.average, self.steps / (self.steps + 9))
        pairs = zip(self.network.parameters(), self.trained.parameters(), strict=True)
        held, new = zip(*pairs, strict=True)
        torch._foreach_lerp_(held, new, 1 - decay)

    # --- validation and generation ---------------------------------------------------------------

    def validate(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        steps = {name: codes.shape[-1] for name, codes in batch.codes.items()}
        return {}, self.generate(batch.inputs, steps)

    def bits(self, inputs: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        network, found = self.network, {}
        count = len(codes[self.levels[0]])
        length = network.positions({name: each.shape[1] for name, each in codes.items()})
        condition = network.condition(inputs, count, length).values
        for name in self.levels:
            upper = codes.get(network.above.get(name, ""))
            logits = network.logits(name, codes[name], condition, upper).float()
            each = F.cross_entropy(logits.transpose(1, 2), codes[name], reduction="none")
            found[name] = each.mean(1) * BITS
        return found

    def generate(
        self, inputs: Mapping[str, Tensor], steps: Mapping[str, int], options: Any = None
    ) -> dict[str, Tensor]:
        options = options or Options()
        for name in ("guidance", "temperature", "top_p"):
            check_count(name, getattr(options, name), len(self.levels))
        for name in (name for name in self.inputs.names if name not in self.optional):
            given(inputs, name)
        count, network = len(next(iter(inputs.values()))), self.network
        length = network.positions(steps)
        condition = network.condition(inputs, count, length).values
        without = network.condition({}, count, length).values
        codes: dict[str, Tensor] = {}
        for i, name in enumerate(self.levels):
            lists = (options.guidance, options.temperature, options.top_p)
            sampler = Sampler(*(of_level(values, i) for values in lists))
            rows, upper = condition, codes.get(network.above.get(name, ""))
            if sampler.guides:
                rows = torch.cat([condition, without])
                upper = None if upper is None else upper.repeat(2, 1)
            level = cast(LevelNetwork, network.levels[name])
            codes[name] = draw(level, rows, upper, steps[name], self.window, sampler)
        return codes

    # --- state -----------------------------------------------------------------------------------

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"network": self.optimiser}

    def networks(self) -> list[torch.nn.Module]:
        return [self.network, self.trained]

    def wants_measures(self) -> list[str]:
        return self.network.encoder.measured()

    def measure_inputs(self, name: str, values: Tensor) -> None:
        self.network.encoder.measure(name, values)
        self.trained.encoder.measure(name, values)

    def announcements(self) -> list[str]:
        unused = [shown(name) for name in (MOTION, VISUAL) if name not in self.inputs.specs]
        return [f"trained without: {', '.join(unused)}"] if unused else []

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "trained": self.trained.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": {"steps": self.steps},
        }

    def load_state_dict(self, state: Mapping[str, Any], what: str) -> None:
        load_state(self.network, state["network"], f"{what}: network")
        load_state(self.trained, state["trained"], f"{what}: trained")
        load_state(self.optimiser, state["optimiser"], f"{what}: optimiser")
        self.steps = state["progress"]["steps"]
