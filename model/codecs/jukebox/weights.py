"""Reading and writing the weights of a VQ-VAE.

Read: JukeBox's layout `{'model': state_dict, 'step': int}`, a bare state_dict (both as a legacy or
a zip pickle, with or without a `module.` prefix), and safetensors. Code in a file is never run.
Written: safetensors with the hyper-parameters, a name and a note in the metadata. If only decoders
differ from another codec, the metadata also has that codec's id and the hashes that prove it.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from model.codecs.jukebox.hparams import JUKEBOX_5B, LEVEL_NAME, HParams
from model.codecs.jukebox.vqvae import VQVAE
from model.contract.files import write_atomic

PREFIX = "module."
DAMAGED = (
    RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError,
    AssertionError, OverflowError, MemoryError, BadZipFile, struct.error,
)  # fmt: skip
"""Exceptions that torch's readers raise for truncated bytes, or bytes that are no checkpoint."""
OF_A_RUN = {"format", "average"}
"""Keys that only training checkpoints of this project have, and codecs do not."""


@dataclass(frozen=True)
class Weights:
    """The checked content of a file: `state` has every key of `levels` for `hparams`, float32.

    If the codec was made from another one by changing only decoders, `encoder_id` is the id of the
    codec with the same encoders and codebooks; otherwise it is "".
    """

    state: dict[str, Tensor]
    hparams: HParams
    levels: tuple[int, ...]
    name: str
    note: str
    encoder_id: str = ""

    @property
    def id(self) -> str:
        """`<name>-<8 hex digits>`, from a hash of the hyper-parameters and all weights."""
        return f"{self.name}-{self._hash(list(self.state))[:8]}"

    @property
    def codes_id(self) -> str:
        """The id under which this codec's codes are stored."""
        return self.encoder_id or self.id

    def encoder_hash(self, level: int) -> str:
        """Return the hash of a level's encoder and codebook: 64 hex digits."""
        parts = (f"encoders.{level}.", f"bottleneck.level_blocks.{level}.")
        return self._hash([key for key in self.state if key.startswith(parts)])

    def _hash(self, keys: list[str]) -> str:
        digest = hashlib.sha256(self.hparams.dumps().encode())
        for key in sorted(keys):
            digest.update(key.encode())
            digest.update(self.state[key].contiguous().numpy().astype("<f4").tobytes())
        return digest.hexdigest()


def read_weights(path: Path) -> Weights:
    """Read and check a checkpoint.

    A file without hyper-parameters must hold all 669 tensors of the 5b. Raises ValueError with the
    file and key, what was expected, what was found, and advice.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    state = _read_pickle(path)
    _check(path, state, JUKEBOX_5B, JUKEBOX_5B.levels)
    note = f"jukebox-5b architecture, weights of unrecorded origin ({path.name})"
    return Weights(_float32(state), JUKEBOX_5B, JUKEBOX_5B.levels, "jukebox-5b", note)


def write_weights(
    path: Path, model: VQVAE, name: str, note: str, parent: Weights | None = None
) -> None:
    """Write a model's levels as safetensors, atomically.

    `parent` is the codec from which all encoders and codebooks come; both codecs then have the same
    codes. Raises ValueError if encoders and codebooks are not bit-identical to the parent's.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    levels = ",".join(str(level) for level in model.levels)
    metadata = {
        "hparams": model.hparams.dumps(),
        "levels": levels,
        "name": name,
        "note": note,
    }
    if parent is not None:
        hashes = {str(level): parent.encoder_hash(level) for level in parent.levels}
        metadata["encoder"] = json.dumps({"id": parent.codes_id, "sha256": hashes})
        _check_encoders(path, Weights(state, model.hparams, model.levels, name, note), metadata)
    write_atomic(path, save(state, metadata=metadata))


def select(state: Mapping[str, Tensor], levels: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the entries that belong to `levels`."""
    return {key: value for key, value in state.items() if _level_of(key) in levels}


def _level_of(key: str) -> int:
    parts = key.removeprefix("bottleneck.level_blocks.").split(".")
    return int(parts[0] if key.startswith("bottleneck.") else parts[1])


def _read_safetensors(path: Path) -> Weights:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, *DAMAGED) as error:
        raise ValueError(
            f"{path}: truncated or invalid safetensors file ({error}); copy it again"
        ) from None
    missing = {"hparams", "levels", "name", "note"} - metadata.keys()
    if missing:
        raise ValueError(
            f"{path}: metadata lacks {', '.join(sorted(missing))}; "
            "expected a file written by `model train-codec`"
        )
    try:
        hparams = HParams.loads(metadata["hparams"])
        levels = tuple(int(level) for level in metadata["levels"].split(","))
    except ValueError as error:
        raise ValueError(f"{path}: invalid metadata: {error}") from None
    if not set(levels) <= set(hparams.levels) or len(set(levels)) != len(levels):
        raise ValueError(f"{path}: holds levels {levels}, its hyper-parameters {hparams.levels}")
    _check(path, state, hparams, levels)
    weights = Weights(_float32(state), hparams, levels, metadata["name"], metadata["note"])
    return replace(weights, encoder_id=_check_encoders(path, weights, metadata))


def _check_encoders(path: Path, weights: Weights, metadata: Mapping[str, str]) -> str:
    """Return the id of the codec whose encoders and codebooks the file claims to have, or "".

    Raises ValueError if those of a level differ.
    """
    if "encoder" not in metadata:
        return ""
    try:
        origin = json.loads(metadata["encoder"])
        encoder_id, hashes = str(origin["id"]), dict(origin["sha256"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: invalid metadata: encoder: {error!r}") from None
    for level in weights.levels:
        if hashes.get(str(level)) != weights.encoder_hash(level):
            raise ValueError(
                f"{path}: level {LEVEL_NAME[level]!r}: encoder and codebook are not bit-identical "
                f"to those of {encoder_id}; expected a file in which only decoders differ"
            )
    return encoder_id


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        raw: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("\n")[0].strip()
        if "GLOBAL" in str(error) or "Unsupported" in str(error):
            raise ValueError(
                f"{path}: refused: the file contains more than tensors and could run code "
                f"({_detail(error)}); expected JukeBox's vqvae.pth.tar or a plain state_dict"
            ) from None
        raise ValueError(
            f"{path}: truncated or invalid checkpoint ({reason}); copy it again"
        ) from None
    except DAMAGED as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{path}: truncated or invalid checkpoint ({reason}); copy it again"
        ) from None
    if isinstance(raw, dict) and raw.keys() & OF_A_RUN:
        raise ValueError(
            f"{path}: is the checkpoint of a run, not a codec; expected demo, jukebox-5b or the "
            "codec.safetensors that `model train-codec` and `model finetune-synthesizer` write"
        )
    state = raw.get("model", raw) if isinstance(raw, dict) else raw
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ValueError(
            f"{path}: expected a state_dict or {{'model': state_dict}}, got {type(state).__name__}"
        )
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{path}: {key}: expected a tensor, got {type(value).__name__}")
    return {key.removeprefix(PREFIX): value for key, value in state.items()}


def _detail(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return telling[0][:160] if telling else lines[0][:160]


def _check(
    path: Path, state: Mapping[str, Tensor], hparams: HParams, levels: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        expected = {key: tuple(v.shape) for key, v in VQVAE(hparams, levels).state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    for key, shape in expected.items():
        if found.get(key) != shape:
            got = found.get(key, "no such key")
            raise ValueError(f"{path}: {key}: expected shape {shape}, got {got}; wrong checkpoint?")
    for key, value in state.items():
        if key not in expected:
            raise ValueError(
                f"{path}: {key} {found[key]}: expected no such key "
                f"among the {len(expected)} of levels {levels}; wrong checkpoint?"
            )
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise ValueError(f"{path}: {key}: expected finite real numbers; damaged weights?")


def _float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.float() for key, value in state.items()}
