"""The frozen text-to-music model: MusicGen in transformers' format, and how it reads words.

Nothing is downloaded here. A model is a folder, or a name that is in the user's Hugging Face cache.

Symbols: B batch, L tokens of a prompt, E width of the text encoder, D that of the decoder, Q
codebooks, T codes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from model.families.inversion.prompt import Prompt
from model.runtime.hugging_face import need_transformers
from model.text_to_music.delay import IGNORED, delayed

SMALL = "facebook/musicgen-small"
TOKENIZER_FILES = ("tokenizer.json", "spiece.model")


class TextToMusic:
    """A frozen MusicGen: `model` and `tokenizer`, in eval mode, without gradients of its own.

    `id` is a hash of all float32 weights but the codec's, which has an id of its own. With `bf16`
    everything but the codec computes in bfloat16.
    """

    def __init__(
        self, model: Any, tokenizer: Any, source: str, note: str = "", bf16: bool = False
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.source, self.note = tokenizer, source, note
        self.id = weights_hash(model)
        if bf16:
            for name, part in model.named_children():
                if name != "audio_encoder":
                    part.to(torch.bfloat16)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def codebooks(self) -> int:
        return self.model.decoder.config.num_codebooks

    @property
    def width(self) -> int:
        """E, the width of the text encoder's words."""
        return self.model.config.text_encoder.hidden_size

    def words(self, prompt: Prompt, rhythm: Tensor | None, genre: Tensor | None) -> Tensor:
        """Return what the text encoder makes of a prompt for B dances: (B, L, D).

        `rhythm` (B, P, E) and `genre` (B, 1, E) take the place of the placeholders' embeddings;
        gradients flow to them.
        """
        given = [each for each in (rhythm, genre) if each is not None]
        count = len(given[0]) if given else 1
        embedded = self.model.text_encoder.get_input_embeddings()(prompt.ids.to(self.device))
        embedded = embedded[None].repeat(count, 1, 1)
        for places, word in ((prompt.rhythm, rhythm), (prompt.genre, genre)):
            if len(places):
                assert word is not None, "a placeholder of the prompt needs its word"
                embedded[:, places.to(self.device)] = word.to(embedded.dtype)
        found = self.model.text_encoder(inputs_embeds=embedded).last_hidden_state
        return (
            self.model.enc_to_dec_proj(found) if hasattr(self.model, "enc_to_dec_proj") else found
        )

    def nats(self, words: Tensor, mask: Tensor, codes: Tensor) -> Tensor:
        """Return the cross entropy (B, Q) of codes (B, Q, T), in nats: the mean of each codebook.

        `mask` (B,) bool says for which of them the model hears its words (B, L, D).
        """
        start = self.model.decoder.config.pad_token_id
        labels = delayed(codes, IGNORED)
        read = F.pad(delayed(codes, start)[..., :-1], (1, 0), value=start)
        heard = mask[:, None].expand(words.shape[:2])
        found = self.model.decoder(
            input_ids=read.flatten(0, 1),
            encoder_hidden_states=words * heard[..., None],
            encoder_attention_mask=heard.long(),
            use_cache=False,
        )
        # The classes stay the last dimension: on a CPU, torch is three times as fast so.
        logits = found.logits.float().flatten(0, 1)
        each = F.cross_entropy(logits, labels.flatten(), ignore_index=IGNORED, reduction="none")
        return each.view(labels.shape).sum(2) / codes.shape[2]


def load_base(source: str, device: torch.device, bf16: bool = False) -> TextToMusic:
    """Load a MusicGen from a folder, or by its name from the user's Hugging Face cache.

    Raises FileNotFoundError if there is no such model here, and ValueError without transformers,
    for a folder of another kind, and for a model in stereo.
    """
    transformers = need_transformers("family inversion")
    from safetensors import SafetensorError

    folder = folder_of(source)
    try:
        kind = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: config.json cannot be read: {_first(error)}") from None
    if kind.model_type != "musicgen":
        raise ValueError(
            f"{source}: a model of type {kind.model_type!r}; expected a MusicGen (its config.json "
            "has model_type musicgen), such as musicgen-small or musicgen-medium"
        )
    if kind.decoder.audio_channels != 1:
        raise ValueError(f"{source}: a model in stereo; expected mono, such as musicgen-small")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ValueError(
            f"{source}: no tokenizer beside the weights (none of {', '.join(TOKENIZER_FILES)}); "
            "copy the complete folder"
        )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, state = transformers.MusicgenForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{source}: cannot be loaded: {_first(error)}; fetch it again") from None
    if missing := sorted(state["missing_keys"]):
        raise ValueError(
            f"{source}: {len(missing)} tensors are missing, the first is {missing[0]}; fetch the "
            "model again"
        )
    note = getattr(kind, "note", "") or ""
    base = TextToMusic(model, tokenizer, source, note, bf16)
    base.model.to(device)
    return base


def folder_of(source: str) -> Path:
    """Return the folder of a model: `source`, or where the Hugging Face cache has that name.

    Raises ValueError for a folder without a config.json, and FileNotFoundError, with the command
    that fetches it, for a name that is not in the cache.
    """
    if Path(source).is_dir():
        if not (Path(source) / "config.json").is_file():
            raise ValueError(
                f"{source}: no config.json: is no model; expected a folder of a MusicGen in "
                "transformers' format, as `model train-text` or save_pretrained writes it"
            )
        return Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        raise FileNotFoundError(
            f"base model {source!r}: neither a folder nor in the Hugging Face cache; fetch it "
            f"with: hf download {SMALL} (2.4 GB, licence CC-BY-NC 4.0), or make a small one with "
            "`model train-text`, and name it with --base"
        ) from None


def weights_hash(model: Any) -> str:
    """Return a hash of a model's weights, without its codec's."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith("audio_encoder."):
            digest.update(name.encode())
            digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()[:12]


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
