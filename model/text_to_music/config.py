"""The settings of training a text-to-music model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.runtime.settings import Settings, setting

NOTE = "small text-to-music model, trained on synthetic music"


@dataclass(frozen=True)
class TextConfig(Settings):
    """The defaults train about 2 million weights in 20 minutes of one CPU core."""

    window_s: float = setting(5.12, min=0.1)
    """The length of the music that the model makes; that of MusicGen's textual inversion."""

    text_width: int = setting(128, min=8)
    text_layers: int = setting(2, min=1)
    text_heads: int = setting(4, min=1)
    text_inner_width: int = setting(256, min=8)
    width: int = setting(160, min=8)
    layers: int = setting(4, min=1)
    heads: int = setting(5, min=1)
    inner_width: int = setting(512, min=8)
    dropout: float = setting(0.0, below=1)
    beat_heads: int = setting(3, max=5)
    """Heads of the decoder that find the times in captions that tell beats; then the text encoder
    stays as it begins. 0: times are words as others."""

    sentences: float = setting(0.5, max=1)
    """Share of the captions put as the sentence "a GENRE music with TEMPO as the rhythm"."""
    drop_caption: float = setting(0.15, below=1)
    """Share of the music without any caption, for guidance."""
    drop_phrase: float = setting(0.3, below=1)
    """Share of a caption's phrases left out."""

    steps: int = setting(1400, min=1, may_change=True)
    batch: int = setting(8, min=1)
    lr: float = setting(2e-3, may_change=True)
    """The highest learning rate: it rises over `warmup_steps`, then falls as a cosine to a 20th at
    `steps`."""
    warmup_steps: int = setting(100, min=1)
    betas: tuple[float, ...] = setting((0.9, 0.95), below=1, length=2)
    weight_decay: float = 0.05
    clip: float = setting(1.0, min=1e-6)
    """The largest norm of the gradient."""
    average: float = setting(0.99, below=1)
    """The decay of the moving average of the weights, which is what is saved."""

    threads: int = setting(0, may_change=True)
    """CPU threads; 0 uses torch's default."""
    device: str = setting("auto", choices=("auto", "cpu", "cuda"), may_change=True)
    seed: int = setting(0, below=1 << 32)
    log_every: int = setting(20, min=1, may_change=True)
    save_every: int = setting(200, min=1, may_change=True)
    """After how many steps the model is saved and tried on the songs held out."""
    sample_every: int = setting(700, may_change=True)
    """After how many steps examples are written to listen to; 0: never."""
    samples: int = setting(3, min=1, may_change=True)
    val_windows: int = setting(48, min=1, may_change=True)
    """The windows of songs held out on which the model is tried, at most."""
    note: str = setting(NOTE, may_change=True)
    """A description of the weights, repeated wherever the model is used."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for width, heads in (("text_width", "text_heads"), ("width", "heads")):
            if getattr(self, width) % getattr(self, heads):
                raise ValueError(
                    f"{width} is {getattr(self, width)}; expected a multiple of {heads}, "
                    f"{getattr(self, heads)}"
                )
        if self.width % 2:
            raise ValueError(f"width is {self.width}; expected an even number")
        if self.beat_heads and not self.beat_heads < self.heads:
            raise ValueError(
                f"beat_heads is {self.beat_heads}; expected fewer than heads, {self.heads}"
            )
        if self.beat_heads and not self.width // self.heads <= self.text_width <= self.width:
            raise ValueError(
                f"text_width is {self.text_width}; expected {self.width // self.heads} to "
                f"{self.width}, since beat_heads is not 0"
            )

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        falling = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return self.lr * min(1.0, (step + 1) / self.warmup_steps) * falling
