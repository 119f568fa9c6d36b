"""The encoders that Li et al. released for MusicGen: one file, as their training code saves it.

It is a dict of two state dicts, `poseEncoder` (rhythm) and `audioEncoderP` (genre), whose names
begin as below. Source: the code of arXiv 2401.17800. They fit windows of 5.12 s, a text encoder of
width 768 (T5-base, as in every MusicGen), and one word.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from model.families.inversion.family import WordEncoders
from model.runtime.checkpoint import DAMAGED, copy_all, unreadable

PREFIX = "condition_provider.conditioners.description.embedding_manager."
RHYTHM, GENRE = ("poseEncoder", "poseEncoder."), ("audioEncoderP", "audioEncoder.projector.")
"""The key of a state dict in the file, and what follows PREFIX in the names of its tensors."""

ADVICE = (
    "the released weights want windows of 5.12 s, --set width=768, rhythm_words=1 and a MusicGen "
    "with T5-base"
)


def load_released(network: WordEncoders, path: Path) -> None:
    """Load the released file into encoders of the published sizes.

    Raises FileNotFoundError, or ValueError with the tensor that is missing or does not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the authors' repository links the weights")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise ValueError(f"{path}: cannot be read ({unreadable(error)}); fetch it again") from None
    held = content if isinstance(content, Mapping) else {}
    targets: dict[tuple[str, str], nn.Module] = {RHYTHM: network.rhythm}
    if network.genre is not None:
        targets[GENRE] = network.genre.projector
    for (part, begins), module in targets.items():
        if not isinstance(held.get(part), Mapping):
            raise ValueError(
                f"{path}: no state dict {part!r} (found: {', '.join(map(str, held)) or 'none'}); "
                "expected the file of the MusicGen encoders"
            )
        prefix = PREFIX + begins
        given = {str(name).removeprefix(prefix): tensor for name, tensor in held[part].items()}
        own = dict(module.named_parameters())
        copy_all(own, given, f"{path}: {part}", "the encoder", ADVICE)
