"""The interface of a codec (audio to discrete codes and back, by level), and how to load one.

A registered loader is called with (source, levels, device) and returns a codec; if levels is None,
it chooses them.

Symbols: B batch, N samples at 22 050 Hz (the rate of the shards; a codec with another rate
resamples), Q codebooks of a level, L code steps, C width of a codebook entry, K entries.
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

NO_CODEC = "none"
"""The source of `model.codecs.none`, for families that make sound, not codes."""
FILES = "demo"
"""The name whose loader reads paths: files of this project and of OpenAI are JukeBox VQ-VAEs."""
FOLDERS = "encodec"
"""The name whose argument is a folder: `encodec:FOLDER`."""


@dataclass(frozen=True)
class Level:
    """One level of a codec: for each `hop` samples, one code of each of `codebooks` codebooks.

    A codebook has `size` entries. `hop` counts samples at the codec's own rate. A level with one
    codebook has codes (B, L), one with several (B, Q, L).
    """

    name: str
    hop: int
    size: int
    codebooks: int = 1


class Codec(Protocol):
    """A frozen codec.

    `id` identifies the weights. Codes are stored under `codes_id`; codecs with different `codes_id`
    cannot decode each other's codes. The two ids may differ, because a decoder does not change the
    codes: with a JukeBox VQ-VAE, if a decoder was fine-tuned; with EnCodec, always. `source` is
    what `load_codec` was given. `note` is a warning about the weights, to be repeated wherever
    they are used ("" for published weights).
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
        """Return the facts of a level; ValueError if it was not loaded."""
        ...

    def steps(self, samples: int, level: str) -> int:
        """Return the number of codes that `encode` returns for `samples` at 22 050 Hz."""
        ...

    def encode(self, audio: Tensor, level: str) -> Tensor:
        """Map audio (B, N), float32 in [-1, 1], to codes (B, L) or (B, Q, L), int64."""
        ...

    def decode(self, codes: Tensor, level: str) -> Tensor:
        """Map codes to audio (B, N), float32, not clipped."""
        ...

    def embed(self, codes: Tensor, level: str) -> Tensor:
        """Map codes to their entries (B, C, L), float32; several codebooks' entries are summed."""
        ...


@runtime_checkable
class LatentCodec(Codec, Protocol):
    """A codec with a differentiable decoder, through which generators like D2M-GAN are trained."""

    @property
    def emb_width(self) -> int:
        """C, the width of a codebook entry."""
        ...

    def codebook(self, level: str) -> Tensor:
        """Return the entries (K, C), float32."""
        ...

    def latents(self, audio: Tensor, level: str) -> Tensor:
        """Map audio (B, N) to the encoder's latents before quantisation (B, C, L), float32."""
        ...

    def quantise(self, latents: Tensor, level: str) -> Tensor:
        """Map latents (B, C, L) to the nearest entries' codes (B, L), int64."""
        ...

    def decode_latents(self, latents: Tensor, level: str) -> Tensor:
        """Map latents (B, C, L) to audio, differentiable with respect to the latents."""
        ...


def decode_in_chunks(codec: Codec, codes: Tensor, level: str) -> Tensor:
    """Decode codes of any length in bounded memory, if the codec can (`decode_long`)."""
    decode = getattr(codec, "decode_long", codec.decode)
    return decode(codes, level)


def encode_in_chunks(codec: Codec, audio: Tensor, level: str) -> Tensor:
    """Encode audio (B, N) of any length in bounded memory, if the codec can (`encode_long`)."""
    encode = getattr(codec, "encode_long", codec.encode)
    return encode(audio, level)


def load_codec(
    source: str | Path,
    levels: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
) -> Codec:
    """Load levels of a codec, frozen; None loads the codec's default levels.

    `source` is a registered name ("demo", "jukebox-5b", "encodec-32khz", or one of an installed
    package), or NAME:ARGUMENT for a codec that takes an argument (`encodec:FOLDER`), or the path of
    a file.

    Raises FileNotFoundError or ValueError, with advice.
    """
    if str(source) == NO_CODEC:
        from model.codecs.none import NoCodec

        return NoCodec(device)
    return CODECS.get(codec_name(source) or FILES)(str(source), levels, device)


def codec_name(source: str | Path) -> str:
    """Return the registered name at the start of a source, or "" for a path.

    Raises FileNotFoundError, with all names, if the source is neither.
    """
    names = CODECS.names()
    for name in (str(source), str(source).partition(":")[0]):
        if name in names:
            return name
    if Path(source).is_dir():
        raise FileNotFoundError(
            f"codec {str(source)!r}: is a folder, expected a file or a name; for an EnCodec or "
            f"MusicGen in transformers' format give {FOLDERS}:{source}"
        )
    if not Path(source).is_file():
        raise FileNotFoundError(
            f"codec {str(source)!r}: no such file, and no codec of that name; give the path of a "
            f"checkpoint, or a name; {known(str(source), names)}"
        )
    return ""


def recorded_source(source: str | Path) -> str:
    """Return the source of a codec as recorded in dataset.json; a path in it becomes absolute."""
    name = codec_name(source)
    if name == FOLDERS and (folder := str(source).partition(":")[2]):
        return f"{FOLDERS}:{Path(folder).resolve()}"
    return str(source) if name else str(Path(source).resolve())


def streams_of(codec: Codec, levels: Sequence[str], samples: int) -> dict[str, CodeStream]:
    """Return a codec's levels as in dataset.json, for segments of `samples` at 22 050 Hz."""
    streams = {}
    for name in levels:
        level, steps = codec.level(name), codec.steps(samples, name)
        shape = [steps] if level.codebooks == 1 else [level.codebooks, steps]
        streams[name] = CodeStream(f"{name}.npy", shape, level.hop, level.size)
    return streams


def samples_per_code(codec: Codec, level: str) -> float:
    """Return the samples at 22 050 Hz per code; for codecs of other rates often not an integer."""
    return codec.level(level).hop * SAMPLE_RATE_HZ / codec.sample_rate_hz


def join_codes(codes: Tensor, samples: int, hop: float, length: int) -> Tensor:
    """Join the codes (n, …, L) of n windows of `samples` to (1, …, length), with steps of `hop`.

    A window is rarely a whole number of codes. Therefore each position gets the code at the time of
    the position's middle, so that windows do not drift; at most one code is repeated at a border.
    """
    import torch

    middle = (torch.arange(length) * hop + hop / 2).long()
    window = (middle // samples).clamp(max=len(codes) - 1)
    within = ((middle - window * samples) / hop).long().clamp(max=codes.shape[-1] - 1)
    return codes[window, ..., within].movedim(0, -1)[None]
