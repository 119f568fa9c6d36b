"""Turn the authors' released weights into a run."""

from __future__ import annotations

from pathlib import Path

import torch

from model.codecs.base import load_codec
from model.contract.dataset import load_dataset
from model.contract.kinds import D2M_GAN
from model.data.source import codes_of
from model.families.d2m_gan.config import Config
from model.families.d2m_gan.paper import ReferenceGenerator
from model.families.d2m_gan.released_weights import load_released
from model.runtime.checkpoint import LAST
from model.training.state import build, check_window, choose_codec, save


def import_released(
    root: Path, run: Path, config: Config, motion: Path | None, rest: Path, codec_source: str | None
) -> None:
    """Write a run at step 0 with the released weights, for the shards (and codec) of `root`.

    Raises ValueError if `arch` is not paper, if the folder already holds a run, or if files or
    shards do not fit the configuration.
    """
    if config.arch != "paper":
        raise ValueError(
            f"released weights are for arch paper, but the configuration has arch {config.arch}"
        )
    if (run / LAST).exists():
        raise ValueError(f"{run}: holds a run already; choose another --out")
    dataset = load_dataset(root)
    source = choose_codec(dataset, codec_source or config.codec or None, root)
    codec = load_codec(source, (config.level,))
    check_window(config, dataset, root)
    codes_of(dataset, codec.codes_id, root)
    state = build(D2M_GAN, config, dataset, codec, torch.device("cpu"))
    network = state.model.network
    assert isinstance(network, ReferenceGenerator), "arch is paper"
    load_released(network, motion, rest)
    save(state, run)
