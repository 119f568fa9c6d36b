"""Reading and writing EnCodec folders in the format of transformers, and hashing their weights.

A folder has config.json and the weights of an `EncodecModel`, or of a MusicGen, which contains one.
Nothing is ever fetched from a network here.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import torch
from torch import nn

from model.contract.files import write_atomic
from model.contract.weights_folder import ENCODEC_32KHZ_FOLDER, check_record, weights_folder
from model.runtime.hugging_face import need_transformers

if TYPE_CHECKING:
    from transformers import EncodecConfig, EncodecModel

ENCODEC = "EnCodec"
"""Its name in messages."""
PUBLISHED = "facebook/encodec_32khz"
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
MUSICGEN = ("musicgen", "musicgen_melody")
"""Model types that hold an EnCodec as their `audio_encoder`."""
EXPECTED = "expected a folder of transformers with an EnCodec or a MusicGen"
UNREADABLE = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError,
              ImportError, EOFError, BadZipFile, pickle.UnpicklingError)  # fmt: skip
"""Exceptions that transformers raises for folders that it cannot read."""

# Facts that change the codes, but neither the names nor the shapes of the tensors.
CODE_FACTS = ("sampling_rate", "upsampling_ratios", "dilation_growth_rate", "use_causal_conv",
              "pad_mode", "norm_type")  # fmt: skip
DECODER_FACTS = (*CODE_FACTS, "trim_right_ratio")
# Both forms of weight normalisation: `save_pretrained` writes today's, published files the earlier.
EARLIER_NAMES = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


def read_encodec(folder: Path) -> tuple[EncodecModel, str]:
    """Return the EnCodec of a folder, float32 on the CPU, and the note about its weights.

    Of a MusicGen, only the codec is read. The note is the key "note" of the EnCodec's config.json,
    which transformers does not use. Raises FileNotFoundError if a file is missing, and ValueError
    if the folder holds something else, weights are missing or invalid, or codebooks are empty.
    """
    transformers = need_transformers(ENCODEC)
    from safetensors import SafetensorError

    if not folder.is_dir():
        raise FileNotFoundError(f"codec folder {str(folder)!r}: no such folder; {EXPECTED}")
    raw = _read_config(folder / CONFIG_FILE)
    kind, renamed = raw.get("model_type"), {}
    if kind in MUSICGEN and isinstance(raw.get("audio_encoder"), dict):
        raw, renamed = raw["audio_encoder"], {r"^audio_encoder\.": ""}
        kind = raw.get("model_type", "encodec")
    if kind != "encodec":
        raise ValueError(f"{folder / CONFIG_FILE}: is of a model {kind!r}; {EXPECTED}")
    try:
        with quiet():
            config = transformers.EncodecConfig.from_dict(dict(raw))
            # `from_pretrained` also renames weight_g and weight_v of published files.
            model, info = transformers.EncodecModel.from_pretrained(
                str(folder), config=config, key_mapping=renamed or None, dtype=torch.float32,
                local_files_only=True, output_loading_info=True,
            )  # fmt: skip
    except (SafetensorError, *UNREADABLE) as error:
        reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise ValueError(
            f"{folder}: cannot be read as an EnCodec ({reason.strip():.200}); {EXPECTED}, or copy "
            "it again"
        ) from None
    if wrong := [*info["missing_keys"], *info["mismatched_keys"]]:
        raise ValueError(
            f"{folder}: {len(wrong)} weights of the EnCodec are missing or have other shapes "
            f"({min(map(str, wrong))}, …); {EXPECTED}, or copy it again"
        )
    _check_weights(model, folder)
    return model, str(raw.get("note") or "")


def find_published() -> Path:
    """Return the folder of facebook/encodec_32khz: in the weights folder, else in a local cache.

    Raises FileNotFoundError, with advice, if it is in neither, and ValueError if the file differs
    from what `pipeline weights fetch` downloaded.
    """
    need_transformers(ENCODEC)
    folder = weights_folder() / ENCODEC_32KHZ_FOLDER
    if (folder / CONFIG_FILE).is_file() and (folder / WEIGHTS_FILE).is_file():
        check_record(folder / WEIGHTS_FILE)
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        patterns = [CONFIG_FILE, WEIGHTS_FILE]
        cached = Path(snapshot_download(PUBLISHED, allow_patterns=patterns, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        cached = None
    if cached is None or not (cached / WEIGHTS_FILE).exists():
        raise FileNotFoundError(
            f"codec 'encodec-32khz': no {WEIGHTS_FILE} in {folder}, and no {PUBLISHED} in the "
            "cache of Hugging Face; run `pipeline weights fetch encodec-32khz`, or put its "
            f"{CONFIG_FILE} and {WEIGHTS_FILE} there by hand (CC-BY-NC 4.0, 236 MB)"
        )
    return cached


def write_encodec(folder: Path, model: EncodecModel, note: str) -> None:
    """Write a folder that `read_encodec` and transformers read; each file atomically."""
    from safetensors.torch import save

    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    raw = {**model.config.to_dict(), "architectures": ["EncodecModel"], "note": note}
    write_atomic(folder / WEIGHTS_FILE, save(state, metadata={"format": "pt"}))
    text = json.dumps(raw, indent=2, sort_keys=True) + "\n"
    write_atomic(folder / CONFIG_FILE, text.encode())


def entries_of(model: EncodecModel) -> list[torch.Tensor]:
    """Return the entries (K, C) of each codebook: buffers of the model."""
    layers: Any = model.quantizer.layers
    return [layer.codebook.embed for layer in layers]


def codes_hash(model: EncodecModel, codebooks: int) -> str:
    """Return 64 hex digits: a hash of all that determines the codes of the first `codebooks`."""
    return _hash(model, _encoder_parts(model, codebooks), CODE_FACTS)


def full_hash(model: EncodecModel, codebooks: int) -> str:
    """Return 64 hex digits: a hash of encoder, codebooks and decoder."""
    parts = [*_encoder_parts(model, codebooks), *_tensors(model.decoder, "decoder")]
    return _hash(model, parts, DECODER_FACTS)


Named = tuple[str, torch.Tensor]


def _encoder_parts(model: EncodecModel, codebooks: int) -> list[Named]:
    """Return the encoder's tensors and the used entries; averages for training do not count."""
    books = [(f"quantizer.{i}", book) for i, book in enumerate(entries_of(model)[:codebooks])]
    return [*_tensors(model.encoder, "encoder"), *books]


def _tensors(module: nn.Module, prefix: str) -> Iterator[Named]:
    for name, tensor in module.state_dict().items():
        for today, earlier in EARLIER_NAMES.items():
            name = name.replace(today, earlier)
        yield f"{prefix}.{name}", tensor


def _hash(model: EncodecModel, parts: Iterable[Named], facts: Iterable[str]) -> str:
    values = {name: getattr(model.config, name) for name in facts}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, tensor in sorted(parts, key=lambda part: part[0]):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {EXPECTED}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: invalid JSON ({error}); {EXPECTED}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: is a {type(raw).__name__}; {EXPECTED}")
    return raw


def _check_weights(model: EncodecModel, folder: Path) -> None:
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{folder}: {name} is not finite; damaged weights? copy it again")
    if not any(book.any() for book in entries_of(model)):
        raise ValueError(f"{folder}: all codebooks are zero: this EnCodec was never trained")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and load reports of transformers inside the block."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def config_of(**settings: Any) -> EncodecConfig:
    """Return a configuration of the form that `EncodecCodec` accepts: mono, in one piece."""
    transformers = need_transformers(ENCODEC)
    return transformers.EncodecConfig(
        audio_channels=1, normalize=False, chunk_length_s=None, overlap=None, **settings
    )
