"""A tiny CLAP model with random weights, as transformers stores the published one."""

from __future__ import annotations

from pathlib import Path


def write_clap(folder: Path, seed: int = 0, max_length_s: int = 2) -> Path:
    """Write a model of 12 features whose input has `max_length_s` at 48 kHz; return the folder."""
    import torch
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    text = {"vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "max_position_embeddings": 8}  # fmt: skip
    audio = {"num_mel_bins": 16, "spec_size": 64, "window_size": 4, "hidden_size": 16,
             "depths": [1, 1], "num_attention_heads": [2, 2], "patch_embeds_hidden_size": 8,
             "num_hidden_layers": 2}  # fmt: skip
    torch.manual_seed(seed)
    ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=12)).save_pretrained(
        folder
    )
    ClapFeatureExtractor(
        feature_size=16, max_length_s=max_length_s, truncation="rand_trunc", padding="repeatpad"
    ).save_pretrained(folder)
    return folder
