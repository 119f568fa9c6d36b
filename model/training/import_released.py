"""Turn the authors' released weights into a run."""

from __future__ import annotations

from pathlib import Path

import torch

from model.codecs.base import load_codec
from model.contract.dataset import load_dataset
from model.contract.kinds import D2M_GAN, FAMILIES, INVERSION
from model.contract.storage import Location
from model.data.source import codes_of
from model.families.base import Model
from model.families.d2m_gan.config import Config
from model.families.d2m_gan.paper import ReferenceGenerator
from model.families.d2m_gan.released_weights import load_released
from model.families.inversion.config import Config as InversionConfig
from model.families.inversion.family import WordEncoders
from model.families.inversion.released_weights import load_released as load_encoders
from model.runtime.checkpoint import LAST
from model.runtime.precision import resolved
from model.training.config import RunConfig
from model.training.state import State, build, check_window, choose_codec, save


def import_released(
    root: Location,
    run: Path,
    config: Config,
    motion: Path | None,
    rest: Path,
    codec_source: str | None,
) -> None:
    """Write a run at step 0 with the released weights, for the shards (and codec) of `root`.

    Raises ValueError if `arch` is not paper, if the folder already holds a run, or if files or
    shards do not fit the configuration.
    """
    if config.arch != "paper":
        raise ValueError(
            f"released weights are for arch paper, but the configuration has arch {config.arch}"
        )
    state = _begin(D2M_GAN, root, run, config, codec_source)
    network = state.model.network
    assert isinstance(network, ReferenceGenerator), "arch is paper"
    load_released(network, motion, rest)
    save(state, run)


def import_encoders(
    root: Location, run: Path, config: InversionConfig, file: Path, codec_source: str | None
) -> None:
    """Write a run at step 0 with the released encoders of textual inversion, for shards of `root`.

    Raises ValueError if the folder already holds a run, or if file, shards or base model do not fit
    each other.
    """
    state = _begin(INVERSION, root, run, config, codec_source)
    network = state.model.network
    assert isinstance(network, WordEncoders)
    load_encoders(network, file)
    # The weights that would be trained on from here.
    state.model.start_training()
    save(state, run)


def _begin(
    family: str, root: Location, run: Path, config: RunConfig, codec_source: str | None
) -> State:
    """Return a new run's state; ValueError if the folder holds one, or the shards do not fit."""
    if (run / LAST).exists():
        raise ValueError(f"{run}: holds a run already; choose another --out")
    dataset = load_dataset(root)
    kind: type[Model] = FAMILIES.get(family)
    config = resolved(kind.settled(config, dataset, root), "cpu")
    source = choose_codec(dataset, codec_source or config.codec or None, root)
    codec = load_codec(source, kind.levels_of(config))
    check_window(config, dataset, root)
    codes_of(dataset, codec.codes_id, root)
    return build(family, config, dataset, codec, torch.device("cpu"))
