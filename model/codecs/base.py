"""What a codec is: sound to discrete codes and back, by level; and how one is found by its name.

A registered loader takes (source, levels or None for its own choice, device) and returns a codec.

Legend: B batch, N samples at 22 050 Hz (the shards' rate; a codec of another rate resamples), Q
codebooks of a level, L code steps, C width of an entry, K entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from model.contract.dataset import CodeStream
from model.contract.kinds import CODECS
from model.contract.registry import known
from model.contract.segment import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FILES = "demo"
"""Whose loader reads a path: the files of this project and OpenAI's are JukeBox VQ-VAEs."""


@dataclass(frozen=True)
class Level:
    """One level of a codec: `codebooks` codes of `size` entries for each `hop` samples.

    `hop` counts samples of the codec's own rate. A level with one codebook has codes (B, L), one
    with more (B, Q, L).
    """

    name: str
    hop: int
    size: int
    codebooks: int = 1


class Codec(Protocol):
    """A frozen codec.

    `id` names the weights; codes are stored under `codes_id`, and codes of one mean nothing to
    another (the two differ where only a decoder was fine-tuned). `source` is what `load_codec` was
    given, `note` what must be said of the weights wherever they are used ("" for published ones).
    """

    id: str
    codes_id: str
    source: str
    note: str
    sample_rate_hz: int
    levels: tuple[str, ...]

    @property
    def device(self) -> torch.device: ...

    def level(self, name: str) -> Level:
        """Return what a level is; ValueError for one that was not loaded."""
        ...

    def steps(self, samples: int, level: str) -> int:
        """Return how many codes `encode` gives for `samples` at 22 050 Hz."""
        ...

    def encode(self, audio: Tensor, level: str) -> Tensor:
        """Map audio (B, N), float32 in [-1, 1], to codes (B, L) or (B, Q, L), int64."""
        ...

    def decode(self, codes: Tensor, level: str) -> Tensor:
        """Map codes to audio (B, N), float32, not clipped."""
        ...

    def embed(self, codes: Tensor, level: str) -> Tensor:
        """Map codes to their entries (B, C, L), float32; of several codebooks, the entries' sum."""
        ...


@runtime_checkable
class LatentCodec(Codec, Protocol):
    """A codec whose decoder a generator can be trained through, as D2M-GAN's is."""

    @property
    def emb_width(self) -> int:
        """C, the width of an entry."""
        ...

    def codebook(self, level: str) -> Tensor:
        """Return the entries (K, C), float32."""
        ...

    def latents(self, audio: Tensor, level: str) -> Tensor:
        """Map audio (B, N) to what the encoder gives before quantisation (B, C, L), float32."""
        ...

    def quantise(self, latents: Tensor, level: str) -> Tensor:
        """Map latents (B, C, L) to the nearest entries' codes (B, L), int64."""
        ...

    def decode_latents(self, latents: Tensor, level: str) -> Tensor:
        """Map latents (B, C, L) to audio, differentiable in the latents."""
        ...


def load_codec(
    source: str | Path,
    levels: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
) -> Codec:
    """Load levels of a codec, frozen; None takes those that the codec gives by default.

    `source` is a name ("demo", "jukebox-5b", one that an installed package adds, or
    NAME:ARGUMENT for one that takes more) or the path of a file.

    Raises FileNotFoundError or ValueError, saying what to do.
    """
    return CODECS.get(codec_name(source) or FILES)(str(source), levels, device)


def codec_name(source: str | Path) -> str:
    """Return the registered name that a source begins with, "" for a path.

    Raises FileNotFoundError for what is neither, listing the names there are.
    """
    names = CODECS.names()
    for name in (str(source), str(source).partition(":")[0]):
        if name in names:
            return name
    if not Path(source).is_file():
        raise FileNotFoundError(
            f"codec {str(source)!r}: no such file, and no codec of that name; give the path of a "
            f"checkpoint, or a name; {known(str(source), names)}"
        )
    return ""


def recorded_source(source: str | Path) -> str:
    """Return how dataset.json names a codec: by its name, or by a path that holds anywhere."""
    return str(source) if codec_name(source) else str(Path(source).resolve())


def streams_of(codec: Codec, levels: Sequence[str], samples: int) -> dict[str, CodeStream]:
    """Return what dataset.json says of a codec's levels, for segments of `samples` at 22 050 Hz."""
    streams = {}
    for name in levels:
        level, steps = codec.level(name), codec.steps(samples, name)
        shape = [steps] if level.codebooks == 1 else [level.codebooks, steps]
        streams[name] = CodeStream(f"{name}.npy", shape, level.hop, level.size)
    return streams


def samples_per_code(codec: Codec, level: str) -> float:
    """Return how many samples at 22 050 Hz one code stands for; seldom whole at other rates."""
    return codec.level(level).hop * SAMPLE_RATE_HZ / codec.sample_rate_hz


def join_codes(codes: Tensor, samples: int, hop: float, length: int) -> Tensor:
    """Lay the codes (n, …, L) of windows of `samples` out on one grid (1, …, length) of step `hop`.

    A window is seldom a whole number of codes: each position takes the code that is sounding at its
    middle, so that no window drifts; at most one code is repeated at a border.
    """
    import torch

    middle = (torch.arange(length) * hop + hop / 2).long()
    window = (middle // samples).clamp(max=len(codes) - 1)
    within = ((middle - window * samples) / hop).long().clamp(max=codes.shape[-1] - 1)
    return codes[window, ..., within].movedim(0, -1)[None]
