"""Token models as a family: one step trains all levels, and generation draws them in turn.

Symbols: B batch, N codes of a level, L positions, K entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from model.codecs.base import Codec
from model.contract.segment import SAMPLE_RATE_HZ
from model.data.inputs import GENRE, Inputs, given
from model.data.music_files import read_music
from model.data.source import Batch, Segments
from model.families.code_models import BITS, CodeModel, check_count, nats
from model.families.tokens.conditions import KnownMusic
from model.families.tokens.config import PRESETS, Options
from model.families.tokens.config import Config as TokensConfig
from model.families.tokens.level import LevelNetwork
from model.families.tokens.music import Music, encoded, load_music, scaled
from model.families.tokens.network import TokenNetwork, of_level
from model.families.tokens.onsets import OnsetStrength
from model.families.tokens.sampling import Sampler, draw


class Tokens(CodeModel[TokensConfig]):
    """Transformers that draw codes one after another, coarsest level first."""

    title = "Tokens"
    Config = TokensConfig
    PRESETS = PRESETS
    Options = Options

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
        self.styles: dict[str, Tensor] = {}
        """The styles (1, S) of the files asked for so far."""

    # --- training --------------------------------------------------------------------------------

    def start_training(self) -> None:
        super().start_training()
        self.music: Music | None = None
        self.music_begun_with = ""
        self.onset_strength = OnsetStrength(self.network.step_samples).to(self.device)

    def read_music(self, source: Segments) -> None:
        if not self.config.music:
            return
        counts = {name: self.codec.steps(self.inputs.samples, name) for name in self.levels}
        self.music = load_music(self.config.music, self.codec, self.network, counts)
        if self.steps and self.music.fingerprint != self.music_begun_with:
            raise ValueError(
                f"{self.config.music}: not the music that the run was begun with; give that folder "
                "to --music, or choose another --out"
            )
        self.music_begun_with = self.music.fingerprint

    def step(self, batch: Batch) -> dict[str, Tensor]:
        network = self.trained
        network.train()
        true_onsets, pairs = self.onset_strength(batch.audio, self.window), len(batch)
        codes, onsets = self.with_music(batch.codes, true_onsets)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            count, known = len(onsets), self.known(codes, onsets, pairs)
            condition = network.condition(batch.inputs, count, self.window, self.kept(count), known)
            read = {name: self.with_wrong(each) for name, each in codes.items()}
            logits = {
                name: network.logits(
                    name, read[name], condition.values, read.get(network.above.get(name, ""))
                )
                for name in self.levels
            }
        each = {name: nats(found.float(), codes[name]) for name, found in logits.items()}
        losses = {name: found.mean() for name, found in each.items()}
        losses["onset"] = F.binary_cross_entropy_with_logits(
            condition.onsets[:pairs].float(), true_onsets
        )
        if condition.genre is not None:
            losses["genre"] = F.cross_entropy(condition.genre[:pairs].float(), batch.inputs[GENRE])
        weights = self.config.weights
        total = torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
        rate = self.rate(self.steps)
        self.descend(total)
        return {
            **{f"bits/{name}": of[:pairs].detach().mean() * BITS for name, of in each.items()},
            **{f"loss/{name}": loss.detach() for name, loss in losses.items()},
            "loss/total": total.detach(),
            "gradient/network": self.clip.norm,
            "rate": torch.tensor(rate),
        }

    def with_music(
        self, codes: Mapping[str, Tensor], onsets: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return codes and onsets of a batch, with segments of music without dances after it."""
        share = self.config.music_share
        count = round(len(onsets) * share / (1 - share))
        if self.music is None or not count:
            return dict(codes), onsets
        more = self.music.draw(count, self.device)
        joined = {name: torch.cat([each, more.codes[name]]) for name, each in codes.items()}
        return joined, torch.cat([onsets, more.onsets])

    def known(self, codes: Mapping[str, Tensor], onsets: Tensor, pairs: int) -> KnownMusic:
        """Draw what the encoder is told of the music of a batch, whose first `pairs` have dances.

        Only music without a dance is heard, with its onsets blurred: those predicted from a dance
        are not sharp either.
        """
        config, count = self.config, len(onsets)
        styled = torch.rand(count, device=self.device) >= config.drop_style
        hears = torch.rand(count, device=self.device) < config.hear_onsets
        hears[:pairs] = False
        style = self.trained.style(codes) if config.use_style else None
        width = 1 + 2 * int(torch.randint(5, ()))
        blurred = F.avg_pool1d(onsets[:, None], width, 1, width // 2, count_include_pad=False)
        return KnownMusic(style, styled, blurred[:, 0], hears)

    # --- validation and generation ---------------------------------------------------------------

    def bits(self, inputs: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        network, found = self.network, {}
        count = len(codes[self.levels[0]])
        length = network.positions({name: each.shape[1] for name, each in codes.items()})
        condition = network.condition(inputs, count, length).values
        for name in self.levels:
            upper = codes.get(network.above.get(name, ""))
            logits = network.logits(name, codes[name], condition, upper).float()
            found[name] = nats(logits, codes[name]).mean(1) * BITS
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
        known = self.known_style(options.style, count) if options.style else None
        condition = network.condition(inputs, count, length, music=known).values
        without = network.condition({}, count, length, music=known).values
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

    def known_style(self, path: str, count: int) -> KnownMusic:
        """Return the style of a file for `count` pieces; ValueError if it cannot be read."""
        if path not in self.styles:
            self.styles[path] = self.style_of(path)
        everywhere = torch.ones(count, dtype=torch.bool, device=self.device)
        return KnownMusic(self.styles[path].expand(count, -1), everywhere, None, ~everywhere)

    def style_of(self, path: str) -> Tensor:
        """Return the style (1, S) of a file; ValueError if it cannot be read."""
        if not self.config.use_style:
            raise ValueError(f"--style {path}: the run was trained without (use_style is false)")
        audio = read_music(Path(path))
        if len(audio) < self.inputs.samples:
            raise ValueError(
                f"--style {path}: {len(audio) / SAMPLE_RATE_HZ:.2f} s of music; expected at least "
                f"{self.inputs.samples / SAMPLE_RATE_HZ:g} s, a segment of the training data"
            )
        sound = scaled(audio)[None].to(self.device)
        return self.network.style(encoded(sound, self.codec, self.levels))

    # --- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        return {**state, "progress": {**state["progress"], "music": self.music_begun_with}}

    def load_state_dict(self, state: Mapping[str, Any], what: str) -> None:
        super().load_state_dict(state, what)
        self.music_begun_with = state["progress"].get("music", "")
