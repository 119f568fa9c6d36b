"""No codec: for families of generators that make sound, not codes."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from model.codecs.base import NO_CODEC, Level
from model.contract.segment import SAMPLE_RATE_HZ


class NoCodec:
    """A codec without levels, in place of one where none is needed."""

    id = codes_id = source = NO_CODEC
    note = ""
    sample_rate_hz = SAMPLE_RATE_HZ
    levels: tuple[str, ...] = ()

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def level(self, name: str) -> Level:
        raise ValueError(f"there is no codec here, and no level {name!r}")

    def steps(self, samples: int, level: str) -> NoReturn:
        raise ValueError(f"there is no codec here, and no level {level!r}")

    def encode(self, audio: Tensor, level: str) -> NoReturn:
        raise ValueError(f"there is no codec here, and no level {level!r}")

    decode = embed = encode
