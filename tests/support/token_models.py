"""A token model small enough for tests."""

from __future__ import annotations

import torch

from model.codecs.jukebox import random_codec
from model.contract.segment import MOTION, VISUAL
from model.data.inputs import GENRE, Inputs, InputSpec
from model.families.tokens.config import Config
from model.families.tokens.family import Tokens
from model.runtime.settings import load

SMALL = (
    "width=16", "layers=2", "heads=2", "code_width=8", "local_width=16", "condition_width=12",
    "motion_channels=8", "dilations=1,2", "batch_size=2", "log_every=2", "val_every=4",
    "checkpoint_every=4", "sample_every=8", "val_segments=2", "val_sound_segments=1",
    "sample_segments=1", "max_steps=8", "shuffle_segments=4", "warmup_steps=2",
)  # fmt: skip
"""Settings of the smallest training."""

SAMPLES = 4096
"""A segment: 32 codes high, 128 low, 32 positions."""
SPECS = {
    MOTION: InputSpec(6, 0.0155, 12),
    VISUAL: InputSpec(5, 0.186, 1),
    GENRE: InputSpec(10, 0.186, 0),
}


def small_model(*settings: str, training: bool = False, samples: int = SAMPLES) -> Tokens:
    """Return a token model with random weights that differ from their initial symmetries."""
    torch.manual_seed(0)
    config = load(Config(), [*SMALL, *settings], None, "tiny", Tokens.PRESETS)
    model = Tokens(config, Inputs(samples, SPECS), random_codec(), torch.device("cpu"))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    if training:
        model.start_training()
    model.network.eval()
    return model


def small_inputs(count: int = 2, segments: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return inputs of `count` pieces of so many segments."""
    rng = torch.Generator().manual_seed(seed)
    return {
        MOTION: torch.randn(count, 12 * segments, 6, generator=rng),
        VISUAL: torch.randn(count, segments, 5, generator=rng),
        GENRE: torch.randint(10, (count,), generator=rng),
    }


def small_codes(count: int = 2, high: int = 32, low: int = 128) -> dict[str, torch.Tensor]:
    """Return random codes of both levels."""
    rng = torch.Generator().manual_seed(1)
    return {
        "high": torch.randint(64, (count, high), generator=rng),
        "low": torch.randint(64, (count, low), generator=rng),
    }
