"""Small MusicGens in transformers' format, untrained, which tests write to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = ("a", "@", "music", "with", "*", "as", "the", "rhythm", "funky", "slow", "fast")
ENTRIES = 32
"""Entries of each codebook."""


def tokenizer(words: tuple[str, ...] = WORDS) -> Any:
    """Return a tokenizer whose words are those given; it ends each text with `</s>`, as T5's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(("<pad>", "</s>", "<unk>", *words))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def small_musicgen(seed: int = 0, **decoder: Any) -> Any:
    """Return a MusicGen of four codebooks at 50 codes a second, with filled codebooks."""
    from transformers import (
        EncodecConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        T5Config,
    )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text = T5Config(
            vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
            decoder_start_token_id=0,
        )  # fmt: skip
        audio = EncodecConfig(
            sampling_rate=22050, audio_channels=1, normalize=False, chunk_length_s=None,
            num_filters=4, num_residual_layers=1, upsampling_ratios=[9, 7, 7], hidden_size=16,
            codebook_size=ENTRIES, codebook_dim=16, num_lstm_layers=1, target_bandwidths=[1.0],
            use_causal_conv=True,
        )  # fmt: skip
        sizes: dict[str, Any] = {
            "vocab_size": ENTRIES, "hidden_size": 64, "ffn_dim": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_codebooks": 4, "audio_channels": 1,
            "initializer_factor": 0.15, "pad_token_id": ENTRIES, "bos_token_id": ENTRIES,
            "decoder_start_token_id": ENTRIES,
            **decoder,
        }  # fmt: skip
        config = MusicgenConfig(
            text_encoder=text.to_dict(), audio_encoder=audio.to_dict(),
            decoder=MusicgenDecoderConfig(**sizes).to_dict(),
        )  # fmt: skip
        model = MusicgenForConditionalGeneration(config)
        fill_codebooks(model.audio_encoder)
    generation = model.generation_config
    generation.pad_token_id = generation.bos_token_id = ENTRIES
    generation.decoder_start_token_id = ENTRIES
    return model.eval()


def fill_codebooks(encodec: Any) -> None:
    """Give an untrained EnCodec codebooks; as transformers makes it, all entries are 0."""
    for layer in encodec.quantizer.layers:
        layer.codebook.embed.copy_(torch.randn_like(layer.codebook.embed) * 0.1)


def write_musicgen(folder: Path, seed: int = 0, words: tuple[str, ...] = WORDS) -> Path:
    """Write a small MusicGen with its tokenizer, as `save_pretrained` does; return the folder."""
    small_musicgen(seed).save_pretrained(folder)
    tokenizer(words).save_pretrained(folder)
    return folder
