"""The JukeBox codec: audio to codes and back, by level.

Symbols: B batch, N samples at 22 050 Hz, L = N // hop code steps, C = 64 latent width, K entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from model.codecs.base import Level
from model.codecs.jukebox.hparams import LEVEL_NAME, TINY, HParams, level_index
from model.codecs.jukebox.vqvae import VQVAE, Decoder
from model.codecs.jukebox.weights import Weights, read_weights, select
from model.codecs.quantise import full_float32
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.weights_folder import JUKEBOX_5B_FILE, check_record, weights_folder

DEMO = Path(__file__).with_name("demo.safetensors")
SAMPLES_PER_GROUP = {"cpu": 1, "cuda": 1 << 22}
"""Samples encoded at once; on a CPU one item, so that its activations stay in the CPU cache."""


class JukeBoxCodec:
    """A frozen VQ-VAE in float32, which is a `LatentCodec`. `load_codec` returns one.

    Levels have names, "high" (hop 128) and "low" (hop 32), and share no weights, so using one level
    runs only that level. `id` identifies the weights. Codes are stored under `codes_id`; codecs
    with different `codes_id` cannot decode each other's codes. It differs from `id` if only
    decoders were changed; encoders and codebooks are then bit-identical to those of `codes_id`.
    `source` is what `load_codec` was given.
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
        """Wrap a module, which is frozen and set to eval mode; the id is a hash of its weights."""
        state = {key: value.detach().cpu().float() for key, value in model.state_dict().items()}
        return cls(model, Weights(state, model.hparams, model.levels, name, note).id, note)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def finetuned(self) -> bool:
        """Whether decoders were fine-tuned on the codes of another codec, `codes_id`."""
        return self.id != self.codes_id

    @property
    def emb_width(self) -> int:
        return self.hparams.emb_width

    def to(self, device: torch.device | str) -> JukeBoxCodec:
        self.model.to(device)
        return self

    def level(self, name: str) -> Level:
        """Return the hop and codebook size of a level; ValueError if it was not loaded."""
        return Level(name, self.hparams.hop(self._index(name)), self.codebook(name).shape[0])

    def steps(self, samples: int, level: str) -> int:
        """Return the number of codes for `samples`: every stride-2 convolution rounds down."""
        return samples // self.level(level).hop

    def codebook(self, level: str) -> Tensor:
        """Return the entries (K, C), float32."""
        return self.model.codebook(self._index(level)).k

    def decoder(self, level: str) -> Decoder:
        """Return the decoder module of a level. It is frozen; train a copy of it."""
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
        """Encode audio (B, N) of any length in chunks, with the same codes but bounded memory.

        Each chunk includes the context that influences its codes on both sides. At level "bottom"
        this is two seconds on each side (at 22 050 Hz), so keep `chunk_s` well above that.
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
        """Map latents (B, C, L) to audio (B, L * hop), differentiable with respect to the latents.

        Runs in the caller's precision; the audio is not clipped. The last N % hop samples of the
        encoded audio are lost.
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
    def decode_long(self, codes: Tensor, level: str, chunk_s: float = 20.0) -> Tensor:
        """Decode codes (B, L) of any length in chunks: the audio of `decode`, in bounded memory.

        Each chunk includes the codes that influence its audio on both sides. Sums are rounded
        differently, so that samples may differ by about 1e-6.
        """
        hop, context = self.level(level).hop, self.hparams.context(self._index(level))
        total, step = (
            codes.shape[1],
            max(1, round(chunk_s * SAMPLE_RATE_HZ / self.level(level).hop)),
        )
        audio = []
        for start in range(0, total, step):
            end, first = min(start + step, total), max(0, start - context)
            found = self.decode(codes[:, first : end + context], level)
            audio.append(found[:, (start - first) * hop : (end - first) * hop])
        return torch.cat(audio, 1)

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
    """Load levels of a VQ-VAE, frozen; None loads the two that D2M-GAN uses, high and low.

    `source` is "demo" (included, trained on synthetic music), "jukebox-5b" (OpenAI's weights, which
    `pipeline weights fetch jukebox-5b` downloads to the cache folder) or the path of a checkpoint.
    Raises FileNotFoundError or ValueError, with advice.
    """
    levels = ("high", "low") if levels is None else levels
    indices = tuple(level_index(level) for level in levels)
    path, published = find_weights(source)
    weights = read_weights(path)
    absent = [level for level in levels if level_index(level) not in weights.levels]
    if absent or not indices:
        held = ", ".join(LEVEL_NAME[index] for index in weights.levels)
        raise ValueError(f"{path}: requested levels {list(levels)}, but the file has {held}")
    with torch.device("meta"):
        model = VQVAE(weights.hparams, indices)
    model.load_state_dict(select(weights.state, indices), assign=True)
    note = "" if published else weights.note
    return JukeBoxCodec(model, weights.id, note, weights.codes_id, str(source)).to(device)


def find_weights(source: str | Path) -> tuple[Path, bool]:
    """Return the file that `source` names, and whether it has OpenAI's published weights.

    Raises FileNotFoundError if the file is missing, and ValueError if OpenAI's file in the cache
    folder differs from the download.
    """
    if str(source) == "demo":
        path = DEMO
        advice = "reinstall the package, or train the codec again: see docs/guide/codec.md"
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
    """Return an untrained codec for tests, small by default, whose codes depend on its input."""
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
