"""Textual inversion at MusicGen small's size, with random weights: memory and time on this machine.

    python benchmarks/musicgen_size.py [--folder DIR] [--seconds 5.12]

Writes a MusicGen of the published sizes (T5-base, 24 layers of width 1,024, EnCodec at 32 kHz) with
random weights into DIR (2.4 GB; a temporary folder without it), loads it as `model train --base`
does, takes one step of training on one segment, and draws the codes of 5.12 s with guidance. Its
music means nothing.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from model.codecs.encodec.codec import LEVEL, load_encodec
from model.contract.segment import MOTION, window_samples
from model.contract.terminal import print_anything
from model.data.inputs import GENRE, Inputs, InputSpec
from model.data.source import Batch
from model.families.inversion.config import Config
from model.families.inversion.family import Inversion

T = TypeVar("T")


def main() -> None:
    """Write the model if it is not there, and try it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where the model is written, and read if there")
    parser.add_argument("--seconds", type=float, default=5.12)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "musicgen"
        if not (folder / "config.json").is_file():
            timed("written", lambda: write(folder))
        run(folder, arguments.seconds)


def run(folder: Path, seconds: float) -> None:
    """Load the model, train one step, and generate; print the time and memory of each."""
    samples = window_samples(str(seconds))
    specs = {MOTION: InputSpec(75, 1 / 60, round(seconds * 60)), GENRE: InputSpec(10, seconds, 0)}
    codec = timed("codec loaded", lambda: load_encodec(f"encodec:{folder}"))
    config = Config(base=str(folder))
    inputs = Inputs(samples, specs)
    device = torch.device("cpu")
    model = timed("model loaded", lambda: Inversion(config, inputs, codec, device))
    model.start_training()
    motion = torch.rand(1, specs[MOTION].vectors, 75)
    given = {MOTION: motion, GENRE: torch.tensor([0])}
    codes = torch.randint(2048, (1, 4, model.window))
    batch = Batch(["a"], torch.zeros(1, samples), {LEVEL: codes}, given, ["a"])
    logs = timed("one step of training", lambda: model.step(batch))
    print(f"loss {logs['loss/total']:.3f} (ln 2048 is 7.625)")
    model.network.eval()
    drawn = timed("codes drawn", lambda: model.generate(given, {LEVEL: model.window}))
    audio = timed("decoded", lambda: codec.decode_native(drawn[LEVEL]))
    print(f"{audio.shape[1]} samples at {codec.sample_rate_hz} Hz, {drawn[LEVEL].shape[2]} codes")


def write(folder: Path) -> None:
    """Write a MusicGen of the published sizes with random weights, and a tokenizer of our own."""
    import transformers

    from model.text_to_music.tokenizer import build_tokenizer

    transformers.logging.set_verbosity_error()
    text = transformers.T5Config(
        d_model=768, d_ff=3072, d_kv=64, num_layers=12, num_heads=12, vocab_size=32128
    )
    audio = transformers.EncodecConfig(
        sampling_rate=32_000, upsampling_ratios=[8, 5, 4, 4], num_filters=64, hidden_size=128,
        codebook_size=2048, codebook_dim=128, num_lstm_layers=2, use_causal_conv=False,
        normalize=False, chunk_length_s=None, target_bandwidths=[2.2], audio_channels=1,
        use_conv_shortcut=False,
    )  # fmt: skip
    decoder = transformers.MusicgenDecoderConfig(
        vocab_size=2048, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
        ffn_dim=4096, num_codebooks=4, audio_channels=1, pad_token_id=2048, bos_token_id=2048,
        decoder_start_token_id=2048,
    )  # fmt: skip
    config = transformers.MusicgenConfig(
        text_encoder=text.to_dict(), audio_encoder=audio.to_dict(), decoder=decoder.to_dict(),
        note="random weights",
    )  # fmt: skip
    model = transformers.MusicgenForConditionalGeneration(config)
    with torch.no_grad():
        for layer in model.audio_encoder.quantizer.layers:
            layer.codebook.embed.copy_(torch.randn_like(layer.codebook.embed))
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.0f} M parameters")
    model.save_pretrained(folder)
    build_tokenizer(["music"]).save_pretrained(folder)


def timed(what: str, does: Callable[[], T]) -> T:
    """Return what a function returns, and print its time and the process's peak memory."""
    start = time.perf_counter()
    found = does()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what}: {time.perf_counter() - start:.1f} s, peak {peak:.1f} GiB", flush=True)
    return found


if __name__ == "__main__":
    print_anything()
    main()
