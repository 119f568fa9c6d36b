"""A family of generators: each code of a level from the pose at its moment, by two layers."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from model.contract.segment import MOTION
from model.data.inputs import given, inputs_of
from model.families.base import Model
from model.runtime.checkpoint import load_state
from model.runtime.settings import setting
from model.training.config import RunConfig


@dataclass(frozen=True)
class Config(RunConfig):
    level: str = "mean"
    width: int = setting(64, min=1)
    lr: float = setting(1e-3, may_change=True)


class Classifier(Model):
    title, Config, best = "Classifier", Config, "val/loss"
    PRESETS = {"default": {}, "tiny": {"width": 8, "batch_size": 2, "max_steps": 4}}
    parts = {"network": (dict, ()), "optimiser": (dict, ())}

    @classmethod
    def levels_of(cls, config):
        return (config.level,)

    @classmethod
    def inputs_of(cls, config, dataset):
        if MOTION not in dataset.fields:
            raise ValueError("the classifier needs motion: build the shards with --motion")
        return inputs_of(dataset, [MOTION])

    def __init__(self, config, inputs, codec, device):
        self.config, self.inputs, self.codec, self.device = config, inputs, codec, device
        features, size = inputs.specs[MOTION].features, codec.level(config.level).size
        layers = nn.Linear(features, config.width), nn.ReLU(), nn.Linear(config.width, size)
        self.network = nn.Sequential(*layers).to(device)

    def start_training(self):
        self.optimiser = torch.optim.Adam(self.network.parameters(), self.config.lr)

    def logits(self, inputs, steps):
        """Map motion (B, T, D) to the logits of codes (B, K, steps)."""
        frames = F.interpolate(given(inputs, MOTION).transpose(1, 2), steps)
        return self.network(frames.transpose(1, 2)).transpose(1, 2)

    def loss(self, batch):
        codes = batch.codes[self.config.level]
        return F.cross_entropy(self.logits(batch.inputs, codes.shape[1]), codes)

    def step(self, batch):
        loss = self.loss(batch)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return {"loss/total": loss.detach()}

    def validate(self, batch):
        steps = {self.config.level: batch.codes[self.config.level].shape[1]}
        return {"val/loss": self.loss(batch)}, self.generate(batch.inputs, steps)

    def generate(self, inputs, steps, options=None):
        level = self.config.level
        return {level: self.logits(inputs, steps[level]).argmax(1)}

    @property
    def optimisers(self):
        return {"classifier": self.optimiser}

    def state_dict(self):
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state, what):
        load_state(self.network, state["network"], f"{what}: network")
        load_state(self.optimiser, state["optimiser"], f"{what}: optimiser")
