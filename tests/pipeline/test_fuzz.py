"""Strangers' bytes, made up and mutated: every reader gives what it promises, or says which file.

Each reader of files that others may have made gets valid files with bits flipped, bytes spliced,
cut and repeated, valid structures with values swapped or replaced, and bytes that never were a
file. It may return a value of the documented form, or raise ValueError or OSError with a message
that names the file. Nothing else: no other error, no hang, no code run, no file touched but those
it was given. The examples are the same in every run; D2M_FUZZ_EXAMPLES asks for more, and others.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import math
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_parts import Touch, Vast, member, nested
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from places import ROOT
from smpl_bodies import body, published

import manifests
from model.codecs.jukebox.codec import random_codec
from model.codecs.jukebox.corpus import read_shards
from model.codecs.jukebox.hparams import TINY
from model.codecs.jukebox.weights import Weights, read_weights, write_weights
from model.contract.dataset import Dataset, load_dataset
from model.contract.segment import MOTION, SPLITS, VISUAL
from model.contract.wav import decode_pcm, encode_wav
from model.data.inputs import GENRE
from model.data.source import Source
from model.fake_dataset import write_fake_dataset
from model.families.d2m_gan.config import PRESETS, Config, load_config
from model.families.d2m_gan.released_weights import read_state
from model.listening.clips import System, read_system
from model.runtime.checkpoint import CONTENT, read_checkpoint, save_torch
from model.runtime.settings import to_dict
from pipeline.curate.decide import read_overrides
from pipeline.curate.links import Link, read_links
from pipeline.curate.settings import Settings, load_settings
from pipeline.engine.ledger import Ledger
from pipeline.engine.outcome import Outcome
from pipeline.engine.time_limit import TimeLimit, time_limit
from pipeline.features.codes import video_spans
from pipeline.features.motion.openpose import load_people
from pipeline.features.motion.smpl_model import BodyModel, load_body_model
from pipeline.features.motion.smpl_rotations import read_annotation
from pipeline.output.verify import verify
from pipeline.report.report import Report
from pipeline.sources import manifest
from pipeline.sources.aist import official_split
from pipeline.sources.listing import Listing
from pipeline.sources.manifest import Row, ended_early
from pipeline.sources.tiktok import list_tiktok

ASKED = os.environ.get("D2M_FUZZ_EXAMPLES", "")
HANG_S = 30
"""A reader that takes so long for a few kilobytes hangs."""

fuzz = settings(
    max_examples=int(ASKED or 40),
    derandomize=not ASKED,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),  # a long search for a shorter example is for hands
    suppress_health_check=list(HealthCheck),
)


# --- what a reader may do ------------------------------------------------------------------------


class Watch:
    """Hears what Python opens, starts and changes while a reader works (audit hooks stay for good,
    so there is one for all tests)."""

    CHANGES = (
        "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen",
        "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
        "os.chmod", "shutil.rmtree", "socket.connect", "socket.bind", "pty.spawn",
    )  # fmt: skip
    FREE = ("/proc", "/sys", "/dev", sys.prefix, sys.base_prefix, str(ROOT))

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, values: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in self.CHANGES:
            self.seen.append(f"{event} {values!r:.200}")
        elif event == "open" and isinstance(values[0], str | bytes):
            path = os.path.realpath(os.fsdecode(values[0]))
            wrote = isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR)
            if wrote or not path.startswith((str(self.folder), *self.FREE)):
                self.seen.append(f"open {path} {values[1]}")

    @contextlib.contextmanager
    def of(self, folder: Path) -> Iterator[None]:
        self.folder, self.seen = Path(os.path.realpath(folder)), []
        try:
            yield
        finally:
            self.folder = None
        assert not self.seen, self.seen


@pytest.fixture(scope="session")
def watch() -> Watch:
    return Watch()


def check(watch: Watch, read: Callable[[], Any], fits: Callable[[Any], None], path: Path) -> bool:
    """Read; return whether a value came, which fits, or an error that names the file."""
    try:
        with watch.of(path.parent), time_limit(HANG_S):
            value = read()
    except (ValueError, OSError) as error:
        assert path.name in str(error), repr(error)
        assert len(str(error)) < 20_000, f"{len(str(error))} characters of message"
        return False
    except TimeLimit:
        pytest.fail(f"{path.name}: still reading after {HANG_S} s")
    fits(value)
    return True


# --- what strangers may send ---------------------------------------------------------------------

BYTES = st.binary(max_size=12) | st.sampled_from(
    [b"\0", b"\0" * 8, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 8, b"\n", b'"',
     b"-1", b"1e999", b"nan", b"9" * 40, b"../", b"\xed\xa0\x80", b",", b"[", b"}"]
)  # fmt: skip
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "put", "insert", "delete", "copy", "swap", "cut"]),
        st.integers(0, 1 << 20) | st.integers(0, 600),
        st.integers(0, 1 << 20) | st.integers(0, 600),
        st.integers(1, 64) | st.integers(1, 4096),
        BYTES,
    ),
    min_size=1,
    max_size=5,
)


def edited(data: bytes, edits: list[tuple[str, int, int, int, bytes]]) -> bytes:
    """Return the bytes with each edit done; places count from the front, or the end if odd."""
    out = bytearray(data)
    for kind, place, other, length, new in edits:
        if not out:
            break
        a, b = (x // 2 % len(out) if x % 2 == 0 else len(out) - 1 - x // 2 % len(out)
                for x in (place, other))  # fmt: skip
        if kind == "flip":
            out[a] ^= 1 << other % 8
        elif kind == "put":
            out[a : a + len(new)] = new
        elif kind == "insert":
            out[a:a] = new
        elif kind == "delete":
            del out[a : a + length]
        elif kind == "copy":
            out[b:b] = out[a : a + length]
        elif kind == "swap":
            out[a : a + length], out[b : b + length] = out[b : b + length], out[a : a + length]
        elif kind == "cut" and length < 16:
            del out[a:]
    return bytes(out)


ODD = st.sampled_from(
    ["", "../x", "/etc/passwd", "a/b", "nan", "1/0", "-1", "1e400", "9" * 5000, "\0", "é" * 90,
     "train", "[", 10**400, -(10**400), 1 << 63, -1, 0, 1, 0.5, math.nan, math.inf,
     -math.inf, 1e300]
)  # fmt: skip
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | ODD
JUNK = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a nested structure, outermost first."""
    found, todo = [], [value]
    for one in todo:
        keys = list(one) if isinstance(one, dict) else range(len(one))
        found += [(one, key) for key in keys]
        todo += [one[key] for key in keys if isinstance(one[key], dict | list)]
    return found


@st.composite
def changed(draw: st.DrawFn, value: Any, junk: st.SearchStrategy[Any] = JUNK) -> Any:
    """Return a nested structure with values replaced, dropped, renamed and exchanged."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        found = places(value)
        if not found:
            break
        holder, key = found[draw(st.integers(0, len(found) - 1))]
        kind = draw(st.sampled_from(["replace", "replace", "drop", "exchange", "rename"]))
        if kind == "replace":
            holder[key] = draw(junk)
        elif kind == "drop":
            del holder[key]
        elif kind == "exchange":
            other, place = found[draw(st.integers(0, len(found) - 1))]
            holder[key], other[place] = copy.deepcopy((other[place], holder[key]))
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=6) | ODD.filter(lambda x: isinstance(x, str)))] = (
                holder.pop(key)
            )
    return value


# --- every kind of file --------------------------------------------------------------------------


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
    manifest.save(folder / "rows.parquet", ROWS, "/videos")
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


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    """Return every kind of file by name."""
    folder = tmp_path_factory.mktemp("valid")
    codec = folder / "codec.safetensors"
    tiny = replace(TINY, width=2, emb_width=2, l_bins=3)
    write_weights(codec, random_codec(hparams=tiny).model, "x", "y")
    save_torch(folder / "last.pt", checkpoint_content())
    write_fake_dataset(folder / "data", random_codec(), videos={"train": 1}, segments=2)
    dataset = (folder / "data" / "dataset.json").read_bytes()
    arrays = pose_arrays()
    motion = tuple(pickle.dumps(arrays, protocol=p) for p in (2, 4))
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


NAMES = (
    "rows.parquet", "tiktok.parquet", "tiktok.csv", "motion.pkl", "SMPL.pkl", "SMPL.npz",
    "a_000_keypoints.json", "dataset.json", "config.yaml", "thresholds.yaml", "overrides.csv",
    "links.csv", "sound.wav", "last.pt", "codec.safetensors", "vqvae.pth.tar", "released.pt",
    "report.json", "generated.json",
)  # fmt: skip
STRUCTURED = ("a_000_keypoints.json", "dataset.json", "config.yaml", "thresholds.yaml",
              "report.json", "generated.json")  # fmt: skip


class Bench:
    """Puts files where their readers look, each in a folder of its own, and holds them to it."""

    def __init__(
        self, kinds: dict[str, Kind], watch: Watch, folders: pytest.TempPathFactory
    ) -> None:
        self.kinds, self.watch = kinds, watch
        self.paths = {name: folders.mktemp("fuzz") / name for name in kinds}
        table = self.paths["tiktok.parquet"]
        manifest.save(table.with_name("tiktok.inputs.parquet"), [Row("a", "a.mp4")])
        table.with_name("report.json").write_text(json.dumps({"rows": []}), encoding="utf-8")
        table.with_name("a.mp4").touch()
        beside = self.paths["report.json"].with_name("dataset.json")
        beside.write_bytes(kinds["dataset.json"].valid[0])

    def __repr__(self) -> str:
        return "bench"  # of what hypothesis prints of an example, this is the same in all

    def tried(self, name: str, data: bytes) -> bool:
        """Return whether a reader took a file; what it then gives fits."""
        kind, path = self.kinds[name], self.paths[name]
        path.write_bytes(data)
        return check(self.watch, lambda: kind.read(path), kind.fits, path)


@pytest.fixture(scope="module")
def bench(kinds: dict[str, Kind], watch: Watch, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return the readers, each of which has read its valid files: nothing is left to import."""
    made = Bench(kinds, watch, tmp_path_factory)
    for name, kind in kinds.items():
        for data in kind.valid:
            made.paths[name].write_bytes(data)
            with contextlib.suppress(ValueError):
                kind.read(made.paths[name])
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_valid_file_is_read_and_a_damaged_one_named(name, bench):
    for data in bench.kinds[name].valid:
        assert bench.tried(name, data) == bench.kinds[name].whole
    for data in (b"", b"\0", b"[" * 100_000, b"{" * 100_000, b"\xff\xfe", b"a: *a", b"- " * 50_000):
        bench.tried(name, data)
    bench.paths[name].unlink()
    with pytest.raises((ValueError, OSError), match=f"{name}|{bench.paths[name].parent.name}"):
        bench.kinds[name].read(bench.paths[name])


@pytest.mark.parametrize("name", NAMES)
@fuzz
@given(data=st.data(), edits=EDITS)
def test_mutated_bytes(name, bench, data, edits):
    whole = data.draw(st.sampled_from(bench.kinds[name].valid))
    bench.tried(name, edited(whole, edits))


@pytest.mark.parametrize("name", NAMES)
@fuzz
@given(data=st.data(), noise=st.binary(max_size=300))
def test_noise_after_a_true_beginning(name, bench, data, noise):
    whole = data.draw(st.sampled_from(bench.kinds[name].valid))
    keep = data.draw(st.sampled_from([0, 2, 4, 8, 16, 64]))
    bench.tried(name, whole[:keep] + noise)


@pytest.mark.parametrize("name", STRUCTURED)
@fuzz
@given(data=st.data())
def test_changed_structures(name, bench, data):
    value = data.draw(changed(bench.kinds[name].structure) | JUNK)
    bench.tried(name, json.dumps(value).encode())


@pytest.mark.parametrize("name", ["rows.parquet", "tiktok.parquet"])
@fuzz
@given(data=st.data())
def test_changed_tables(name, bench, data):
    rows = CLIPS if name == "tiktok.parquet" else [json.loads(json.dumps(asdict(r))) for r in ROWS]
    rows = data.draw(changed(rows, LEAF | st.lists(LEAF, max_size=4)))
    try:
        made = parquet(rows, data.draw(st.none() | st.just({"root": "/videos"})))
    except (ValueError, TypeError, ArithmeticError, AttributeError, NotImplementedError):
        assume(False)  # no table: a column of several types
    bench.tried(name, made)


CELLS = st.text(max_size=8) | ODD.map(str) | st.sampled_from(
    ["a_c000", "train", "keep", "https://example.org", "http://[", "12.5", "1", "", '"', ",", "\r"]
)  # fmt: skip


@pytest.mark.parametrize("name", ["tiktok.csv", "overrides.csv", "links.csv"])
@fuzz
@given(lines=st.lists(st.lists(CELLS, max_size=6), max_size=4), quoted=st.booleans())
def test_changed_lists(name, bench, lines, quoted):
    head = bench.kinds[name].valid[0].partition(b"\n")[0]
    cells = [[f'"{c}"' if quoted else c for c in line] for line in lines]
    text = "\n".join(",".join(line) for line in cells)
    data = head + b"\n" + text.encode(errors="surrogatepass")
    bench.tried(name, data)


YAML_WORDS = st.sampled_from(
    ["!!timestamp x", "!!int ''", "!!float ''", "!!bool x", "!!binary x", "!!python/name:os.system",
     "!!python/object/apply:os.mkdir [x]", "2020-99-99", "0b", "1:99", "&a [*a]", "*a", "<<: *a",
     "? ",
     "[", "]", "{", "}", "seed", "betas", "weights", "decide", "min_clip_s", "sigma", ": ", "\n",
     "- ", "9" * 5000, "0x" + "f" * 5000, ".nan", ".inf", "~", "|", ">", "%YAML 9", "---\n", "\t"]
)  # fmt: skip


@pytest.mark.parametrize("name", ["config.yaml", "thresholds.yaml"])
@fuzz
@given(words=st.lists(YAML_WORDS, max_size=8), key=st.sampled_from(["", "seed: ", "decide: "]))
def test_yaml_words(name, bench, words, key):
    bench.tried(name, (key + "".join(words)).encode())


@fuzz
@given(
    key=st.sampled_from([f.name for f in fields(Config)] + ["weights.mel", "x", ""]),
    value=YAML_WORDS | CELLS | JUNK.map(json.dumps) | st.lists(YAML_WORDS, max_size=4).map("".join),
)
def test_settings_of_the_command_line(watch, tmp_path_factory, key, value):
    """`--set` has no file: the message names the key."""
    nowhere = Path("/nowhere") / (key or "--set")
    load_config("tiny", None)
    check(watch, lambda: load_config("tiny", None, [f"{key}={value}"]), is_config, nowhere)


# --- pickles -------------------------------------------------------------------------------------

GLOBALS = [
    "os system", "os mkdir", "posix mkdir", "builtins eval", "builtins exec", "builtins getattr",
    "builtins object", "__builtin__ set", "io open", "numpy load", "numpy fromfile",
    "numpy ndarray",
    "numpy ndarray.tofile", "numpy dtype", "numpy.core.multiarray _reconstruct", "_codecs encode",
    "numpy.core.multiarray scalar", "chumpy.ch Ch", "chumpy.reordering Select",
    "copyreg _reconstructor",
    "scipy.sparse.csc csc_matrix", "chumpy.__builtins__ eval", "torch._utils _rebuild_tensor_v2",
]  # fmt: skip
CODES = st.one_of(
    st.sampled_from(GLOBALS).map(lambda name: "c{}\n{}\n".format(*name.split()).encode()),
    st.sampled_from([b"(", b"t", b"R", b"b", b"}", b"]", b"N", b"0", b"2", b"s", b"u", b"\x81",
                     b"\x85",
                     b"\x86", b"\x87", b"\x94", b"h\0", b"q\0", b"K\x03", b"I72\n", b"F1e999\n",
                     b"r\xff\xff\xff\x7f", b"J\xff\xff\xff\x7f", b"p99999999999\n", b"e", b"a",
                     b"i"]),
    st.sampled_from(["smpl_poses", "v_template", "x", "O", "<f8", "idna"]).map(
        lambda text: b"X" + len(text).to_bytes(4, "little") + text.encode()
    ),
)  # fmt: skip


@pytest.mark.parametrize("name", ["motion.pkl", "SMPL.pkl", "vqvae.pth.tar", "last.pt"])
@fuzz
@given(codes=st.lists(CODES, max_size=14))
def test_pickles_that_never_were_written(name, bench, codes):
    bench.tried(name, b"\x80\x02" + b"".join(codes) + b".")


@pytest.mark.parametrize("name", ["motion.pkl", "SMPL.pkl"])
@fuzz
@given(data=st.data(), protocol=st.sampled_from([0, 2, 4]))
def test_pickles_of_other_values(name, bench, data, protocol):
    held = dict(pose_arrays() if name == "motion.pkl" else small_body())
    form = st.sampled_from(["f2", "f4", "f8", "i8", "u1", "c16", "?", "S3", "U3", "O", "M8[s]"])
    shape = st.sampled_from(
        [(), (0,), (4,), (4, 72), (0, 72), (4, 3), (24, 3), (2, 24), (4, 72, 1)]
    )
    fill = st.sampled_from([0, 1, -1, 1e308, math.nan, math.inf, 1 << 40])
    odd = st.sampled_from(
        [Touch(bench.paths[name].with_name("owned")), Vast(), nested(9), "x", None]
    )
    for _ in range(data.draw(st.integers(1, 2))):
        key = data.draw(st.sampled_from(sorted(held)))
        array = np.zeros(data.draw(shape), data.draw(form))
        if array.dtype.kind in "fc":
            array[...] = data.draw(fill)
        elif array.dtype.kind == "O":
            array[...] = data.draw(st.sampled_from([None, "x", 3]))
        held[key] = data.draw(st.just(array) | odd | LEAF | st.sampled_from(list(held.values())))
    try:
        made = pickle.dumps(held, protocol)
    except UnicodeEncodeError:
        assume(False)
    bench.tried(name, made)


# --- tars ----------------------------------------------------------------------------------------

TAR = "train-000000.tar"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of one shard for training, of two segments, and one for validation."""
    root = tmp_path_factory.mktemp("shards")
    codec = random_codec()
    write_fake_dataset(root, codec, videos={"train": 1, "val": 1}, segments=2, motion=(60, 4))
    list(verify(root))
    read_shards(root, 4000)
    assert len(trained(root)) == 2
    return root


def trained(root: Path) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Read what the trainer would, genre and all."""
    dataset = load_dataset(root)
    (codec,) = dataset.codecs
    source = Source(root, dataset, "train", codec, {"high": 64}, inputs=[MOTION, VISUAL, GENRE])
    return [source.decode(raw) for raw in source.raw(0)]


def are_segments(found: list[tuple[str, dict[str, np.ndarray]]]) -> None:
    assert len(found) == 2
    for _, arrays in found:
        assert arrays["wav"].shape == (44100,) and arrays["motion.npy"].shape == (120, 4)
        assert all(np.isfinite(a).all() for a in arrays.values()) and arrays["high"].max() < 64


def hold_to(root: Path, data: bytes, which: str, watch: Watch) -> None:
    """Put a tar in the place of one, its hash into dataset.json, and let every reader read it."""
    path = root / TAR if which == "features" else next(root.glob(f"codes/*/{TAR}"))
    listed = (root / "dataset.json").read_bytes()
    whole = path.read_bytes()
    raw = json.loads(listed)
    places = raw if which == "features" else next(iter(raw["codecs"].values()))
    facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    places["splits"]["train"][0] |= facts
    try:
        path.write_bytes(data)
        (root / "dataset.json").write_text(json.dumps(raw), encoding="utf-8")
        watched = root / TAR
        check(watch, lambda: list(verify(root)), lambda lines: None, watched)
        check(watch, lambda: trained(root), are_segments, watched)
        check(watch, lambda: video_spans(path), lambda videos: None, watched)
        if which == "features":
            check(watch, lambda: read_shards(root, 4000), lambda corpus: None, watched)
    finally:
        path.write_bytes(whole)
        (root / "dataset.json").write_bytes(listed)


@pytest.mark.parametrize("which", ["features", "codes"])
@fuzz
@given(data=st.data(), edits=EDITS)
def test_mutated_tars(which, shards, watch, data, edits):
    """Near the head of a member, or at its first bytes: what lies between is only sound."""
    path = shards / TAR if which == "features" else next(shards.glob(f"codes/*/{TAR}"))
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        start = data.draw(st.sampled_from([info.offset for info in tar]))
    near = whole[start : start + 700]
    near = edited(near, edits)
    hold_to(shards, whole[:start] + near + whole[start + 700 :], which, watch)


@pytest.mark.parametrize("which", ["features", "codes"])
@fuzz
@given(data=st.data(), edits=EDITS)
def test_tars_of_other_members(which, shards, watch, data, edits):
    path = shards / TAR if which == "features" else next(shards.glob(f"codes/*/{TAR}"))
    with tarfile.open(path) as tar:
        members = [(info.name, tar.extractfile(info).read()) for info in tar]
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(members) - 1))
        name, content = members[at]
        name = data.draw(
            st.sampled_from([name, *(n for n, _ in members), "a", ".wav", "a_seg0001."])
        )
        kind = data.draw(
            st.sampled_from(["edit", "swap", "drop", "twice", "junk", "array", "link"])
        )
        if kind == "edit":
            content = edited(content[:128], edits) + content[128:]
        elif kind == "swap":
            content = data.draw(st.sampled_from(members))[1]
        elif kind == "junk":
            content = json.dumps(data.draw(JUNK)).encode()
        elif kind == "array":
            form = data.draw(st.sampled_from(["<f4", "<u2", "|O", "<i8", "|V0", "<M8[s]", "nan"]))
            shape = data.draw(
                st.sampled_from(["(1, 2048)", "(344,)", "(9999999999999,)", "(-1,)", "x"])
            )
            head = f"{{'descr': '{form}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
            content = b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + content[128:]
        members[at] = (name, content)
        if kind == "drop":
            del members[at]
        elif kind == "twice":
            members.insert(at, members[at])
        elif kind == "link":
            members[at] = (name, None)
    made = b"".join(
        member(name, content) if content is not None else member(name, kind=tarfile.SYMTYPE)
        for name, content in members
    )
    hold_to(shards, made + bytes(1024), which, watch)


@fuzz
@given(size=st.sampled_from([-512, -1024, -(1 << 40), 1 << 60, 1]), codes=st.booleans())
def test_members_of_impossible_sizes(shards, watch, size, codes):
    """A size below zero leads a reader of tars back to where it was, for ever."""
    info = tarfile.TarInfo("train0_seg0001.wav")
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[124:136] = (b"\xff" if size < 0 else b"\x80") + size.to_bytes(12, "big", signed=True)[1:]
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head)
    first = member("train0_seg0001.json", b"{}")
    data = first + bytes(head) + bytes(1024)
    hold_to(shards, data, "codes" if codes else "features", watch)


# --- what a stored result may hold ---------------------------------------------------------------


@fuzz
@given(edits=EDITS)
def test_a_damaged_result_is_made_again(tmp_path_factory, watch, edits):
    """The ledger is the build's own; a disk may still change it. Nothing of it ends the build."""
    ledger = Ledger(tmp_path_factory.getbasetemp() / "ledger")
    ledger.write("cut", "ab" * 16, {"x": np.arange(5)}, {"a": 1}, None)
    path = ledger.path("cut", "ab" * 16)
    assert ledger.read("cut", "ab" * 16).facts == {"a": 1}
    path.write_bytes(edited(path.read_bytes(), edits))
    try:
        found = ledger.read("cut", "ab" * 16)
    finally:
        path.unlink(missing_ok=True)
    assert found is None or isinstance(found.facts, dict)


# --- examples that took more than mutations to find ----------------------------------------------


def test_ten_bytes_of_pickle_ask_for_no_memory(bench):
    """C's unpickler makes room for object number 2**31 - 1 and all before it."""
    for name in ("motion.pkl", "SMPL.pkl"):
        assert not bench.tried(name, b"\x80\x02}r\xff\xff\xff\x7f.")
        assert not bench.tried(name, b"\x80\x02N\x8e" + b"\xff" * 7 + b"\x00.")


def test_arrays_of_objects_that_are_not_there_stay_unread(bench):
    """numpy believes a pickle that an array of objects has more of them than its list."""

    class Lying:
        def __reduce__(self):
            state = (1, (4,), np.dtype("O"), False, [1, 2])
            return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state

    held = pose_arrays() | {"smpl_loss": Lying()}
    assert bench.tried("motion.pkl", pickle.dumps(held))  # not asked for, never made
    assert not bench.tried("motion.pkl", pickle.dumps(held | {"smpl_poses": Lying()}))


def test_yaml_that_stands_for_gigabytes_is_not_written_out(bench):
    """Nine lines of nine references each: a list of 9 ** 9 numbers, were it printed."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 9)]
    for key in ("weights", "betas", "seed", "decide", "a"):
        text = "\n".join([*lines, f"{key}: *a8"]).replace("a0:", "arch:", 1)
        assert not bench.tried("config.yaml", text.encode())
        assert not bench.tried(
            "thresholds.yaml", f"decide: {{min_clip_s: {lines[0][4:]}}}".encode()
        )
        assert not bench.tried("thresholds.yaml", "\n".join([*lines, f"{key}: *a8"]).encode())


def test_a_packed_checkpoint_is_refused_before_it_unpacks(bench):
    whole = bench.kinds["last.pt"].valid[0]
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(buffer, "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert not bench.tried("last.pt", buffer.getvalue())


# --- videos --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_mutated_videos_all_end_in_the_report(tmp_path):
    """Thirty of the three hundred that benchmarks/mutated_videos.py makes, on the real command."""
    command = ["benchmarks/mutated_videos.py", "--videos", "30", "--engine", "local"]
    run = subprocess.run(
        [sys.executable, *command, "--folder", str(tmp_path / "work")],
        cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "exit 0" in run.stdout and "35 rows" in run.stdout and "| all |" in run.stdout
    report = json.loads((tmp_path / "work" / "local" / "report.json").read_text(encoding="utf-8"))
    assert report["inputs"] == sum(report["counts"].values()) == 35
    assert 5 < report["counts"]["ok"] < 35 and report["counts"]["failed"] > 5
