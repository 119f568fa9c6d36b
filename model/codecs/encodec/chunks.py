"""Running the convolutions of an EnCodec in chunks, so that long audio needs bounded memory.

Encoder and decoder are each a row of layers with an LSTM at the rate of the codes. On one side of
the LSTM all layers are convolutions with a limited reach. They run in chunks, each with all that
can influence it; only the LSTM's side, with few values per second, runs over the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import EncodecModel


def encode_chunks(model: EncodecModel, audio: Tensor, step: int) -> Tensor:
    """Map audio (1, 1, M) to the encoder's latents (1, C, L), `step` hops at a time."""
    before, after = _split(model.encoder.layers)
    hop = model.config.hop_length
    total = -(-audio.shape[2] // hop)
    if total <= step or model.config.norm_type != "weight_norm":  # others average over all samples
        return _run([*before, *after], audio)
    reach, found = _reach(before, 1, hop), []
    for start in range(0, total, step):
        end, first = min(start + step, total), max(0, start - reach)
        last = audio.shape[2] if end + reach >= total else (end + reach) * hop
        part = _run(before, audio[:, :, first * hop : last])
        found.append(part[:, :, start - first : end - first])
    return _run(after, torch.cat(found, 2))


def decode_chunks(model: EncodecModel, latents: Tensor, step: int) -> Tensor:
    """Map latents (1, C, L) to audio (1, 1, L · hop), `step` hops at a time."""
    before, after = _split(model.decoder.layers)
    hop, total = model.config.hop_length, latents.shape[2]
    if total <= step or model.config.norm_type != "weight_norm":
        return _run([*before, *after], latents)
    head, tail = [*before, after[0]], after[1:]
    hidden = _run(head, latents)
    reach, found = _reach(tail, hop, hop), []
    for start in range(0, total, step):
        end, first = min(start + step, total), max(0, start - reach)
        part = _run(tail, hidden[:, :, first : end + reach])
        found.append(part[:, :, (start - first) * hop : (end - first) * hop])
    return torch.cat(found, 2)


def _split(layers: nn.ModuleList) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the layers before the LSTM, and the LSTM with those after it."""
    index = next(i for i, layer in enumerate(layers) if hasattr(layer, "lstm"))
    return list(layers[:index]), list(layers[index:])


def _run(layers: list[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _reach(layers: list[nn.Module], spacing: int, hop: int) -> int:
    """Return how many hops on either side can influence a position, at most.

    `spacing` is the distance in samples of the first layer's positions.
    """
    reach = 0
    for conv in _convolutions(layers):
        (stride,), (kernel,), (dilation,) = conv.stride, conv.kernel_size, conv.dilation
        reach += (kernel - 1) * dilation * spacing
        transposed = isinstance(conv, nn.ConvTranspose1d)
        spacing = spacing // stride if transposed else spacing * stride
    return -(-reach // hop) + 1


def _convolutions(layers: list[nn.Module]) -> list[Any]:
    kinds = (nn.Conv1d, nn.ConvTranspose1d)
    return [one for layer in layers for one in layer.modules() if isinstance(one, kinds)]
