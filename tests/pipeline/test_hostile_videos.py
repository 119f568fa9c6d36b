"""Videos made to harm: every one ends in the report, the good ones beside it come through."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from builds import ENGINES, built, clip, ends, options, shards
from clips import ffmpeg
from hostile_parts import box
from places import ROOT

from model.contract.wav import wav_bytes
from pipeline.build import build
from pipeline.engine.outcome import Outcome, attempt
from pipeline.media.reader import FrameRequest, read_frames
from pipeline.output.verify import verify


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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
def test_the_attacks_do_not_outlive_a_second_run(attacks, tmp_path):
    """What failed for good is known by its content: the second run opens none of it."""
    folder, _, _ = attacks
    wanted = options(folder, tmp_path)
    first, files = build(wanted), shards(tmp_path)
    again = build(replace(wanted, item_limit_s=0.001))
    assert again.rows == first.rows and shards(tmp_path) == files
