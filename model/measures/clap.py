"""CLAP: one embedding of music and text, by the package transformers; here only that of music.

Source: Wu et al., Large-scale Contrastive Language-Audio Pretraining with Feature Fusion and
Keyword-to-Caption Augmentation, ICASSP 2023. Files are read from this machine, never fetched.

Symbols: N samples at 22 050 Hz, P patches, D features.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.contract.files import sha256_of
from model.contract.segment import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import torch

CLAP_MODEL = "laion/clap-htsat-unfused"
FETCH = f"hf download {CLAP_MODEL}"
INSTALL = "uv pip install -c constraints.txt -e '.[text]'"
WEIGHTS = (".safetensors", ".bin")
"""Endings of the files of weights."""


def find_clap(folder: Path | None = None) -> Path:
    """Return the folder of a CLAP model: `folder`, or the copy of `CLAP_MODEL` that was downloaded.

    Raises ValueError if the package transformers is not installed, and FileNotFoundError if the
    model is not on this machine; both say what to run.
    """
    try:
        import transformers  # noqa: F401
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise ValueError(
            f"CLAP needs the package transformers ({error.name} is not installed): {INSTALL}"
        ) from None
    advice = f"run `{FETCH}` on a machine with a network, or name a folder: clap:FOLDER"
    if folder is None:
        try:
            folder = Path(snapshot_download(CLAP_MODEL, local_files_only=True))
        except LocalEntryNotFoundError:
            raise FileNotFoundError(
                f"CLAP: {CLAP_MODEL} is not on this machine; {advice}"
            ) from None
    needed = ("config.json", "preprocessor_config.json")
    missing = [name for name in needed if not (folder / name).is_file()]
    if not missing and not _weights(folder):
        missing = ["model.safetensors"]
    if missing:
        raise FileNotFoundError(
            f"{folder}: no CLAP model, because {' and '.join(missing)} is missing; {advice}"
        )
    return folder


def load_clap(
    folder: Path, device: str | torch.device = "cpu"
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that maps music (N,) to patches (P, D), each of length 1, in float64.

    A patch is at most as long as the model's input, 10 s as published. Shorter music is repeated
    by the model's own feature extractor; longer music is cut into equal parts, because the
    extractor would cut a part at random. Raises ValueError if the files are not a CLAP model's.
    """
    import torch
    from transformers import ClapFeatureExtractor, ClapModel

    try:
        extractor = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
        # The type stub does not know that the option of two values returns them.
        loaded: Any = ClapModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
        network, loading = loaded
        embed = _embedder(network.eval().to(device), extractor, device)
        embed(np.zeros(SAMPLE_RATE_HZ, np.float32))  # does the extractor fit the network?
    except Exception as error:  # transformers raises errors of many kinds for invalid files
        raise ValueError(
            f"{folder}: cannot be used as a CLAP model: {type(error).__name__}: {error!s:.300}; "
            f"expected what `{FETCH}` writes"
        ) from error
    if untrained := sorted(name for name in loading["missing_keys"] if "audio_" in name):
        raise ValueError(
            f"{folder}: the weights lack {len(untrained)} arrays of the part for audio, such as "
            f"{untrained[0]}; expected what `{FETCH}` writes"
        )
    return embed


def _embedder(
    network: Any, extractor: Any, device: str | torch.device
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function of `load_clap` for a network and its feature extractor."""
    import soxr
    import torch

    rate_hz, longest = extractor.sampling_rate, extractor.nb_max_samples

    @torch.no_grad()
    def embed(audio: np.ndarray) -> np.ndarray:
        sound = soxr.resample(np.asarray(audio, np.float32), SAMPLE_RATE_HZ, rate_hz)
        found = []
        for part in np.array_split(sound, max(1, math.ceil(len(sound) / longest))):
            given = extractor(part, sampling_rate=rate_hz, return_tensors="pt").to(device)
            found.append(network.get_audio_features(**given).pooler_output)
        return torch.cat(found).double().cpu().numpy()

    return embed


def weights_id(folder: Path) -> str:
    """Return eight digits of a hash of the weights in a folder."""
    listed = "".join(f"{path.name} {sha256_of(path)}\n" for path in _weights(folder))
    return hashlib.sha256(listed.encode()).hexdigest()[:8]


def _weights(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.suffix in WEIGHTS and p.is_file())
