"""The EnCodec codec (Défossez et al. 2022): audio to the codes of several codebooks, and back.

Symbols: B batch, N samples at 22 050 Hz, M samples at the codec's own rate, Q codebooks, L code
steps, C width of a codebook entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from model.codecs.base import FOLDERS, Level
from model.codecs.encodec.chunks import decode_chunks, encode_chunks
from model.codecs.encodec.resample import resample, resampled_length
from model.codecs.encodec.weights import (
    ENCODEC,
    codes_hash,
    config_of,
    find_published,
    full_hash,
    read_encodec,
)
from model.codecs.quantise import full_float32
from model.contract.segment import SAMPLE_RATE_HZ
from model.runtime.hugging_face import need_transformers

if TYPE_CHECKING:
    from transformers import EncodecModel

LEVEL = "encodec"
NAME = "encodec"
LONGEST_S = 20.0
"""Audio longer than this is encoded and decoded in chunks by `encode_long` and `decode_long`."""


class EncodecCodec:
    """A frozen EnCodec in float32. `load_codec` returns one; its one level is `LEVEL`.

    For each hop of samples at its own rate it has one code of each of Q codebooks: (B, Q, L), or
    (B, L) if Q is 1. Each codebook encodes what the ones before it left (residual vector
    quantisation). Audio comes and goes at 22 050 Hz and is resampled. `codes_id` is a hash of the
    encoder and the codebooks, `id` of these and the decoder.
    """

    levels: tuple[str, ...] = (LEVEL,)

    def __init__(
        self, model: EncodecModel, codebooks: int, codec_id: str, codes_id: str, source: str,
        note: str,
    ) -> None:  # fmt: skip
        self.model = model.eval().requires_grad_(False)
        self.codebooks = codebooks
        self.id, self.codes_id, self.source, self.note = codec_id, codes_id, source, note
        self.sample_rate_hz: int = model.config.sampling_rate
        self.hop: int = model.config.hop_length

    @classmethod
    def from_module(
        cls, model: EncodecModel, source: str = "", note: str = "", codebooks: int | None = None
    ) -> EncodecCodec:
        """Wrap a module, which is frozen and set to eval mode; the ids are hashes of its weights.

        `codebooks` is how many of its codebooks are used, from the first on; None: those of its
        lowest bandwidth, which transformers and MusicGen use. Raises ValueError for an EnCodec that
        is stereo, normalises or chunks its input (like the 48 kHz one), or is not float32.
        """
        check_supported(model, source)
        quantizer, config = model.quantizer, model.config
        lowest = quantizer.get_num_quantizers_for_bandwidth(config.target_bandwidths[0])
        held = len(quantizer.layers)
        used = min(lowest, held) if codebooks is None else codebooks
        if not 1 <= used <= held:
            raise ValueError(f"{source or 'EnCodec'}: has {held} codebooks, not {used}")
        codec_id = f"{NAME}-{full_hash(model, used)[:8]}"
        codes_id = f"{NAME}-{codes_hash(model, used)[:8]}"
        return cls(model, used, codec_id, codes_id, source, note)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def to(self, device: torch.device | str) -> EncodecCodec:
        self.model.to(device)
        return self

    def level(self, name: str) -> Level:
        """Return the facts of the level; ValueError for another name."""
        if name != LEVEL:
            raise ValueError(f"codec {self.id} has the level {LEVEL!r}, not {name!r}")
        return Level(LEVEL, self.hop, self.model.config.codebook_size, self.codebooks)

    def steps(self, samples: int, level: str = LEVEL) -> int:
        """Return the number of code steps for `samples` at 22 050 Hz; a part of a hop is padded."""
        self.level(level)
        return -(-resampled_length(samples, SAMPLE_RATE_HZ, self.sample_rate_hz) // self.hop)

    def encode(self, audio: Tensor, level: str = LEVEL) -> Tensor:
        """Map audio (B, N), float32 in [-1, 1], to codes (B, Q, L), int64."""
        self.level(level)
        return self.encode_native(self._native(audio))

    @torch.no_grad()
    def encode_native(self, audio: Tensor) -> Tensor:
        """Map audio (B, M) at the codec's own rate to codes (B, Q, L).

        Items are encoded one by one, so that the codes of an item do not depend on the batch.
        """
        with full_float32(self.device):
            latents = [self.model.encoder(item[None]) for item in self._items(audio)]
            return self._quantise(torch.cat(latents))

    @torch.no_grad()
    def encode_long(self, audio: Tensor, level: str = LEVEL, chunk_s: float = LONGEST_S) -> Tensor:
        """Encode audio (B, N) of any length in bounded memory: the codes of `encode`.

        The convolutions run in chunks with all the samples that influence them; the LSTM, whose
        memory has no limit, runs over the whole at the codes' rate. Sums are rounded differently,
        so a code may differ if two entries are equally near within about 1e-6.
        """
        self.level(level)
        native = self._native(audio)
        step = max(1, round(chunk_s * self.sample_rate_hz / self.hop))
        with full_float32(self.device):
            latents = [encode_chunks(self.model, item[None], step) for item in self._items(native)]
            return self._quantise(torch.cat(latents))

    def embed(self, codes: Tensor, level: str = LEVEL) -> Tensor:
        """Map codes (B, Q, L) to the sums of their entries (B, C, L), float32."""
        self.level(level)
        return self.model.quantizer.decode(self._stages(codes).to(self.device))

    def decode(self, codes: Tensor, level: str = LEVEL) -> Tensor:
        """Map codes (B, Q, L) to audio (B, N) at 22 050 Hz, float32, not clipped."""
        self.level(level)
        return self._from_native(self.decode_native(codes))

    @torch.no_grad()
    def decode_native(self, codes: Tensor) -> Tensor:
        """Map codes (B, Q, L) to audio (B, L · hop) at the codec's own rate, not clipped."""
        with full_float32(self.device):
            return torch.cat([self.model.decoder(z[None])[:, 0] for z in self.embed(codes)])

    @torch.no_grad()
    def decode_long(self, codes: Tensor, level: str = LEVEL, chunk_s: float = LONGEST_S) -> Tensor:
        """Decode codes (B, Q, L) of any length in bounded memory: the audio of `decode`.

        As in `encode_long`, only the LSTM sees the whole. Samples may differ by about 1e-6.
        """
        step = max(1, round(chunk_s * self.sample_rate_hz / self.hop))
        with full_float32(self.device):
            latents = self.embed(codes, level)
            audio = [decode_chunks(self.model, item[None], step)[:, 0] for item in latents]
        return self._from_native(torch.cat(audio))

    def _quantise(self, latents: Tensor) -> Tensor:
        """Map latents (B, C, L) to codes (B, Q, L): each codebook takes what is left (section 3.2).

        One item at a time, as the encoder: the matrix product may round differently in a batch.
        """
        items = []
        for item in latents:
            rest, codes = item[None], []
            for layer in self.model.quantizer.layers[: self.codebooks]:
                codes.append(layer.encode(rest))
                rest = rest - layer.decode(codes[-1])
            items.append(torch.stack(codes, 1))
        found = torch.cat(items)
        return found[:, 0] if self.codebooks == 1 else found

    def _stages(self, codes: Tensor) -> Tensor:
        """Return codes as (Q, B, L); ValueError for another shape."""
        if codes.ndim == 2 and self.codebooks == 1:
            codes = codes[:, None]
        if codes.ndim != 3 or codes.shape[1] != self.codebooks or not codes.numel():
            raise ValueError(
                f"codec {self.id}: expected codes (B, {self.codebooks}, L), got shape "
                f"{tuple(codes.shape)}"
            )
        return codes.transpose(0, 1)

    def _native(self, audio: Tensor) -> Tensor:
        if audio.ndim != 2 or not audio.numel():
            raise ValueError(
                f"expected audio (B, N) with B and N at least 1, got shape {tuple(audio.shape)}"
            )
        return resample(audio, SAMPLE_RATE_HZ, self.sample_rate_hz)

    def _from_native(self, audio: Tensor) -> Tensor:
        return resample(audio, self.sample_rate_hz, SAMPLE_RATE_HZ).to(self.device)

    def _items(self, audio: Tensor) -> Tensor:
        """Return audio (B, M) as (B, 1, M) on the codec's device."""
        return audio.to(self.device, torch.float32)[:, None]


def check_supported(model: EncodecModel, source: str = "") -> None:
    """Raise ValueError, with what was found, if `EncodecCodec` cannot wrap a module."""
    config = model.config
    expected = {"audio_channels": (1,), "normalize": (False, None), "chunk_length_s": (None,)}
    for name, allowed in expected.items():
        if (value := getattr(config, name)) not in allowed:
            raise ValueError(
                f"{source or 'EnCodec'}: {name} is {value!r}, expected {allowed[0]!r}: only mono "
                "EnCodecs that take the audio as it is, in one piece, are supported, like that of "
                "MusicGen (encodec-32khz)"
            )
    if wrong := {str(p.dtype) for p in model.parameters()} - {"torch.float32"}:
        raise ValueError(
            f"{source or 'EnCodec'}: weights are {', '.join(sorted(wrong))}, expected float32, "
            "because others give other codes; load them with dtype=torch.float32"
        )


def load_encodec(
    source: str | Path, levels: Sequence[str] | None = None, device: torch.device | str = "cpu"
) -> EncodecCodec:
    """Load an EnCodec, frozen.

    `source` is "encodec-32khz" (facebook/encodec_32khz, the codec of MusicGen, from the weights
    folder or the cache of Hugging Face) or "encodec:FOLDER" with a folder in transformers' format.
    Raises FileNotFoundError or ValueError, with advice.
    """
    if levels is not None and list(levels) != [LEVEL]:
        raise ValueError(f"{source}: requested levels {list(levels)}, but EnCodec has {LEVEL!r}")
    name, _, folder = str(source).partition(":")
    if name == FOLDERS and not folder:
        raise ValueError(f"codec {name!r}: which one? give {FOLDERS}:FOLDER, or encodec-32khz")
    path = Path(folder) if name == FOLDERS else find_published()
    model, note = read_encodec(path)
    codec = EncodecCodec.from_module(model, str(source), note if name == FOLDERS else "")
    return codec.to(device)


SMALL = {
    "sampling_rate": 22_050, "upsampling_ratios": [9, 7, 7], "num_filters": 2, "hidden_size": 8,
    "codebook_dim": 8, "codebook_size": 16, "num_lstm_layers": 1, "use_causal_conv": False,
    "use_conv_shortcut": False, "last_kernel_size": 3,
}  # fmt: skip
"""Sizes of `random_encodec`: a hop of 441 samples, 50 code steps a second."""


def random_encodec(seed: int = 0, codebooks: int = 4, **sizes: Any) -> EncodecCodec:
    """Return an untrained codec for tests, small and fast, whose codes depend on its input.

    `sizes` are settings of `transformers.EncodecConfig` that replace those of `SMALL`. Raises
    ValueError if transformers is not installed.
    """
    need_transformers(ENCODEC)
    from transformers import EncodecModel

    settings = {**SMALL, **sizes}
    config = config_of(**settings)
    if "target_bandwidths" not in sizes:
        config.target_bandwidths = [bandwidth_of(config, codebooks)]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = EncodecModel(config).eval()
        entries = config.codebook_size
        audio = torch.randn(1, 1, entries * config.hop_length) * 0.3
        rest = model.encoder(audio)[0].T
        for layer in model.quantizer.layers:
            layer.codebook.embed.copy_(rest[torch.randperm(len(rest))])
            # Entries of a later codebook are residuals: here those of the entries before them.
            rest = (rest - layer.codebook.embed[torch.randperm(len(rest))]) / 2
    note = "random codec: untrained, for tests"
    return EncodecCodec.from_module(model, note=note, codebooks=codebooks)


def bandwidth_of(config: Any, codebooks: int) -> float:
    """Return the bandwidth, in kbit/s, for which an EnCodec has this number of codebooks."""
    return config.frame_rate * config.codebook_nbits * codebooks / 1000
