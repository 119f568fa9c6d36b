"""The codec: audio to codes and back, by level.

Legend: B batch, N samples at 22 050 Hz, L = N // hop code steps, C = 64 latent width, K entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from model.codecs.base import Level
from model.codecs.jukebox.bottleneck import full_float32
from model.codecs.jukebox.hparams import LEVEL_NAME, TINY, HParams, level_index
from model.codecs.jukebox.vqvae import VQVAE, Decoder
from model.codecs.jukebox.weights import Weights, read_weights, select
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.weights_folder import JUKEBOX_5B_FILE, check_record, weights_folder

DEMO = Path(__file__).with_name("demo.safetensors")
SAMPLES_PER_GROUP = {"cpu": 1, "cuda": 1 << 22}
"""Samples encoded at once: on a CPU one item, whose activations then stay in the cache."""


class JukeBoxCodec:
    """A frozen VQ-VAE, float32 throughout: a `LatentCodec`. `load_codec` returns one.

    Levels go by name, "high" (hop 128) and "low" (hop 32), and share nothing: asking for one runs
    that one. `id` names the weights. Codes are stored under `codes_id`, and codes of one mean
    nothing to another; it differs from `id` where only decoders were changed, whose encoders and
    codebooks are then those of `codes_id`, bit for bit. `source` is what `load_codec` was given.
    """

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(
        self, model: VQVAE, codec_id: str, note: str, codes_id: str = "", source: str = ""
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.id, self.note = codec_id, note
        self.codes_id, self.source = codes_id or codec_id, source
        self.hparams = model.hparams
        self.levels = tuple(LEVEL_NAME[index] for index in reversed(model.levels))

    @classmethod
    def from_module(cls, model: VQVAE, name: str, note: str) -> JukeBoxCodec:
        """Wrap a module (it is frozen and set to eval); the id comes from its weights."""
        state = {key: value.detach().cpu().float() for key, value in model.state_dict().items()}
        return cls(model, Weights(state, model.hparams, model.levels, name, note).id, note)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def emb_width(self) -> int:
        return self.hparams.emb_width

    def to(self, device: torch.device | str) -> JukeBoxCodec:
        self.model.to(device)
        return self

    def level(self, name: str) -> Level:
        """Return the hop and the codebook's size of a level; ValueError where it was not loaded."""
        return Level(name, self.hparams.hop(self._index(name)), self.codebook(name).shape[0])

    def steps(self, samples: int, level: str) -> int:
        """Return how many codes `encode` gives for `samples`: every stride-2 convolution floors."""
        return samples // self.level(level).hop

    def codebook(self, level: str) -> Tensor:
        """Return the entries (K, C), float32."""
        return self.model.codebook(self._index(level)).k

    def decoder(self, level: str) -> Decoder:
        """Return the decoder module of a level (frozen; copy it to train it)."""
        return self.model.decoder(self._index(level))

    def encode(self, audio: Tensor, level: str) -> Tensor:
        """Map audio (B, N), float32 in [-1, 1], to codes (B, N // hop), int64."""
        codes = [self.quantise(z, level) for z in self._latents_by_group(audio, level)]
        return torch.cat(codes)

    def latents(self, audio: Tensor, level: str) -> Tensor:
        """Map audio (B, N) to latents before quantisation (B, C, N // hop), float32."""
        return torch.cat(list(self._latents_by_group(audio, level)))

    @torch.no_grad()
    def encode_long(self, audio: Tensor, level: str, chunk_s: float = 20.0) -> Tensor:
        """Encode audio (B, N) of any length in chunks: the codes of one pass, in bounded memory.

        Each chunk carries the context that its codes can see on both sides; at level "bottom" that
        is two seconds either side (at 22 050 Hz), so keep `chunk_s` well above it.
        """
        hop, context = self.level(level).hop, self.hparams.context(self._index(level))
        total = self._check(audio, level).shape[1] // hop
        step = max(1, round(chunk_s * SAMPLE_RATE_HZ) // hop)
        codes = []
        for start in range(0, total, step):
            end, first = min(start + step, total), max(0, start - context)
            last = min(audio.shape[1], (end + context) * hop)
            if end + context >= total:
                last = audio.shape[1]
            chunk = self.encode(audio[:, first * hop : last], level)
            codes.append(chunk[:, start - first : end - first])
        return torch.cat(codes, 1)

    def quantise(self, latents: Tensor, level: str) -> Tensor:
        """Map latents (B, C, L) of any scale to the nearest entries' codes (B, L), int64."""
        return self.model.codebook(self._index(level)).quantise(latents)

    def embed(self, codes: Tensor, level: str) -> Tensor:
        """Map codes (B, L) to their entries (B, C, L), float32."""
        return self.model.codebook(self._index(level)).lookup(codes)

    def decode_latents(self, latents: Tensor, level: str) -> Tensor:
        """Map latents (B, C, L) to audio (B, L * hop), differentiable in the latents.

        Runs in the caller's precision and is not clipped; the tail of N % hop samples is lost.
        """
        return self.decoder(level)(latents)

    @torch.no_grad()
    def decode(self, codes: Tensor, level: str) -> Tensor:
        """Map codes (B, L) to audio (B, L * hop), float32, not clipped."""
        groups = codes.to(self.device).split(self._items(codes.shape[1] * self.level(level).hop))
        with full_float32(self.device):
            decoder = self.decoder(level)
            return torch.cat([decoder(self.embed(group, level)) for group in groups])

    @torch.no_grad()
    def _latents_by_group(self, audio: Tensor, level: str) -> Iterator[Tensor]:
        encoder = self.model.encoder(self._index(level))
        audio = self._check(audio, level).to(self.device, torch.float32)
        for group in audio.split(self._items(audio.shape[1])):
            with full_float32(self.device):
                latents = encoder(group)
            yield latents

    def _items(self, samples: int) -> int:
        return max(1, SAMPLES_PER_GROUP.get(self.device.type, 1 << 22) // max(1, samples))

    def _index(self, level: str) -> int:
        index = level_index(level)
        if index not in self.model.levels:
            raise ValueError(f"codec {self.id} was loaded with {self.levels}, not with {level!r}")
        return index

    def _check(self, audio: Tensor, level: str) -> Tensor:
        hop = self.level(level).hop
        if audio.ndim != 2 or audio.shape[0] == 0 or audio.shape[1] < hop:
            raise ValueError(
                f"expected audio (B, N) with B >= 1 and N >= {hop} samples for level "
                f"{level!r}, got shape {tuple(audio.shape)}"
            )
        return audio


def load_jukebox(
    source: str | Path, levels: Sequence[str] | None = None, device: torch.device | str = "cpu"
) -> JukeBoxCodec:
    """Load levels of a VQ-VAE, frozen; None takes the two that D2M-GAN uses, high and low.

    `source` is "demo" (shipped, trained on synthetic music), "jukebox-5b" (OpenAI's weights, which
    `pipeline weights fetch jukebox-5b` puts into the cache folder) or the path of a checkpoint.
    Raises FileNotFoundError or ValueError, saying what to do.
    """
    levels = ("high", "low") if levels is None else levels
    indices = tuple(level_index(level) for level in levels)
    path, published = find_weights(source)
    weights = read_weights(path)
    absent = [level for level in levels if level_index(level) not in weights.levels]
    if absent or not indices:
        held = ", ".join(LEVEL_NAME[index] for index in weights.levels)
        raise ValueError(f"{path}: asked for levels {list(levels)}, the file holds {held}")
    with torch.device("meta"):
        model = VQVAE(weights.hparams, indices)
    model.load_state_dict(select(weights.state, indices), assign=True)
    note = "" if published else weights.note
    return JukeBoxCodec(model, weights.id, note, weights.codes_id, str(source)).to(device)


def find_weights(source: str | Path) -> tuple[Path, bool]:
    """Return the file that `source` names, and whether it stands for OpenAI's published weights.

    Raises FileNotFoundError where there is no such file, and ValueError where OpenAI's in the cache
    folder is not what was fetched.
    """
    if str(source) == "demo":
        path = DEMO
        advice = "reinstall the package, or make it anew: see docs/guide/codec.md"
    elif str(source) == "jukebox-5b":
        path = weights_folder() / JUKEBOX_5B_FILE
        advice = (
            "run `pipeline weights fetch jukebox-5b`, or put OpenAI's jukebox/models/5b/"
            "vqvae.pth.tar (noncommercial licence, 7.4 MB) there by hand"
        )
    else:
        path, advice = Path(source), "expected demo, jukebox-5b or the path of a checkpoint"
    if not path.is_file():
        raise FileNotFoundError(f"codec {str(source)!r}: no file {path}; {advice}")
    if str(source) == "jukebox-5b":
        check_record(path)
    return path, str(source) == "jukebox-5b"


def random_codec(
    seed: int = 0, levels: Sequence[str] = ("high", "low"), hparams: HParams = TINY
) -> JukeBoxCodec:
    """Make an untrained codec for tests, small by default; its codes vary with its input."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VQVAE(hparams, tuple(level_index(level) for level in levels))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name.endswith("bias"):
                    weight.zero_()
            for index in model.levels:
                audio = torch.randn(1, hparams.l_bins * hparams.hop(index)) * 0.3
                last = model.encoder(index).last.weight
                last /= model.encoder(index)(audio).std((0, 2))[:, None, None]
                latents = model.encoder(index)(audio)
                model.codebook(index).k.copy_(latents[0].T[torch.randperm(latents.shape[2])])
                decoder = model.decoder(index)
                decoder.out.weight *= 0.1 / decoder(latents).std()
    return JukeBoxCodec.from_module(model, "random", "random codec: untrained, for tests")
