"""A trained run, loaded for generation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.codecs.base import Codec, load_codec
from model.contract.dataset import Dataset
from model.contract.kinds import FAMILIES
from model.families.base import Model
from model.runtime.checkpoint import LAST, check_parts, load_state
from model.runtime.exported import SHIPPED, located, read_run
from model.runtime.settings import override


@dataclass
class Run:
    """A loaded run, with the facts that its results must report."""

    folder: Path
    family: str
    config: Any
    dataset: Dataset
    """The training data set, without shards and codes."""
    model: Model
    step: int
    checkpoint: str = "last"
    """The name of the loaded checkpoint: last or best."""
    note: str = ""
    """What an exported run is, in the words of whoever exported it."""

    @property
    def codec(self) -> Codec:
        return self.model.codec

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def level(self) -> str:
        """The level of the codec that is decoded to audio; "" if the run makes sound itself."""
        return self.model.sound_level

    @property
    def name(self) -> str:
        """The name of the run in tables, such as "D2M-GAN, high"."""
        return ", ".join(filter(None, (self.model.title, self.level)))


def load_run(
    folder: str | os.PathLike[str],
    checkpoint: str = LAST,
    codec: str | None = None,
    device: torch.device | str | None = None,
) -> Run:
    """Load a checkpoint (a file name in the run's folder) and the codec it was trained with.

    `folder` may be that of an exported run, or `demo`, the name of the shipped model.
    `codec` may be another codec with the same codes, such as one with a fine-tuned decoder. Raises
    FileNotFoundError if the checkpoint is missing, and ValueError if it cannot be read, or if the
    codec has other codes than the run's training data.
    """
    folder, device = Path(folder), torch.device(device or "cpu")
    held = located(folder)
    path = held / checkpoint
    content = read_run(held, checkpoint)
    kind: type[Model] = FAMILIES.get(content["family"])
    note = content.get("note")
    if note is None:
        check_parts(content, kind.parts, path)
    if held in SHIPPED.values():
        print(f"run: the demo model that is part of this package ({held})")
    config = override(kind.Config(), content["config"], str(path))
    dataset = Dataset(**content["dataset"], splits={}, codecs={})
    known = content["codec"]
    loaded = load_codec(codec or known["source"], kind.levels_of(config), device)
    same_codes = loaded.codes_id == known.get("codes_id", known["id"])
    if not same_codes or (codec is None and loaded.id != known["id"]):
        raise ValueError(
            f"{folder}: was trained with codec {known['id']}, the codec loaded is {loaded.id}; "
            "give the right one, or one fine-tuned from it, with --codec"
        )
    model = kind(config, kind.inputs_of(config, dataset), loaded, device)
    load_state(model.network, content["network"], f"{path}: network")
    model.network.eval()
    step = content["step"]
    return Run(folder, content["family"], config, dataset, model, step, path.stem, note or "")
