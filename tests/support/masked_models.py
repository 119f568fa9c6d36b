"""A masked model small enough for tests."""

from __future__ import annotations

import torch
from token_models import SAMPLES, SPECS

from model.codecs.jukebox import random_codec
from model.data.inputs import Inputs
from model.families.masked.config import Config
from model.families.masked.family import Masked
from model.runtime.settings import load

SMALL = (
    "width=16", "layers=2", "heads=2", "code_width=8", "local_width=16", "condition_width=12",
    "motion_channels=8", "dilations=1,2", "batch_size=2", "log_every=2", "val_every=4",
    "checkpoint_every=4", "sample_every=8", "val_segments=2", "val_sound_segments=1",
    "sample_segments=1", "max_steps=8", "shuffle_segments=4", "warmup_steps=2", "bound_draws=2",
)  # fmt: skip
"""Settings of the smallest training."""


def small_masked(*settings: str, training: bool = False, samples: int = SAMPLES) -> Masked:
    """Return a masked model with random weights that differ from their initial symmetries."""
    torch.manual_seed(0)
    config = load(Config(), [*SMALL, *settings], None, "tiny", Masked.PRESETS)
    model = Masked(config, Inputs(samples, SPECS), random_codec(), torch.device("cpu"))
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    if training:
        model.start_training()
    model.network.eval()
    return model
