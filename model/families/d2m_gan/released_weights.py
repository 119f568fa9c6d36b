"""The authors' released weights: two state dicts, for the motion encoder and for the generator.

Their layout in the published code (github L-YeZhu/D2M-GAN): the motion encoder has `lin1`,
`model.*`, `lin2`; the generator has `lin`, `genre_embed`, `model.*` and, at the low level, `fc`.
Layers of `model` are numbered in the order of use. In a residual block the order is kernel 3,
kernel 1, shortcut. Weight normalisation is stored as `weight_g` and `weight_v`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from model.families.d2m_gan.layers import Residual
from model.families.d2m_gan.paper import ReferenceGenerator, Slide
from model.runtime.checkpoint import DAMAGED, copy_all, unreadable


def load_released(generator: ReferenceGenerator, motion: Path | None, rest: Path) -> None:
    """Load the released files into a network of the same shape.

    Raises ValueError with the file and the tensor that is missing, unexpected or misshapen.
    """
    if (motion is None) != (generator.motion is None):
        problem = (
            "has no motion encoder, but the file of one was given"
            if generator.motion is None
            else "needs the file of its motion encoder"
        )
        raise ValueError(f"{rest}: the network {problem}")
    encoder = generator.motion
    if motion is not None and encoder is not None:
        _fill({"lin1": encoder.columns, "lin2": encoder.last}, encoder.layers, motion)
    ends: dict[str, nn.Module] = {"lin": generator.columns}
    if generator.genre is not None:
        ends["genre_embed"] = generator.genre
    if generator.stretch is not None:
        ends["fc"] = generator.stretch
    _fill(ends, generator.layers, rest)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return a file's tensors by name, without running code in it.

    Raises FileNotFoundError if the file is missing, and ValueError if it is not a state dict.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the authors' repository links the weights")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise ValueError(
            f"{path}: cannot be read ({unreadable(error)}); fetch it again: "
            "the authors' repository links the weights"
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path}: expected a state dict of tensors, got {type(state).__name__}")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def _weighted(layers: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for layer in layers:
        if isinstance(layer, Slide):
            yield layer.conv
        elif isinstance(layer, nn.Sequential):
            for block in layer:
                assert isinstance(block, Residual)
                yield from (block.wide.conv, block.narrow.conv, block.shortcut.conv)


def _fill(ends: Mapping[str, nn.Module], layers: Iterable[nn.Module], path: Path) -> None:
    """Copy all tensors of a file: by name into `ends`, and `model.N…` in order into `layers`."""
    state = read_state(path)
    numbered = [name.rpartition(".")[0] for name in state if name.startswith("model.")]
    names, modules = list(dict.fromkeys(numbered)), list(_weighted(layers))
    if len(names) != len(modules):
        raise ValueError(
            f"{path}: {len(names)} convolutions, the network of this level has {len(modules)}; "
            "check --level, and that the two files are not swapped"
        )
    targets: dict[str, Tensor] = {}
    for name, module in {**ends, **dict(zip(names, modules, strict=True))}.items():
        for key, tensor in module.named_parameters():
            plain = key.replace("parametrizations.weight.original0", "weight_g")
            plain = plain.replace("parametrizations.weight.original1", "weight_v")
            targets[f"{name}.{plain}"] = tensor
    advice = (
        "check --level, the data set's motion, and --set use_genre (true for AIST++, false for "
        "TikTok)"
    )
    copy_all(targets, state, str(path), "the network of this level and data set", advice)
