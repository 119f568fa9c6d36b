"""What an evaluation is of: a run, or the music of any system in a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from model.codecs.base import Codec, load_codec
from model.contract.dataset import Dataset
from model.contract.exit_codes import UsageError
from model.contract.storage import Location
from model.generation.run import Run
from model.runtime.settings import to_dict
from model.training.state import choose_codec

OUTSIDE = "outside"
"""The family of music that comes from a folder."""
NAME = re.compile(r"^\w[\w .,+-]{0,40}$")


@dataclass(frozen=True)
class MusicFolder:
    """The music of a system: its name in the tables, and the folder with its files."""

    name: str
    folder: Path

    @classmethod
    def parse(cls, text: str) -> MusicFolder:
        """Return what NAME=FOLDER says; UsageError if it says something else."""
        name, equals, folder = text.partition("=")
        if not equals or not folder or not NAME.match(name):
            raise UsageError(
                f"--music {text}: expected NAME=FOLDER, such as --music ours=out/music; a name has "
                "letters, digits, space, . , _ + -"
            )
        return cls(name, Path(folder))


@dataclass(frozen=True)
class Subject:
    """A run or a folder: its row, where its results go, and the codec of the rows beside it.

    `level` is the codec's level at which random codes are drawn: that of the run. `facts` are what
    evaluation.json says of it.
    """

    name: str
    folder: Path
    codec: Codec
    level: str
    facts: Mapping[str, Any]
    untrained: Sequence[str] = ()
    run: Run | None = None
    generation: Any = None

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """The levels of whose codes it gives the probability."""
        run = self.run
        return run.model.levels if run is not None and run.model.likelihood else ()


def of_run(
    run: Run, generation: Any, dataset: Dataset, root: Location, codec: str | None = None
) -> Subject:
    """Return a run as a subject; `generation` are its options of generation.

    The codec is that of the run, or that of the data set's codes if the run has none.
    """
    facts = {
        "run": str(run.folder),
        "family": run.family,
        "step": run.step,
        "checkpoint": run.checkpoint,
        "config": to_dict(run.config),
        **({"generation": to_dict(generation)} if fields(generation) else {}),
    }
    untrained = run.dataset.untrained
    used, level = run.codec, run.level
    if not level:
        used, level = of_codes(dataset, root, codec, run.device)
    return Subject(run.name, run.folder, used, level, facts, untrained, run, generation)


def of_folder(
    music: MusicFolder, dataset: Dataset, root: Location, codec: str | None, device: str
) -> Subject:
    """Return a folder of music as a subject; its codec is that of the data set's codes."""
    loaded, level = of_codes(dataset, root, codec, device)
    facts = {
        "run": str(music.folder), "family": OUTSIDE, "step": 0, "checkpoint": "", "config": {},
    }  # fmt: skip
    return Subject(music.name, music.folder, loaded, level, facts)


def of_codes(
    dataset: Dataset, root: Location, codec: str | None, device: torch.device | str
) -> tuple[Codec, str]:
    """Return the codec of a data set's codes, and its finest level."""
    loaded = load_codec(choose_codec(dataset, codec, root), device=device)
    return loaded, dataset.codecs[loaded.codes_id].levels[-1]
