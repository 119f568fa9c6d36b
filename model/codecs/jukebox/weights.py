"""Reading and writing a VQ-VAE's weights, from whoever they come.

Read: JukeBox's own layout `{'model': state_dict, 'step': int}`, a bare state_dict (both as a
legacy or a zip pickle, with or without a `module.` prefix), and safetensors. Nothing in a file is
executed.
Written: safetensors, with the hyper-parameters, a name and a note in the metadata, and where only
decoders differ from another codec's, that codec's id and the hashes that prove it.
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
"""What torch's readers raise on bytes that are cut short or are no checkpoint at all."""
OF_A_RUN = {"format", "average"}
"""Keys of the checkpoints that our own trainings go on from, and of no codec."""


@dataclass(frozen=True)
class Weights:
    """The checked contents of a file: `state` holds every key of `levels` at `hparams`, float32.

    `encoder_id` is the id of the codec that this one shares all encoders and codebooks with, where
    it was made from another by changing decoders.
    """

    state: dict[str, Tensor]
    hparams: HParams
    levels: tuple[int, ...]
    name: str
    note: str
    encoder_id: str = ""

    @property
    def id(self) -> str:
        """`<name>-<8 hex>`, the hex from the hyper-parameters and all weights of the file."""
        return f"{self.name}-{self._hash(list(self.state))[:8]}"

    @property
    def codes_id(self) -> str:
        """The id under which the codes that this codec makes and reads are stored."""
        return self.encoder_id or self.id

    def encoder_hash(self, level: int) -> str:
        """Return the hash of what makes a level's codes and gives them values: 64 hex digits."""
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

    A file without hyper-parameters of its own must hold all 669 tensors of the 5b. Raises
    ValueError naming the file and key, what was expected, what was found and what to do.
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
    """Write a model's levels as safetensors, whole or not at all.

    `parent` is the codec that all encoders and codebooks come from: its codes are then this one's.
    Raises ValueError where they are not bit-identical.
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
        raise ValueError(f"{path}: not a whole safetensors file ({error}); copy it again") from None
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
        raise ValueError(f"{path}: metadata does not fit: {error}") from None
    if not set(levels) <= set(hparams.levels) or len(set(levels)) != len(levels):
        raise ValueError(f"{path}: holds levels {levels}, its hyper-parameters {hparams.levels}")
    _check(path, state, hparams, levels)
    weights = Weights(_float32(state), hparams, levels, metadata["name"], metadata["note"])
    return replace(weights, encoder_id=_check_encoders(path, weights, metadata))


def _check_encoders(path: Path, weights: Weights, metadata: Mapping[str, str]) -> str:
    """Return the id of the codec whose encoders and codebooks the file says it has, or "".

    Raises ValueError where a level's are not those.
    """
    if "encoder" not in metadata:
        return ""
    try:
        origin = json.loads(metadata["encoder"])
        encoder_id, hashes = str(origin["id"]), dict(origin["sha256"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: metadata does not fit: encoder: {error!r}") from None
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
                f"{path}: refused: the file asks for more than tensors and could run code "
                f"({_detail(error)}); expected JukeBox's vqvae.pth.tar or a plain state_dict"
            ) from None
        raise ValueError(f"{path}: not a whole checkpoint ({reason}); copy it again") from None
    except DAMAGED as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path}: not a whole checkpoint ({reason}); copy it again") from None
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
