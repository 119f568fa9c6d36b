"""`pipeline extract-codes`: compute codec codes of every segment and write them to separate tars.

The unit of work is all segments of one video. Its codes are stored under the hash of its sound.
Therefore a stopped run continues where it was, and a different division into shards needs no new
computation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from model.contract.dataset import Codes, CodeStream, load_dataset, save_dataset
from model.contract.segment import WAV
from model.contract.shards import check_whole, npy_bytes
from model.contract.wav import read_wav
from pipeline.engine.base import Engine, LocalEngine
from pipeline.engine.ledger import Ledger, result_key
from pipeline.engine.time_limit import ITEM_LIMIT_S
from pipeline.features.per_video import (
    Results,
    VideoSegments,
    collected,
    lost,
    reasons,
    tried,
    video_spans,
    write_tars,
)


def extract_codes(
    root: Path,
    source: str,
    levels: Sequence[str] | None = None,
    engine: Engine | None = None,
    limit_s: float = ITEM_LIMIT_S,
) -> str:
    """Write `codes/<codec id>/*.tar` for every shard, list them in dataset.json, return the id.

    The default of `levels` is that of the codec. One video may take `limit_s` seconds (0: no
    limit). A data set has codes for all its segments or for none: if some videos fail, the codes of
    the others are stored in the ledger and no tar is written.

    Raises FileNotFoundError or ValueError if the user must change something. Raises OSError after
    all videos were tried if some failed, and at once if nothing can be written.
    """
    from model.codecs.base import load_codec, recorded_source, streams_of

    dataset = load_dataset(root)
    if WAV not in dataset.fields:
        raise ValueError(
            f"{root}: built with --no-sound: no sound to encode; build it again without --no-sound"
        )
    codec = load_codec(source, levels=levels)
    before = dataset.codecs.get(codec.codes_id)
    known = {*codec.levels, *(before.levels if before else ())}
    if known != set(codec.levels):  # codes of other levels are kept
        codec = load_codec(source, levels=sorted(known))
    levels = [*codec.levels]
    ledger = root.resolve() / ".work" / "results"
    stage = Encode(str(source), codec.codes_id, tuple(levels), ledger, limit_s=limit_s)
    streams = streams_of(codec, levels, dataset.samples)
    entry = Codes(levels, recorded_source(source), codec.note, {}, codec.sample_rate_hz, streams)
    jobs = {}
    for shard in (shard for shards in dataset.splits.values() for shard in shards):
        check_whole(root / shard.name, shard)
        jobs[shard.name] = video_spans(root / shard.name)
    total = sum(len(videos) for videos in jobs.values())
    todo = (video for videos in jobs.values() for video in videos)
    done = (engine or LocalEngine()).run([stage], todo, lost)
    results, failed = collected(done, "codes", total, _failures)
    if failed:
        raise OSError(_failures(failed, total))
    folder = root / "codes" / codec.codes_id
    entry.splits = write_tars(
        folder, dataset, lambda name: _members(stage, jobs[name], results, streams)
    )
    dataset.codecs[codec.codes_id] = entry
    save_dataset(root, dataset)
    return codec.codes_id


def _failures(failed: Sequence[VideoSegments], total: int) -> str:
    """Return a message: how many of `total` videos failed, some of the reasons, and what to do.

    The videos are sorted by their keys, so the order in which they failed does not matter.
    """
    ends = [(video.keys[0], video.outcome) for video in failed if video.outcome]
    advice = "run the same command again: it continues with the missing videos"
    if any(end.code == "no_room" for _, end in ends):
        advice = "free disk space at --shards and run the same command again"
    if not all(end.retryable for _, end in ends):
        advice = "some will fail again: fix or remove those inputs, and build again"
    return f"no codes of {len(failed)} of {total} videos: {reasons(ends)}; {advice}"


@dataclass
class Encode:
    """Encodes the segments of several videos with one codec; only the requested levels run."""

    source: str
    codec_id: str
    levels: tuple[str, ...]
    results: Path
    name: str = "codes"
    batch: int = 8
    gpus: float = 1.0
    limit_s: float = ITEM_LIMIT_S
    _codec: Any = field(default=None, repr=False)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.results)

    def setup(self) -> None:
        import torch

        torch.set_num_threads(1)

    def __call__(self, items: list[VideoSegments]) -> list[VideoSegments]:
        return [tried(video, "codes", partial(self._encode, video), self.limit_s)
                for video in items]  # fmt: skip

    def _encode(self, video: VideoSegments) -> str:
        """Compute and store a video's missing codes, uint16 (n, …, L) per level; return the key."""
        sound = video.sound()
        key = hashlib.sha256(b"".join(hashlib.sha256(wav).digest() for wav in sound)).hexdigest()
        missing = [n for n in self.levels if not self.ledger.read("codes", self.key(key, n))]
        if missing:
            audio = np.stack([read_wav(wav) for wav in sound]).astype(np.float32) / 32768
            for level in missing:
                arrays = {"codes": self._codes(audio, level)}
                self.ledger.write("codes", self.key(key, level), arrays, {})
        return key

    def key(self, sound: str, level: str) -> str:
        """Return the ledger's key of one video's codes at one level."""
        return result_key(sound, "codes", {"level": level}, self.codec_id)

    def _codes(self, audio: np.ndarray, level: str) -> np.ndarray:
        import torch

        codec = self._loaded()
        return codec.encode(torch.from_numpy(audio), level).cpu().numpy().astype(np.uint16)

    def _loaded(self) -> Any:
        """Return the codec; it is loaded for the first video that needs it."""
        if self._codec is None:
            import torch

            from model.codecs.base import load_codec

            device = "cuda" if torch.cuda.is_available() else "cpu"
            codec = load_codec(self.source, levels=self.levels, device=device)
            if codec.codes_id != self.codec_id:
                raise ValueError(
                    f"{self.source} is codec {codec.codes_id} on this node and {self.codec_id} on "
                    "the node of the command: give every node the same file"
                )
            self._codec = codec
        return self._codec


def _members(
    stage: Encode,
    videos: Sequence[VideoSegments],
    results: Results,
    streams: Mapping[str, CodeStream],
) -> Iterator[tuple[str, dict[str, bytes]]]:
    for video in videos:
        sound = results[video.shard.name, video.keys]
        codes = [_stored(stage, video, sound, level) for level in streams]
        for i, key in enumerate(video.keys):
            yield (
                key,
                {
                    stream.suffix: npy_bytes(found[i])
                    for stream, found in zip(streams.values(), codes, strict=True)
                },
            )


def _stored(stage: Encode, video: VideoSegments, sound: str, level: str) -> np.ndarray:
    found = stage.ledger.read("codes", stage.key(sound, level))
    if found is None:  # damaged on the disk, or taken away
        raise OSError(f"{video.keys[0]}: its stored codes are gone; run the same command again")
    return found.arrays["codes"]
