"""Generate music with a trained run, for consecutive segments joined to pieces.

A network that takes any length makes a piece in one pass, another one window by window.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.codecs.jukebox import Codec, load_codec
from model.contract.dataset import Dataset
from model.contract.files import write_atomic
from model.contract.segment import LEVELS, MOTION, SAMPLE_RATE_HZ, VISUAL, split_key, window_samples
from model.contract.wav import write_wav
from model.data.pieces import Piece, Row, join
from model.data.reader import genre_index, member, meta_of, read_tar
from model.families.d2m_gan.config import Config
from model.families.d2m_gan.generator import Generator, build_generator, input_specs
from model.generation.denoise import denoise, removed_share
from model.runtime.checkpoint import load_state, read_checkpoint
from model.runtime.run_log import labels
from model.runtime.settings import override

SUMMARY = "generated.json"


@dataclass
class Trained:
    """A run ready to generate: networks, and what must be said about its results."""

    config: Config
    dataset: Dataset
    codec: Codec
    generator: Generator
    step: int
    device: torch.device


def load_run(
    run: Path, checkpoint: str, codec_source: str | None = None, device: torch.device | None = None
) -> Trained:
    """Load a checkpoint (a file name in `run`) and the codec it was trained with.

    `codec_source` names another file, whose decoder may be a fine-tuned one. Raises ValueError
    where its codes are not those that the run was trained on.
    """
    device = device or torch.device("cpu")
    content = read_checkpoint(run / checkpoint)
    config = override(Config(), content["config"], str(run / checkpoint))
    dataset = Dataset(**content["dataset"], splits={}, codecs={})
    known = content["codec"]
    codec = load_codec(codec_source or known["source"], (config.level,), device)
    speaks = codec.codes_id == known.get("codes_id", known["id"])
    if not speaks or (codec_source is None and codec.id != known["id"]):
        raise ValueError(
            f"{run}: was trained with codec {known['id']}, the codec loaded is {codec.id}; "
            "give the right one, or one fine-tuned from it, with --codec"
        )
    inputs = input_specs(config, dataset)
    generator = build_generator(config, inputs, codec.codebook(config.level).cpu())
    load_state(generator, content["network"], f"{run / checkpoint}: network")
    return Trained(
        config, dataset, codec, generator.to(device).eval(), content["step"], device
    )  # fmt: skip


def check_genre(trained: Trained, genre: str, needed: bool) -> None:
    """Refuse a genre that the run does not know or has no use for, and a missing one if needed."""
    if trained.generator.genre is None:
        if genre:
            raise ValueError(f"--genre {genre}: the run was trained without the genre as an input")
    elif genre or needed:
        genre_index(genre or None, "--genre")


@torch.no_grad()
def generate(trained: Trained, piece: Piece) -> Tensor:
    """Return the music (N,) of one piece, as long as the windows it covers, not clipped."""
    level, device = trained.config.level, trained.device
    samples = piece.segments * trained.dataset.samples
    length = -(-samples // trained.codec.hop(level))
    in_one = trained.generator.any_length
    passes = 1 if in_one else piece.segments

    def batch(array: np.ndarray | None) -> Tensor | None:
        if array is None:
            return None
        return torch.from_numpy(array.reshape(passes, -1, array.shape[-1])).to(device)

    genre = None
    if trained.generator.genre is not None:
        index = genre_index(piece.genre, piece.video_id)
        genre = torch.full((passes,), index, device=device)
    steps = length if in_one else LEVELS[level].steps(trained.dataset.samples)
    latents = trained.generator(batch(piece.motion), batch(piece.visual), steps, genre)
    codes = trained.codec.quantise(latents, level)
    if not in_one:
        codes = join_codes(codes, trained.dataset.samples, LEVELS[level].hop, length)
    return trained.codec.decode(codes, level)[0, :samples].cpu()


def join_codes(codes: Tensor, samples: int, hop: int, length: int) -> Tensor:
    """Lay the codes (n, L) of windows of `samples` out on one grid (1, length) of step `hop`.

    A window is seldom a whole number of codes: each position takes the code that is sounding at its
    middle, so that no window drifts; at most one code is repeated at a border.
    """
    middle = torch.arange(length) * hop + hop // 2
    window = (middle // samples).clamp(max=len(codes) - 1)
    within = ((middle - window * samples) // hop).clamp(max=codes.shape[1] - 1)
    return codes[window, within][None]


def read_pieces(
    root: Path, trained: Trained, dataset: Dataset, split: str, genre: str = ""
) -> Iterator[Piece]:
    """Yield the split's videos, each once its last segment is read, cut where a segment is missing.

    `genre`, where given, stands in for the segments' own.
    Holds the videos that are begun and not ended: one, where a video's segments lie together.
    Raises ValueError where the shards' features are not what the run was trained on.
    """
    if not dataset.segments(split):
        raise ValueError(f"{root}: {dataset.no_segments(split)}")
    suffixes = check_features(root, trained, dataset)
    shards = [root / shard.name for shard in dataset.splits[split]]
    ahead = Counter(
        split_key(raw["__key__"])[0] for path in shards for raw in read_tar(path, wanted=())
    )
    videos: dict[str, list[Row]] = {}
    for path in shards:
        for raw in read_tar(path):
            meta = meta_of(raw, str(path))
            arrays = {s: member(raw, s, dataset.fields, str(path)) for s in suffixes}
            video_id = meta["video_id"]
            videos.setdefault(video_id, []).append((meta, arrays))
            ahead[video_id] -= 1
            if not ahead[video_id]:
                for piece in join(video_id, videos.pop(video_id), suffixes):
                    yield replace(piece, genre=genre or piece.genre)


def check_features(root: Path, trained: Trained, dataset: Dataset) -> list[str]:
    """Return the members the generator reads; ValueError where the shards' are of another kind."""
    used = {MOTION: trained.generator.motion, VISUAL: trained.generator.visual}
    suffixes = [suffix for suffix, module in used.items() if module is not None]
    if window_samples(dataset.window_s) != trained.dataset.samples:
        raise ValueError(
            f"{root}: windows of {dataset.window_s} s; the run was trained on "
            f"{trained.dataset.window_s} s: build the shards with --window-s "
            f"{trained.dataset.window_s}"
        )
    for suffix in suffixes:
        got, expected = dataset.fields.get(suffix), trained.dataset.fields[suffix]
        if got != expected:
            raise ValueError(
                f"{root}: {suffix} is {got}, the run was trained on {expected}; "
                "build the shards with the same options"
            )
    return suffixes


def write_pieces(
    trained: Trained,
    pieces: Iterable[Piece],
    out: Path,
    untrained: Iterable[str],
    denoised: bool = False,
) -> list[tuple[Piece, Path]]:
    """Write one wav per piece and generated.json into `out`.

    With `denoised` each piece is denoised as a whole, and what that took out is told. Return the
    pieces, without their features, and their files.
    """
    untrained = sorted({*untrained, *trained.dataset.untrained})
    notes = labels(trained.codec.note, untrained)
    written: list[tuple[Piece, Path]] = []
    rows = []
    for piece in pieces:
        name = piece.video_id
        if not piece.alone:
            name += f"_seg{piece.first:04d}-{piece.last:04d}"
        path = out / f"{name}.wav"
        audio = generate(trained, piece).numpy()
        taken = {}
        if denoised:
            before, audio = audio, denoise(audio)
            taken["denoising_removed_share"] = removed_share(before, audio)
        clipped = write_wav(path, audio)
        rows.append(
            {
                "file": path.name,
                "video_id": piece.video_id,
                "segments": [piece.first, piece.last],
                "start_s": piece.start_s,
                "mp4_start_s": piece.mp4_start_s,
                "samples": len(audio),
                "clipped_samples": clipped,
                **taken,
            }
        )
        seconds = len(audio) / SAMPLE_RATE_HZ
        note = f", {clipped} samples clipped" if clipped else ""
        if denoised:
            note += f", denoising took {taken['denoising_removed_share']:.1%} of the energy"
        print(f"{path}: {seconds:.2f} s{note}", flush=True)
        written.append((replace(piece, motion=None, visual=None), path))
    summary = {
        "codec": trained.codec.id,
        "step": trained.step,
        "level": trained.config.level,
        "inputs": [
            name
            for name in ("motion", "visual", "genre")
            if getattr(trained.generator, name) is not None
        ],
        "denoised": denoised,
        "labels": notes,
        "generated": rows,
    }
    write_atomic(out / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
    for label in notes:
        print(f"note: {label}")
    return written
