"""Build a MusicGen (Copet et al. 2023): T5 encoder, decoder of codes, and EnCodec, in one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from model.codecs.base import Codec, Level
from model.contract.segment import SAMPLE_RATE_HZ
from model.runtime.hugging_face import need_transformers
from model.text_to_music.config import TextConfig
from model.text_to_music.delay import IGNORED, delayed
from model.text_to_music.tokenizer import tokens

if TYPE_CHECKING:
    from transformers import EncodecModel, MusicgenForConditionalGeneration

TEXT_TO_MUSIC = "a text-to-music model"
"""Its name in messages."""
GUIDANCE, TOP_K = 3.0, 250
"""MusicGen's settings of generation."""
CODEC_PART = "audio_encoder."
"""The names of the codec's weights in the model begin so."""


def level_of(codec: Codec) -> Level:
    """Return the one level of an EnCodec; ValueError for a codec of another kind."""
    if len(codec.levels) != 1 or getattr(codec, "model", None) is None:
        raise ValueError(
            f"codec {codec.source}: not an EnCodec, which MusicGen's architecture has; give "
            "--codec encodec:FOLDER"
        )
    return codec.level(codec.levels[0])


def frames_of(config: TextConfig, codec: Codec) -> int:
    """Return T, the code steps of a window; ValueError if there are too few of them."""
    level = level_of(codec)
    frames = int(config.window_s * codec.sample_rate_hz / level.hop + 1e-6)
    if frames < 2 * level.codebooks:
        raise ValueError(
            f"window_s is {config.window_s}: {frames} code steps, expected at least "
            f"{2 * level.codebooks}; give a longer window"
        )
    return frames


def build_model(
    config: TextConfig, codec: Codec, vocabulary: int
) -> MusicgenForConditionalGeneration:
    """Return a MusicGen with random weights around a codec, whose weights it copies and freezes.

    Its texts have `vocabulary` different tokens. Raises ValueError for another codec than EnCodec.
    """
    transformers = need_transformers(TEXT_TO_MUSIC)
    level, encodec = level_of(codec), encodec_of(codec)
    start = level.size  # MusicGen's padding code, with which each codebook begins
    text = transformers.T5Config(
        vocab_size=vocabulary, d_model=config.text_width, num_layers=config.text_layers,
        num_heads=config.text_heads, d_kv=config.text_width // config.text_heads,
        d_ff=config.text_inner_width, dropout_rate=config.dropout, is_encoder_decoder=False,
        use_cache=False, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    decoder = transformers.MusicgenDecoderConfig(
        vocab_size=level.size, num_codebooks=level.codebooks, hidden_size=config.width,
        num_hidden_layers=config.layers, num_attention_heads=config.heads,
        ffn_dim=config.inner_width, dropout=config.dropout, pad_token_id=start, bos_token_id=start,
        decoder_start_token_id=start, eos_token_id=None,
    )  # fmt: skip
    parts = {
        "text_encoder": text.to_dict(), "audio_encoder": encodec.config.to_dict(),
        "decoder": decoder.to_dict(),
    }  # fmt: skip
    settings = transformers.MusicgenConfig(
        **parts, note=config.note, window_s=config.window_s, codec_id=codec.id
    )
    torch.manual_seed(config.seed)
    model = transformers.MusicgenForConditionalGeneration(settings)
    model.audio_encoder.load_state_dict(encodec.state_dict())
    model.audio_encoder.requires_grad_(False)
    longest = frames_of(config, codec) + level.codebooks - 1
    model.generation_config = transformers.GenerationConfig(
        do_sample=True, top_k=TOP_K, guidance_scale=GUIDANCE, max_new_tokens=longest,
        decoder_start_token_id=start, pad_token_id=start, bos_token_id=start,
    )  # fmt: skip
    return model


def encodec_of(codec: Codec) -> EncodecModel:
    """Return the module of an EnCodec, with as many codebooks as the codec uses.

    Raises ValueError if it uses others than those of the module's lowest bandwidth, which MusicGen
    decodes.
    """
    module: EncodecModel = codec.model  # type: ignore[attr-defined]
    lowest = module.quantizer.get_num_quantizers_for_bandwidth(module.config.target_bandwidths[0])
    if (used := level_of(codec).codebooks) > min(lowest, len(module.quantizer.layers)):
        raise ValueError(f"codec {codec.source}: has {lowest} codebooks, not {used}")
    return module


def loss_of(
    model: MusicgenForConditionalGeneration, tokenizer: Any, codes: Tensor, texts: list[str]
) -> Tensor:
    """Return the cross-entropy (nats) of codes (B, Q, T), each given its text; the codebooks' mean.

    The text "" is none. transformers' guidance then gives the decoder states of zeros under a mask
    of zeros, and so does this.
    """
    ids, mask = (part.to(codes.device) for part in tokens(tokenizer, texts))
    encoded = model.text_encoder(input_ids=ids, attention_mask=mask)
    given = torch.tensor([bool(text) for text in texts], device=codes.device)
    seen = mask * given[:, None]
    labels = delayed(codes, IGNORED).transpose(1, 2)
    loss: Tensor = model(encoder_outputs=encoded, attention_mask=seen, labels=labels).loss
    return loss


def seconds_of(model: MusicgenForConditionalGeneration, frames: int) -> float:
    """Return how long a number of code steps sounds."""
    codec = model.config.audio_encoder
    return frames * codec.hop_length / codec.sampling_rate


def at_our_rate(model: MusicgenForConditionalGeneration, audio: Tensor) -> Tensor:
    """Return the model's audio (B, 1, M) as (B, N) float32 at 22 050 Hz on the CPU."""
    import soxr

    rate_hz, sound = model.config.audio_encoder.sampling_rate, audio[:, 0].float().cpu()
    if rate_hz == SAMPLE_RATE_HZ:
        return sound
    resampled = [soxr.resample(each.numpy(), rate_hz, SAMPLE_RATE_HZ) for each in sound]
    return torch.stack([torch.from_numpy(each) for each in resampled])
