"""A codec without training: the mean of every 32 samples, as one of 256 steps."""

import torch

from model.codecs.base import Level

LEVEL = Level("mean", hop=32, size=256)


class Steps:
    id = codes_id = "steps-1"
    source, note = "steps", "steps: 690 samples a second, nothing above 345 Hz"
    sample_rate_hz = 22_050
    levels = ("mean",)

    def __init__(self, device):
        self.device = torch.device(device)

    def level(self, name):
        if name != "mean":
            raise ValueError(f"level {name!r}: the codec steps has one, called mean")
        return LEVEL

    def steps(self, samples, level):
        return samples // LEVEL.hop

    def encode(self, audio, level):
        """Map audio (B, N) to codes (B, N // 32)."""
        means = audio[:, : audio.shape[1] // LEVEL.hop * LEVEL.hop].unflatten(1, (-1, LEVEL.hop))
        return ((means.mean(2).clamp(-1, 1) + 1) / 2 * 255).round().long()

    def embed(self, codes, level):
        """Map codes (B, L) to their values (B, 1, L)."""
        return (codes.float() / 255 * 2 - 1)[:, None]

    def decode(self, codes, level):
        """Map codes (B, L) to audio (B, L * 32)."""
        return self.embed(codes, level)[:, 0].repeat_interleave(LEVEL.hop, 1)


def load(source, levels, device):
    codec = Steps(device)
    for name in levels or ():
        codec.level(name)
    return codec
