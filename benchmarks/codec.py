"""How fast the codec is against the published VQ-VAE's arithmetic, in one run on the same weights.

    python benchmarks/codec.py [--batch 16] [--repeats 3] [--threads 1]

"Published" is what openai/jukebox's `encode` does: the encoders of all three levels by `conv1d`,
and distances to all entries as one matrix. Random weights at the 5b's size: speed does not depend
on their values. Figures are seconds of audio (22 050 Hz) per CPU second, the best of the repeats,
the two sides taking turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.codecs.base import Codec
from model.codecs.jukebox import JUKEBOX_5B, VQVAE
from model.codecs.jukebox.codec import JukeBoxCodec
from model.codecs.jukebox.hparams import HParams, level_index
from model.codecs.jukebox.vqvae import Decoder, Encoder, ResBlock
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.terminal import print_anything

CLIP_SAMPLES = 2 * SAMPLE_RATE_HZ


def plain(module: nn.Module, x: Tensor) -> Tensor:
    """Run a part of the VQ-VAE on (B, C, T) by plain one-dimensional convolutions."""
    if isinstance(module, nn.Conv1d):
        stride, padding, dilation = module.stride, module.padding, module.dilation
        return F.conv1d(x, module.weight, module.bias, stride, padding, dilation)
    if isinstance(module, nn.ConvTranspose1d):
        return F.conv_transpose1d(x, module.weight, module.bias, module.stride, module.padding)
    if isinstance(module, nn.ReLU):
        return F.relu(x)
    if isinstance(module, ResBlock):
        return x + plain(module.model, x)
    if isinstance(module, Decoder):
        parts = [*reversed(module.level_blocks), module.out]
    elif isinstance(module, Encoder):
        parts = list(module.level_blocks)
    else:
        parts = list(module.children())
        parts = parts if isinstance(module, nn.Sequential) else list(parts[0])
    for part in parts:
        x = plain(part, x)
    return x


def published_quantise(latents: Tensor, k: Tensor) -> Tensor:
    rows = latents.permute(0, 2, 1).reshape(-1, latents.shape[1])
    distance = rows.pow(2).sum(1, keepdim=True) - 2 * rows @ k.T + k.T.pow(2).sum(0, keepdim=True)
    return distance.min(1).indices.view(len(latents), -1)


@torch.no_grad()
def published_encode(model: VQVAE, audio: Tensor) -> list[Tensor]:
    """Return the codes of all levels: a caller who wants one level pays for three."""
    latents = [plain(model.encoder(index), audio[:, None]) for index in model.levels]
    return [
        published_quantise(z, model.codebook(index).k)
        for index, z in zip(model.levels, latents, strict=True)
    ]


@torch.no_grad()
def published_decode(model: VQVAE, codes: Tensor, index: int) -> Tensor:
    k = model.codebook(index).k
    latents = F.embedding(codes, k).permute(0, 2, 1).contiguous()
    return plain(model.decoder(index), latents)[:, 0]


def cpu_s(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def best(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the least CPU time of each side; they take turns, after a first turn uncounted."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, function in sides.items():
            spent = cpu_s(function)
            if turn:
                times[name].append(spent)
    return {name: min(spent) for name, spent in times.items()}


def build(hparams: HParams = JUKEBOX_5B) -> tuple[VQVAE, JukeBoxCodec]:
    torch.manual_seed(0)
    model = VQVAE(hparams)
    for index in model.levels:
        nn.init.normal_(model.codebook(index).k)
    return model, JukeBoxCodec.from_module(model, "random", "untrained, for timing")


def row(task: str, audio_s: float, published_s: float, ours_s: float) -> str:
    published, ours = audio_s / published_s, audio_s / ours_s
    return f"| {task} | {published:.1f} | {ours:.1f} | {ours / published:.1f} |"


def compare(model: VQVAE, codec: Codec, batch: int, repeats: int) -> list[str]:
    """Return the table's rows for clips of 2 s, `batch` at once."""
    audio = 0.3 * torch.randn(batch, CLIP_SAMPLES, generator=torch.Generator().manual_seed(1))
    audio_s = batch * CLIP_SAMPLES / SAMPLE_RATE_HZ
    sides = {"published": lambda: published_encode(model, audio)}
    for level in codec.levels:
        sides[level] = lambda level=level: codec.encode(audio, level)
    times = best(sides, repeats)
    rows = [
        row(f"encode {level}, batch {batch}", audio_s, times["published"], times[level])
        for level in codec.levels
    ]
    for level in codec.levels:
        codes, index = codec.encode(audio, level), level_index(level)
        sides = {
            "published": lambda c=codes, index=index: published_decode(model, c, index),
            "ours": lambda c=codes, level=level: codec.decode(c, level),
        }
        times = best(sides, repeats)
        task = f"decode {level}, batch {batch}"
        rows.append(row(task, audio_s, times["published"], times["ours"]))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=16, help="clips of 2 s at once (default 16)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, codec = build()
    print(f"torch {torch.__version__}, {args.threads} thread(s), {args.repeats} repeats")
    print("| task | published | ours | times |\n|---|---|---|---|")
    for batch in sorted({1, args.batch}):
        print("\n".join(compare(model, codec, batch, args.repeats)), flush=True)


if __name__ == "__main__":
    print_anything()
    main()
