"""Generate music with a trained run: consecutive segments joined, each piece in one pass."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.audio import write_wav
from model.checkpoint import load_state, read_checkpoint
from model.config import Config, override
from model.data import member, meta_of, read_tar
from model.generator import TemporalGenerator, build_generator, input_specs
from model.jukebox import Codec, load_codec
from model.report import labels
from model.segment import (
    MOTION,
    SAMPLE_RATE_HZ,
    VISUAL,
    Dataset,
    split_key,
    window_samples,
    write_atomic,
)

SUMMARY = "generated.json"

Row = tuple[dict[str, Any], dict[str, np.ndarray]]
"""A segment as read: its JSON, and its features by suffix."""


@dataclass
class Trained:
    """A run ready to generate: networks, and what must be said about its results."""

    config: Config
    dataset: Dataset
    codec: Codec
    generator: TemporalGenerator
    step: int
    device: torch.device


@dataclass
class Piece:
    """Consecutive segments of one video: motion (T, D) and visual (W, D) joined along time.

    `alone` where the video gives no other piece.
    """

    video_id: str
    first: int
    last: int
    start_s: float
    source: str
    motion: np.ndarray | None
    visual: np.ndarray | None
    alone: bool = True

    @property
    def segments(self) -> int:
        return self.last - self.first + 1


def load_run(
    run: Path, checkpoint: str, codec_source: str | None = None, device: torch.device | None = None
) -> Trained:
    """Load a checkpoint (a file name in `run`) and the codec it was trained with.

    Raises ValueError where the codec found is another one.
    """
    device = device or torch.device("cpu")
    content = read_checkpoint(run / checkpoint)
    config = override(Config(), content["config"], str(run / checkpoint))
    dataset = Dataset(**content["dataset"], splits={}, codecs={})
    codec = load_codec(codec_source or content["codec"]["source"], (config.level,), device)
    if codec.id != content["codec"]["id"]:
        raise ValueError(
            f"{run}: was trained with codec {content['codec']['id']}, the codec loaded is "
            f"{codec.id}; give the right one with --codec"
        )
    inputs = input_specs(config, dataset)
    generator = build_generator(config, inputs, codec.codebook(config.level).cpu())
    load_state(generator, content["network"], f"{run / checkpoint}: network")
    return Trained(
        config, dataset, codec, generator.to(device).eval(), content["step"], device
    )  # fmt: skip


@torch.no_grad()
def generate(trained: Trained, piece: Piece) -> Tensor:
    """Return the music (N,) of one piece, as long as the windows it covers, not clipped."""
    level, device = trained.config.level, trained.device
    samples = piece.segments * trained.dataset.samples
    length = -(-samples // trained.codec.hop(level))

    def batch(array: np.ndarray | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array)[None].to(device)

    latents = trained.generator(batch(piece.motion), batch(piece.visual), length)
    codes = trained.codec.quantise(latents, level)
    return trained.codec.decode(codes, level)[0, :samples].cpu()


def read_pieces(root: Path, trained: Trained, dataset: Dataset, split: str) -> Iterator[Piece]:
    """Yield the split's videos, each once its last segment is read, cut where a segment is missing.

    Holds the videos that are begun and not ended: one, where a video's segments lie together.
    Raises ValueError where the shards' features are not what the run was trained on.
    """
    if not dataset.segments(split):
        held = {name: dataset.segments(name) for name in dataset.splits}
        raise ValueError(f"{root}: no segments in split {split!r}; it has {held}")
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
                yield from join(video_id, videos.pop(video_id), suffixes)


def join(video_id: str, rows: list[Row], suffixes: list[str]) -> Iterator[Piece]:
    """Yield the pieces of one video's segments, in any order."""
    parts = list(runs(sorted(rows, key=lambda row: row[0]["segment"])))
    for part in parts:
        arrays = {s: np.concatenate([arrays[s] for _, arrays in part]) for s in suffixes}
        first, last = part[0][0], part[-1][0]
        yield Piece(
            video_id,
            first["segment"],
            last["segment"],
            float(first["start_s"]),
            str(first.get("source", "")),
            arrays.get(MOTION),
            arrays.get(VISUAL),
            alone=len(parts) == 1,
        )


def runs(rows: list[Row]) -> Iterator[list[Row]]:
    """Cut (meta, arrays) rows, sorted by segment, where the next segment is not the next number."""
    start = 0
    for i in range(1, len(rows) + 1):
        if i == len(rows) or rows[i][0]["segment"] != rows[i - 1][0]["segment"] + 1:
            yield rows[start:i]
            start = i


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
    trained: Trained, pieces: Iterable[Piece], out: Path, untrained: Iterable[str]
) -> list[tuple[Piece, Path]]:
    """Write one wav per piece and generated.json into `out`.

    Return the pieces, without their features, and their files.
    """
    untrained = sorted({*untrained, *trained.dataset.untrained})
    told = labels(trained.codec.note, untrained)
    written: list[tuple[Piece, Path]] = []
    rows = []
    for piece in pieces:
        name = piece.video_id
        if not piece.alone:
            name += f"_seg{piece.first:04d}-{piece.last:04d}"
        path = out / f"{name}.wav"
        audio = generate(trained, piece)
        clipped = write_wav(path, audio)
        rows.append(
            {
                "file": path.name,
                "video_id": piece.video_id,
                "segments": [piece.first, piece.last],
                "start_s": piece.start_s,
                "samples": len(audio),
                "clipped_samples": clipped,
            }
        )
        seconds = len(audio) / SAMPLE_RATE_HZ
        note = f", {clipped} samples clipped" if clipped else ""
        print(f"{path}: {seconds:.2f} s{note}", flush=True)
        written.append((replace(piece, motion=None, visual=None), path))
    summary = {
        "codec": trained.codec.id,
        "step": trained.step,
        "level": trained.config.level,
        "inputs": [n for n in ("motion", "visual") if getattr(trained.generator, n) is not None],
        "labels": told,
        "generated": rows,
    }
    write_atomic(out / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
    for label in told:
        print(f"note: {label}")
    return written
