"""Files made to harm: every one ends in the report, the good ones beside it come through."""

from __future__ import annotations

import io
import json
import pickle
import resource
import socket
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from builds import ENGINES, built, clip, ends, motion_file, options, run, shards
from clips import as_listed, clicks, ffmpeg
from hostile_parts import Touch, Vast, box, member, nested
from places import ROOT

import pipeline.build
import pipeline.features.run
from model.cli import main as model_main
from model.contract.dataset import load_dataset
from model.contract.shards import read_shard
from model.contract.wav import wav_bytes
from model.data.reader import read_tar
from pipeline.build import build
from pipeline.engine.base import LocalEngine
from pipeline.engine.outcome import Outcome, attempt
from pipeline.features.plan import Settings
from pipeline.media.ffmpeg import mux
from pipeline.media.reader import FrameRequest, read_frames
from pipeline.output.verify import verify
from pipeline.sources import manifest
from pipeline.sources.manifest import Row

NAMES = (
    "two words",
    "'single' \"double\"",
    "two\nlines",
    "-dash",
    as_listed("日本語 é"),
    "%03d #?:",
    "$(touch x)",
)


# --- videos ------------------------------------------------------------------------------------


def playlist(*addresses: str) -> str:
    entries = [f"#EXTINF:2.0,\n{address}" for address in addresses]
    head = ["#EXTM3U", "#EXT-X-TARGETDURATION:2"]
    return "\n".join([*head, *entries, "#EXT-X-ENDLIST", ""])


def packed_zeros(count: int) -> bytes:
    """Return `count` zeros as zlib packs them: a thousandth."""
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    return b"".join([*(packer.compress(block) for _ in range(count >> 20)), packer.flush()])


def header_bomb(path: Path, unpacked_bytes: int) -> None:
    """Write an mp4 whose zlib-packed header (`cmov`) asks for so many bytes of memory."""
    data = struct.pack(">I", unpacked_bytes) + packed_zeros(unpacked_bytes)
    moov = box(b"moov", box(b"cmov", box(b"dcom", b"zlib") + box(b"cmvd", data)))
    brand = box(b"ftyp", b"isom\0\0\2\0isom")
    path.write_bytes(brand + moov + box(b"mdat", bytes(100)))


def png(side_px: int) -> bytes:
    """Return a black picture of one bit per pixel."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    packer, row = zlib.compressobj(9), bytes(1 + side_px // 8)
    data = b"".join([*(packer.compress(row) for _ in range(side_px)), packer.flush()])
    size = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def giant(path: Path, side_px: int) -> None:
    """Write a mov of three square frames and silence; its header tells the frames' true size."""
    picture = png(side_px)
    with av.open(str(path), "w") as out:
        video, audio = out.add_stream("png", rate=1), out.add_stream("pcm_s16le", rate=22050)
        video.width = video.height = 64
        video.pix_fmt = "monob"
        for at_s in range(3):
            packet = av.Packet(picture)
            packet.stream, packet.time_base, packet.duration = video, Fraction(1), 1
            packet.pts = packet.dts = at_s
            packet.is_keyframe = True
            out.mux(packet)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 66150), np.int16), "s16", "mono")
        sound.sample_rate, sound.pts = 22050, 0
        out.mux(audio.encode(sound))
    data = path.read_bytes()
    at = data.index(b"png ") + 28
    assert data[at : at + 4] == struct.pack(">HH", 64, 64)
    path.write_bytes(data[:at] + struct.pack(">HH", side_px, side_px) + data[at + 4 :])


def claim_hours(path: Path, hours: int) -> None:
    """Rewrite the movie's, tracks' and media's durations in an mp4's header."""
    data = bytearray(path.read_bytes())
    for name, rate_at, length_at in ((b"mvhd", 16, 20), (b"mdhd", 16, 20), (b"tkhd", None, 24)):
        at = -1
        while (at := data.find(name, at + 1)) > 0:
            if name == b"mvhd":
                movie_hz = int.from_bytes(data[at + rate_at : at + rate_at + 4], "big")
            rate_hz = movie_hz
            if rate_at is not None:
                rate_hz = int.from_bytes(data[at + rate_at : at + rate_at + 4], "big")
            claim = min(hours * 3600 * rate_hz, 0xFFFFFFFE)
            data[at + length_at : at + length_at + 4] = struct.pack(">I", claim)
    path.write_bytes(data)


def late_frame(path: Path, hours: int) -> None:
    """Spread an mp4's pictures over so many hours (the `stts` table)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"stts")
    count, frames, _ = struct.unpack(">III", data[at + 8 : at + 20])
    assert count == 1 and frames > 60
    rate_hz = int.from_bytes(data[data.index(b"mdhd") + 16 :][:4], "big")
    data[at + 16 : at + 20] = struct.pack(">I", min(hours * 3600 * rate_hz // frames, 0xFFFFFFFE))
    at = data.index(b"elst")
    data[at : at + 4] = b"free"  # the edit list would hide what comes after 2.3 s
    path.write_bytes(data)


@pytest.fixture(scope="module")
def attacks(tmp_path_factory) -> Iterator[tuple[Path, list[str]]]:
    """Return a folder of attack videos beside a good one, and a list that gets every request."""
    folder = tmp_path_factory.mktemp("attacks")
    visits: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        clip(folder / "good.mp4", 2.1)
        secret = folder.parent / "secret.ts"
        ffmpeg("-i", folder / "good.mp4", "-c", "copy", "-f", "mpegts", secret)
        (folder / "hls_file.mp4").write_text(playlist(str(secret)), encoding="utf-8")
        (folder / "hls_url.mp4").write_text(
            playlist(f"http://127.0.0.1:{port}/secret.ts"), encoding="utf-8"
        )
        (folder / "concat.mp4").write_text(
            f"ffconcat version 1.0\nfile '{secret}'\n", encoding="utf-8"
        )
        header_bomb(folder / "header_bomb.mp4", 1 << 30)
        giant(folder / "giant.mov", 16384)
        clip(folder / "claims.mp4", 2.2)
        claim_hours(folder / "claims.mp4", 10)
        clip(folder / "late.mp4", 2.3)
        late_frame(folder / "late.mp4", 10)
        yield folder, visits, listener


def visited(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize("chosen", ENGINES, indirect=True)
def test_attack_videos_end_by_name_and_touch_nothing_else(attacks, tmp_path, chosen):
    folder, _, listener = attacks
    report = built(options(folder, tmp_path), chosen)
    assert ends(report) == {
        "good.mp4": "ok",
        "hls_file.mp4": "undecodable",
        "hls_url.mp4": "undecodable",
        "concat.mp4": "undecodable",
        "header_bomb.mp4": "undecodable",
        "giant.mov": "undecodable",
        "claims.mp4": "ok",  # the frames count, not the claim: 2.2 s give one window
        "late.mp4": "too_long",
    }
    assert not visited(listener)
    assert report.segments == {"train": 2}
    words = {row["path"]: row["message"] for row in report.rows}
    assert "header is compressed" in words["header_bomb.mp4"]
    assert "pixels" in words["giant.mov"]
    list(verify(tmp_path))


def test_the_playlists_are_real_attacks(attacks):
    """A reader without our limits reads the other file and opens the socket."""
    folder, _, listener = attacks
    for name in ("hls_file", "concat"):
        bait = folder.parent / f"{name}.{'m3u8' if name == 'hls_file' else 'ffconcat'}"
        bait.write_bytes((folder / f"{name}.mp4").read_bytes())
        free = {"safe": "0"} if name == "concat" else {}
        with av.open(str(bait), options={"protocol_whitelist": "file,crypto,data", **free}) as file:
            assert file.streams.video[0].width == 96
    bait = folder.parent / "url.m3u8"
    bait.write_bytes((folder / "hls_url.mp4").read_bytes())
    with pytest.raises(av.error.FFmpegError):
        av.open(str(bait), options={"protocol_whitelist": "file,http,tcp"}, timeout=1)
    assert visited(listener)


def peak_mb(script: str, *arguments: object) -> float:
    """Run Python code in a process of its own and return its largest resident memory in MB."""
    tail = "\nimport re; print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    command = [sys.executable, "-c", script + tail, *map(str, arguments)]
    run = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stderr
    return float(run.stdout.splitlines()[-1]) / 1024


def test_a_header_bomb_and_a_giant_cost_no_memory(attacks):
    folder, _, _ = attacks
    script = """
import sys
from pathlib import Path
from pipeline.media.reader import MediaError, probe
for name in sys.argv[1:]:
    try:
        probe(Path(name))
    except MediaError as error:
        assert error.code == CODE, error
    else:
        assert CODE == "", name
""".strip()
    plain = peak_mb(script.replace("CODE", "''"), folder / "good.mp4")
    bombs = peak_mb(
        script.replace("CODE", "'undecodable'"), folder / "header_bomb.mp4", folder / "giant.mov"
    )
    # The bomb is real: a demuxer left to itself gives it all that it asks for.
    naked = peak_mb(f"import av; av.open({str(folder / 'header_bomb.mp4')!r})")
    assert bombs < plain + 50
    assert naked > 1000, (plain, bombs, naked)


def test_a_bomb_of_pictures_ends_at_its_time_limit(tmp_path):
    """Frames as large as the limit allows, a thousandth of that on disk: time ends it."""
    sound, bomb = tmp_path / "sound.wav", tmp_path / "bomb.mkv"
    sound.write_bytes(wav_bytes(np.zeros(48510, np.int16)))
    ffmpeg(
        *["-f", "rawvideo", "-pix_fmt", "monob", "-s", "8192x4320", "-r", "10"],
        *["-i", "/dev/zero", "-i", sound, "-frames:v", "22", "-c:v", "png", "-c:a", "copy", bomb],
    )
    assert bomb.stat().st_size < 22 * 8192 * 4320 / 1000
    request = FrameRequest([Fraction(k, 10) for k in range(21)], 256, 224)
    outcome = attempt("frames", lambda: read_frames(bomb, {"all": request}), 0.3)
    assert isinstance(outcome, Outcome)
    assert (outcome.code, outcome.retryable) == ("timeout", True)
    assert "longer than 0.3 s" in outcome.message
    one = FrameRequest([Fraction(0)], 256, 224)
    (frames,) = read_frames(bomb, {"one": one}).values()
    assert frames.shape == (1, 224, 224, 3)


# --- annotations, weights, checkpoints -----------------------------------------------------------


def test_annotations_that_run_code_or_unpack_without_end_fail_by_name(tmp_path):
    source, motions = tmp_path / "in" / "videos", tmp_path / "in" / "motions"
    good = motion_file(motions / "good.pkl", 132)
    attacks = {
        "code": good | {"smpl_loss": Touch(tmp_path / "owned")},
        "lists": good | {"smpl_poses": nested(9)},
        "vast": good | {"smpl_poses": Vast()},
        "objects": good | {"smpl_poses": np.array([None] * 72, object)},
    }
    for name in ("good", *attacks):
        clip(source / f"{name}.mp4", 2.1)
    for name, content in attacks.items():
        (motions / f"{name}.pkl").write_bytes(pickle.dumps(content))
    (motions / "deep.pkl").write_bytes(b"(" * 100_000 + b".")
    clip(source / "deep.mp4", 2.1)
    report = build(options(source, tmp_path / "out", motion="smpl"))
    assert ends(report) == {f"{name}.mp4": "bad_motion" for name in (*attacks, "deep")} | {
        "good.mp4": "ok"
    }
    assert not (tmp_path / "owned").exists()
    assert "posix.mkdir" in {row["path"]: row["message"] for row in report.rows}["code.mp4"]


def test_keypoints_nested_without_end_fail_by_name(tmp_path):
    for name, text in {
        "deep": "[" * 200_000,
        "numbers": '{"people": [{"pose_keypoints_2d": [' + "1e999," * 74 + "1]}]}",
        "type": '{"people": {"pose_keypoints_2d": 3}}',
    }.items():
        clip(tmp_path / "in" / f"{name}.mp4", 2.1)
        folder = tmp_path / "in" / "openpose" / name
        folder.mkdir(parents=True)
        for frame in range(63):
            (folder / f"{name}_{frame:012d}_keypoints.json").write_text(text, encoding="utf-8")
    report = build(options(tmp_path / "in", tmp_path / "out", motion="openpose"))
    assert set(ends(report).values()) == {"bad_motion"}


WEIGHTS = ["codec", "pose-weights", "detector", "smpl-model"]


@pytest.mark.parametrize("what", [pytest.param("weights", marks=pytest.mark.slow), *WEIGHTS])
def test_weights_that_run_code_are_refused(tmp_path, what, capsys):
    if what in ("pose-weights", "detector"):
        pytest.importorskip("mmpose")
    evil = tmp_path / ("evil.pkl" if what == "smpl-model" else "evil.pth")
    state = {"model": Touch(tmp_path / "owned"), "state_dict": Touch(tmp_path / "owned")}
    if what == "smpl-model":
        evil.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, evil)
    clip(tmp_path / "in" / "a.mp4", 2.1)
    motion = {"pose-weights": "mmpose", "detector": "mmpose", "smpl-model": "smpl-joints"}
    more = ["--motion", motion.get(what, "none")]
    more += ["--visual", "i3d_r50" if what == "weights" else "none"]
    more += ["--pose-weights", "untrained"] if what == "detector" else []
    command = ["build", "--dataset", "folder", "--source", tmp_path / "in", "--engine", "local"]
    assert run(*command, "--out", tmp_path / "out", *more, f"--{what}", evil) == 1
    assert "evil" in capsys.readouterr().err
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("command", ["info", "generate"])
def test_a_checkpoint_that_runs_code_is_refused(tmp_path, command, capsys):
    torch.save({"format": 2, "config": Touch(tmp_path / "owned")}, tmp_path / "last.pt")
    more = {"info": [], "generate": ["--video", "x.mp4", "--out", str(tmp_path / "music")]}[command]
    with pytest.raises(SystemExit) as end:
        model_main([command, "--run", str(tmp_path), "--checkpoint", "last", *more])
    assert end.value.code == 1
    assert "last.pt: cannot be read as a checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "owned").exists()


# --- tars ----------------------------------------------------------------------------------------


def claiming(name: str, size_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    return info.tobuf(tarfile.GNU_FORMAT) + b"RIFF" + bytes(508)


def sparse(name: str, size_bytes: int) -> bytes:
    """Return an old GNU sparse member: 512 bytes in the tar, `size_bytes` of zeros when read."""
    info = tarfile.TarInfo(name)
    info.size, info.type = 512, tarfile.GNUTYPE_SPARSE
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[386:398], head[398:410] = b"%011o\0" % 0, b"%011o\0" % 512
    head[483:495] = b"%011o\0" % size_bytes
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + bytes(512)


TARS = {
    "dot-dot": member("../evil_seg0001.wav"),
    "absolute": member("/tmp/evil_seg0001.wav"),
    "folder": member("a/evil_seg0001.wav"),
    "symlink": member("evil_seg0001.wav", kind=tarfile.SYMTYPE),
    "hardlink": member("evil_seg0001.wav", kind=tarfile.LNKTYPE),
    "device": member("evil_seg0001.wav", kind=tarfile.CHRTYPE),
    "member twice": member("evil_seg0001.wav") * 2,
    "claims 1 GB": claiming("evil_seg0001.wav", 1 << 30),
    "sparse 4 GB": sparse("evil_seg0001.wav", 4 << 30),
}


@pytest.mark.parametrize("attack", TARS)
def test_a_hostile_tar_is_refused_by_verify_and_trainer(tmp_path, attack):
    path = tmp_path / "train-000000.tar"
    path.write_bytes(TARS[attack] + bytes(1024))
    before = sorted(tmp_path.rglob("*"))
    resource_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    with pytest.raises(ValueError, match=r"train-000000\.tar.*"):
        list(read_shard(path))
    with pytest.raises(ValueError, match=r"train-000000\.tar.*|evil_seg0001"):
        list(read_tar(path))
    assert sorted(tmp_path.rglob("*")) == before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 < resource_mb + 200


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "train-000000.tar"
    keys = ("a_seg0001", "b_seg0001", "a_seg0001")
    path.write_bytes(b"".join(member(f"{key}.wav") for key in keys) + bytes(1024))
    with pytest.raises(ValueError, match="key a_seg0001 stands twice"):
        list(read_shard(path))


def test_a_dataset_that_names_a_shard_elsewhere_is_refused(tmp_path):
    clip(tmp_path / "in" / "a.mp4", 2.1)
    build(options(tmp_path / "in", tmp_path / "out"))
    path = tmp_path / "out" / "dataset.json"
    for name in ("../train-000000.tar", "/etc/x.tar", "train-000000.tar/../../x.tar"):
        raw = json.loads(path.read_text(encoding="utf-8"))
        raw["splits"]["train"][0]["name"] = name
        path.write_text(json.dumps(raw), encoding="utf-8")
        with pytest.raises(ValueError, match=r"a shard is a \.tar in its own folder"):
            load_dataset(tmp_path / "out")


# --- names and paths -----------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["../secret.mp4", "{absolute}", "a/../../secret.mp4"])
def test_a_row_outside_its_root_is_never_opened(tmp_path, where):
    clip(tmp_path / "in" / "a.mp4", 2.1)
    (tmp_path / "in" / "a").mkdir()
    secret = clip(tmp_path / "secret.mp4", 2.2)
    path = where.format(absolute=secret)
    assert (tmp_path / "in" / path).is_file()
    rows = [Row("a", "a.mp4"), Row("b", path), Row("c", "a.mp4", motion="../secret.mp4")]
    manifest.save(tmp_path / "rows.parquet", rows)
    rows, _ = manifest.load(tmp_path / "rows.parquet")
    rows = manifest.hash_inputs(tmp_path / "in", tmp_path / "in", rows)
    assert [row.known_code for row in rows] == ["", "outside_root", "outside_root"]
    assert [bool(row.sha256) for row in rows] == [True, False, False]
    settings = Settings(tmp_path / "in", tmp_path / "in", tmp_path / "work")
    outcomes = pipeline.features.run.extract(settings, rows, LocalEngine(), 1.0)
    assert [o.code for o in outcomes.values()] == ["", "outside_root", "outside_root"]
    assert "leaves the source folder" in outcomes["b"].message


@pytest.mark.parametrize("chosen", ENGINES, indirect=True)
def test_hard_names_come_through(tmp_path, chosen):
    source = tmp_path / "in put"
    first = clip(source / "plain.mp4", 2.1).read_bytes()
    for k, name in enumerate(NAMES):
        (source / f"{name}.mp4").write_bytes(first + box(b"free", bytes(k + 1)))
    report = built(options(source, tmp_path / "out 'put'"), chosen)
    assert set(ends(report).values()) == {"ok"} and len(report.rows) == len(NAMES) + 1
    found = dict(read_shard(tmp_path / "out 'put'" / "train-000000.tar"))
    assert {json.loads(m["json"])["source"] for m in found.values()} == {
        f"{name}.mp4" for name in ("plain", *NAMES)
    }
    assert not list(tmp_path.rglob("x"))
    assert all(line.isprintable() for line in report.table().splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_hard_names_are_muxed_and_written(tmp_path, name, monkeypatch):
    video = clip(tmp_path / f"{name}.mp4", 2.1)
    sound = tmp_path / f"{name}.wav"
    sound.write_bytes(wav_bytes((clicks(44100, [99]) * 32767).astype(np.int16)))
    mux(video, sound, 0, tmp_path / f"out {name}.mp4")
    monkeypatch.chdir(tmp_path)  # a leading dash is most harmful in a relative name
    mux(Path(f"{name}.mp4"), Path(f"{name}.wav"), 0, Path(f"{name} again.mp4"))
    one, two = (tmp_path / f"out {name}.mp4", tmp_path / f"{name} again.mp4")
    assert one.read_bytes() == two.read_bytes() and one.stat().st_size > 1000


def test_the_attacks_do_not_outlive_a_second_run(attacks, tmp_path):
    """What failed for good is known by its content: the second run opens none of it."""
    folder, _, _ = attacks
    wanted = options(folder, tmp_path)
    first, files = build(wanted), shards(tmp_path)
    again = build(replace(wanted, item_limit_s=0.001))
    assert again.rows == first.rows and shards(tmp_path) == files


def test_a_member_of_a_tar_is_read_as_it_was_written(tmp_path):
    """The guards above let plain tars through."""
    path = tmp_path / "train-000000.tar"
    path.write_bytes(member("a_seg0001.wav", b"x" * 700) + bytes(1024))
    assert dict(read_shard(path)) == {"a_seg0001": {"wav": b"x" * 700}}
    assert [raw["wav"] for raw in read_tar(path)] == [b"x" * 700]
    assert io.BytesIO(b"x" * 700).read() == next(iter(dict(read_shard(path)).values()))["wav"]
