"""A playlist named like a video opens no socket and no other file."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest
import soundfile
from clips import HEIGHT, WIDTH, clicks, ffmpeg, frames

from pipeline.media.ffmpeg import FfmpegError, encode, mux
from pipeline.media.reader import FrameRequest, MediaError, probe, read_audio, read_frames


@pytest.fixture
def server() -> Iterator[tuple[int, Callable[[], bool]]]:
    """Listen on this machine; give the port, and a question: did anyone connect?"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def visited() -> bool:
            try:
                listener.accept()[0].close()
            except TimeoutError:
                return False
            return True

        yield listener.getsockname()[1], visited


@pytest.mark.parametrize("name", ["attack.mp4", "attack.m3u8", "attack"])
def test_a_playlist_opens_no_socket(
    tmp_path: Path, server: tuple[int, Callable[[], bool]], name: str
) -> None:
    port, visited = server
    path, wav = tmp_path / name, tmp_path / "music.wav"
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXTINF:2.0,"]
    text = "\n".join([*lines, f"http://127.0.0.1:{port}/secret.ts", "#EXT-X-ENDLIST", ""])
    path.write_text(text, encoding="utf-8")
    soundfile.write(wav, clicks(22050, [9]), 22050)
    for read in (probe, read_audio, lambda p: read_frames(p, {"a": FrameRequest([Fraction(0)])})):
        with pytest.raises(MediaError) as caught:
            read(path)
        assert caught.value.code == "undecodable"
    with pytest.raises(FfmpegError):
        mux(path, wav, 0, tmp_path / "out.mp4")
    assert not visited()
    # The attack is a real one: a reader without these limits does connect.
    bait = tmp_path / "bait.m3u8"
    bait.write_text(text, encoding="utf-8")
    with pytest.raises(av.error.FFmpegError):
        av.open(str(bait), options={"protocol_whitelist": "file,http,tcp"}, timeout=1)
    assert visited()


@pytest.mark.parametrize("kind", ["concat", "hls"])
def test_a_playlist_reads_no_other_file(tmp_path: Path, kind: str) -> None:
    secret, wav = tmp_path / "secret.mp4", tmp_path / "music.wav"
    encode(frames(30), 30, (WIDTH, HEIGHT), clicks(44100, [9]), 44100, secret)
    soundfile.write(wav, clicks(22050, [9]), 22050)
    if kind == "concat":
        path, text = tmp_path / "attack.mp4", "ffconcat version 1.0\nfile secret.mp4\n"
    else:
        ffmpeg("-i", secret, "-c", "copy", "-f", "mpegts", tmp_path / "secret.ts")
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXTINF:1.0,", "secret.ts"]
        path, text = tmp_path / "attack.m3u8", "\n".join([*lines, "#EXT-X-ENDLIST", ""])
    path.write_text(text, encoding="utf-8")
    # The attack is a real one: a reader without these limits opens the other file.
    with av.open(str(path)) as container:
        assert container.streams.video[0].width == WIDTH
    for read in (probe, read_audio, lambda p: read_frames(p, {"a": FrameRequest([Fraction(0)])})):
        with pytest.raises(MediaError) as caught:
            read(path)
        assert caught.value.code == "undecodable"
    with pytest.raises(FfmpegError):
        mux(path, wav, 0, tmp_path / "out.mp4")
