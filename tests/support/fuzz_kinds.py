"""Every kind of file that others may have made: valid ones, their readers, what these promise."""

from __future__ import annotations

import io
import json
import math
import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from places import ROOT
from smpl_bodies import body, published

import manifests
from model.codecs.jukebox.codec import random_codec
from model.codecs.jukebox.hparams import TINY
from model.codecs.jukebox.weights import Weights, read_weights, write_weights
from model.contract.dataset import Dataset, load_dataset
from model.contract.segment import SPLITS
from model.contract.wav import decode_pcm, encode_wav
from model.fake_dataset import write_fake_dataset
from model.families.d2m_gan.config import PRESETS, Config, load_config
from model.families.d2m_gan.released_weights import read_state
from model.listening.clips import System, read_system
from model.runtime.checkpoint import CONTENT, read_checkpoint, save_torch
from model.runtime.settings import to_dict
from pipeline.curate.decide import read_overrides
from pipeline.curate.genres import read_genres
from pipeline.curate.links import Link, read_links
from pipeline.curate.settings import Settings, load_settings
from pipeline.engine.outcome import Outcome
from pipeline.features.motion.aist_keypoints import load_keypoints
from pipeline.features.motion.openpose import load_people
from pipeline.features.motion.smpl_model import BodyModel, load_body_model
from pipeline.features.motion.smpl_rotations import read_annotation
from pipeline.report.report import Report
from pipeline.sources import manifest
from pipeline.sources.aist import official_split
from pipeline.sources.listing import Listing
from pipeline.sources.manifest import Row, ended_early
from pipeline.sources.rows import save_rows
from pipeline.sources.tiktok import list_tiktok


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name, valid ones, how it is read, and what a value must be."""

    name: str
    valid: tuple[bytes, ...] = field(repr=False)
    read: Callable[[Path], Any] = field(repr=False)
    fits: Callable[[Any], None] = field(repr=False)
    structure: Any = field(default=None, repr=False)  # what of a JSON or YAML file to change
    whole: bool = field(
        default=True, repr=False
    )  # False where no small file is one that the reader takes


def is_row(row: Row) -> None:
    for one in fields(Row):
        value, plain = getattr(row, one.name), getattr(Row("", ""), one.name)
        if one.name == "dancers_seen":
            assert value is None or type(value) is int
        else:
            assert type(value) is type(plain), one.name
    assert all(type(name) is str for name in row.dancers)
    assert len(row.box) in (0, 4) and all(type(n) is int for n in row.box)
    assert row.span_s is None or row.span_s[0] < row.span_s[1]
    ended = ended_early(row)
    assert ended is None or isinstance(ended, Outcome)


def are_rows(value: tuple[list[Row], str]) -> None:
    rows, root = value
    assert isinstance(root, str)
    for row in rows:
        is_row(row)


def is_listing(listing: Listing) -> None:
    for row in listing.rows:
        is_row(row)


def is_split(split: dict[str, str]) -> None:
    assert all(name and value in SPLITS for name, value in split.items())


def is_annotation(value: tuple[np.ndarray, np.ndarray]) -> None:
    poses, place = value
    assert poses.shape == (len(place), 72) and place.shape == (len(poses), 3)
    assert poses.dtype == place.dtype == np.float64
    assert np.isfinite(poses).all() and np.isfinite(place).all()


def are_joints(joints: np.ndarray) -> None:
    assert joints.dtype == np.float32 and joints.shape == (len(joints), 17, 3)
    assert np.isfinite(joints).all() and (joints[..., 2] >= 0).all() and joints.any()


def is_body(model: BodyModel) -> None:
    vertices = len(model.template)
    assert model.pose_shapes.shape == (vertices, 3, 207) and model.parents.shape == (24,)
    assert model.faces.shape == (len(model.faces), 3)
    assert not len(model.faces) or (0 <= model.faces.min() and model.faces.max() < vertices)


def are_people(frames: list[np.ndarray]) -> None:
    for found in frames:
        assert found.dtype == np.float32 and found.shape == (len(found), 25, 3)
        assert np.isfinite(found).all()


def is_dataset(dataset: Dataset) -> None:
    assert isinstance(dataset.name, str) and isinstance(dataset.source, str)
    assert 2 <= Fraction(dataset.window_s) <= 20 and dataset.samples > 0
    assert all(isinstance(note, str) for note in dataset.untrained)
    assert isinstance(dataset.build, dict)
    for spec in dataset.fields.values():
        np.dtype(spec["dtype"])
        assert all(type(n) is int and n >= 0 for n in spec["shape"])
    for splits in (dataset.splits, *(codes.splits for codes in dataset.codecs.values())):
        for split, shards in splits.items():
            assert split in SPLITS
            for shard in shards:
                assert Path(shard.name).name == shard.name and shard.name.endswith(".tar")
                assert type(shard.segments) is int and type(shard.bytes) is int
    for name, codes in dataset.codecs.items():
        assert Path(name).name == name and name not in ("", ".", "..")
        assert set(codes.levels) <= {"high", "low"}
        assert isinstance(codes.source, str) and isinstance(codes.note, str)


def is_config(config: Config) -> None:
    for one in fields(Config):
        assert type(getattr(config, one.name)) is type(getattr(Config(), one.name))
    assert load_config("paper", None) == Config()
    json.dumps(to_dict(config), allow_nan=False)


def are_settings(found: Settings) -> None:
    for part in (found.shots, found.picture, found.decide):
        for value in asdict(part).values():
            numbers = value if isinstance(value, tuple) else (value,)
            assert all(type(n) is float and math.isfinite(n) for n in numbers)


def are_genres(found: dict[str, str]) -> None:
    assert all(file and genre and not file.startswith("/") for file, genre in found.items())


def are_overrides(found: dict[str, str]) -> None:
    assert found.keys() <= {"a_c000", "b_c001", "b_c002"} and all(found.values())


def are_links(links: list[Link]) -> None:
    for link in links:
        assert "/" not in link.id and link.url.lower().startswith(("http://", "https://"))
        assert link.duration_s is None or 0 <= link.duration_s < math.inf
        assert link.dancers is None or type(link.dancers) is int


def is_checkpoint(content: dict[str, Any]) -> None:
    for name, (kind, keys) in CONTENT.items():
        assert isinstance(content[name], kind)
        assert not keys or set(keys) <= content[name].keys()


def are_weights(weights: Weights) -> None:
    assert weights.id.startswith(weights.name)
    assert all(v.dtype == torch.float32 and v.isfinite().all() for v in weights.state.values())


def is_state(state: dict[str, torch.Tensor]) -> None:
    assert all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items())


def is_report(report: Report) -> None:
    assert report.table() and 0 <= report.failed_share <= 1


def is_system(system: System) -> None:
    for video, *segments in system.pieces:
        assert isinstance(video, str) and all(type(n) is int for n in segments)


def is_sound(pcm: np.ndarray) -> None:
    assert pcm.dtype == np.int16 and pcm.ndim == 1


CLIP = {
    "id": "a_c000", "video_id": "a", "source": "a.mp4", "sha256": "0" * 64, "start_s": 0.5,
    "end_s": 3.5, "start_frame": 15, "end_frame": 105, "box": [0, 0, 90, 60], "song": "song-1",
    "split": "train", "dancers": 1, "decision": "keep", "reason": "", "detail": "",
}  # fmt: skip
CLIPS = [CLIP, CLIP | {"id": "a_c001", "decision": "reject", "reason": "silent", "song": "",
                       "split": "", "detail": "-70 dBFS", "dancers": None}]  # fmt: skip
ROWS = [
    Row("a", "a.mp4", song="s", dancers=("d01",), motion="a.pkl", sha256="0" * 64, bytes=9),
    Row("b", "b.mp4", start_s="1/2", stop_s="7/2", box=(0, 0, 90, 60), dancers_seen=1),
    Row("c", "c.mp4", split="", known_code="rejected_silent", why="clip of c.mp4: silent"),
]
KEYPOINTS = {"version": 1.3, "people": [{"pose_keypoints_2d": [float(k) for k in range(75)]}] * 2}
REPORT = {"inputs": 2, "rows": [{"video_id": "a", "status": "failed", "code": "empty",
                                "stage": "cut",
          "message": "a.mp4: 0 bytes", "segments": 0, "dropped_s": 0.5, "path": "a.mp4"}],
          "segments": {"train": 3}, "untrained": ["x"], "seconds": 1.5,
          "stopped": "early"}  # fmt: skip
GENERATED = {"codec": "demo", "step": 3, "level": "high", "labels": ["untrained"],
             "generated": [{"video_id": "a", "segments": [1, 2], "file": "a.wav"}]}  # fmt: skip
CSV_LINKS = (
    b"id,url,song,duration,dancers\na,https://example.org/a,song,12.5,1\n"
    b'"b",http://example.org/b?x=1&y=2,"two, words",,\n'
)
YAML_CONFIG = (
    b"arch: paper\nlr_generator: 1e-4\nbetas: [0.5, 0.9]\nuse_genre: true\n"
    b"weights:\n  mel: 2.0\n  wave: 1\nweights.feature: 3\nseed: 7\n"
)


def parquet(rows: list[dict[str, Any]], metadata: dict[str, str] | None = None) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), buffer)
    return buffer.getvalue()


def saved_rows(folder: Path) -> bytes:
    save_rows(folder / "rows.parquet", ROWS, "/videos")
    return (folder / "rows.parquet").read_bytes()


def torch_bytes(content: Any, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def checkpoint_content() -> dict[str, Any]:
    content: dict[str, Any] = {
        name: {key: {} for key in keys} if kind is dict else kind(1)
        for name, (kind, keys) in CONTENT.items()
    }
    return content | {"format": 2, "config": to_dict(Config()), "network": {"w": torch.ones(3, 2)}}


def small_state() -> dict[str, torch.Tensor]:
    return {f"module.model.{k}.weight": torch.ones(2, 3) for k in range(3)}


def npz(arrays: dict[str, np.ndarray], packed: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def small_body() -> dict[str, np.ndarray]:
    """Return a whole body of 24 vertices, whose file is mostly headers."""
    held = body()
    held = {k: v[::3] if k in ("v_template", "weights", "posedirs") else v for k, v in held.items()}
    return held | {"J_regressor": np.eye(24), "f": np.arange(24).reshape(8, 3) % 24,
                   "shapedirs": np.zeros((24, 3, 1))}  # fmt: skip


def pose_arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "smpl_poses": rng.normal(size=(4, 72)), "smpl_trans": rng.normal(size=(4, 3)),
        "smpl_scaling": np.array([92.0]), "smpl_loss": 0.0,
    }  # fmt: skip


def patched_split(path: Path) -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifests, "__path__", [str(path.parent)])
        return official_split(path.stem)


def curated(path: Path) -> Listing:
    """List what a table says of the videos that lie beside it."""
    return list_tiktok(path.parent, path.parent, False, None)


def make_kinds(folder: Path) -> dict[str, Kind]:
    """Return every kind of file by name."""
    codec = folder / "codec.safetensors"
    tiny = replace(TINY, width=2, emb_width=2, l_bins=3)
    write_weights(codec, random_codec(hparams=tiny).model, "x", "y")
    save_torch(folder / "last.pt", checkpoint_content())
    write_fake_dataset(folder / "data", random_codec(), videos={"train": 1}, segments=2)
    dataset = (folder / "data" / "dataset.json").read_bytes()
    arrays = pose_arrays()
    motion = tuple(pickle.dumps(arrays, protocol=p) for p in (2, 4))
    joints = {"keypoints2d": np.ones((2, 3, 17, 3), np.float32), "timestamps": np.arange(3)}
    seen = tuple(pickle.dumps(joints, protocol=p) for p in (2, 5))
    keypoints = json.dumps(KEYPOINTS).encode()
    thresholds = (ROOT / "pipeline/curate/thresholds.yaml").read_bytes()
    few = b"decide:\n  min_clip_s: 3\n  song_odds: [1, 2, 3.5, 4]\npicture:\n"
    lines = (ROOT / "manifests/tiktok.csv").read_bytes().splitlines(keepends=True)
    published_list = b"".join(lines[:9])
    wav = encode_wav(np.linspace(-1, 1, 99))[0]
    rows = saved_rows(folder)
    table = parquet(CLIPS)
    return {
        kind.name: kind
        for kind in (
            Kind("rows.parquet", (rows,), manifest.load, are_rows),
            Kind("tiktok.parquet", (table,), curated, is_listing),
            Kind("tiktok.csv", (published_list,),
                 patched_split, is_split),
            Kind("motion.pkl", motion, read_annotation, is_annotation),
            Kind("keypoints2d.pkl", seen, lambda p: load_keypoints(p, "c02"), are_joints),
            Kind("SMPL.pkl", (published(body()),), load_body_model, is_body),
            Kind("SMPL.npz", (npz(small_body()), npz(small_body(), True)),
                 load_body_model, is_body),
            Kind("a_000_keypoints.json", (keypoints,), lambda p: load_people(p.parent), are_people,
                 KEYPOINTS),
            Kind("dataset.json", (dataset,), lambda p: load_dataset(p.parent), is_dataset,
                 json.loads(dataset)),
            Kind("config.yaml", (YAML_CONFIG,), lambda p: load_config("paper", p), is_config,
                 to_dict(Config()) | PRESETS["code"]),
            Kind("thresholds.yaml", (few, thresholds), load_settings, are_settings,
                 {"decide": {"min_clip_s": 3, "song_odds": [1, 2, 3.5, 4]}, "picture": None}),
            Kind("genres.csv", (b"file,genre\na.mp4,Ballet\nb/c.mov,K-pop\n",), read_genres,
                 are_genres),
            Kind("overrides.csv", (b"id,verdict\na_c000,keep\nb_c001,song one\n",),
                 lambda p: read_overrides(p, {"a_c000", "b_c001", "b_c002"}), are_overrides),
            Kind("links.csv", (CSV_LINKS,), read_links, are_links),
            Kind("sound.wav", (wav, wav[:36] + b"LIST\4\0\0\0info" + wav[36:]),
                 lambda p: decode_pcm(p.read_bytes(), p.name), is_sound),
            Kind("last.pt", ((folder / "last.pt").read_bytes(),), read_checkpoint, is_checkpoint),
            Kind("codec.safetensors", (codec.read_bytes(),), read_weights, are_weights),
            Kind("vqvae.pth.tar", (torch_bytes({"model": small_state(), "step": 1}),
                 torch_bytes(small_state(), legacy=True)), read_weights, are_weights, whole=False),
            Kind("released.pt", (torch_bytes(small_state()), torch_bytes(small_state(), True)),
                 read_state, is_state),
            Kind("report.json", (json.dumps(REPORT).encode(),), lambda p: Report.load(p.parent),
                 is_report, REPORT),
            Kind("generated.json", (json.dumps(GENERATED).encode(),),
                 lambda p: read_system("ours", p.parent), is_system, GENERATED),
        )
    }  # fmt: skip
