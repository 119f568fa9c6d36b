"""What cannot be read or written says so: files cut short, damaged, empty or too large."""

from __future__ import annotations

import math
import os
import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from clips import (
    FRAGMENTS,
    HEIGHT,
    LOSSLESS,
    WIDTH,
    clicks,
    frames,
    shown,
    write,
)

from pipeline.media.ffmpeg import encode, mux
from pipeline.media.reader import FrameRequest, Limits, MediaError, probe, read_audio, read_frames


def read_all(path: Path) -> None:
    """Read a file to its end by all three readers."""
    probe(path)
    read_audio(path)
    read_frames(path, {"last": FrameRequest([Fraction(10**6)])})


def error_of(path: Path, limits: Limits | None = None) -> MediaError:
    with pytest.raises(MediaError) as caught:
        probe(path, limits) if limits else read_all(path)
    assert str(path) in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("suffix", "coding"),
    [
        ("mp4", ("-c:a", "aac", "-movflags", "+faststart")),
        ("mov", (*LOSSLESS, "-movflags", "+faststart")),
        ("mp4", FRAGMENTS),
        ("mkv", LOSSLESS),
        ("mp4", ("-c:a", "aac")),
    ],
    ids=["faststart", "mov", "fragmented", "mkv", "index-last"],
)
def test_a_file_cut_short_never_reads_as_a_shorter_one(
    tmp_path: Path, suffix: str, coding: tuple[str, ...]
) -> None:
    path = tmp_path / f"clip.{suffix}"
    noise = np.random.default_rng(1).normal(0, 0.1, 88200).astype(np.float32)
    write(path, Fraction(30), 60, noise, 44100, *coding)
    read_all(path)
    whole = path.read_bytes()
    with av.open(str(path)) as container:
        edges = [p.pos for p in container.demux() if p.size and p.pos > len(whole) // 2]
    # A cut at the edge of a packet is the one that demuxers take for the end.
    cuts = [*edges[:: len(edges) // 6], len(whole) - 1, len(whole) - 200, len(whole) // 3]
    for cut_at in cuts:
        path.write_bytes(whole[:cut_at])
        assert error_of(path).code == "undecodable"


def test_a_wav_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, clicks(22050, [9]), 22050)
    assert len(read_audio(path).samples) == 22050
    path.write_bytes(path.read_bytes()[: 44 + 2 * 8192])
    with pytest.raises(MediaError, match="cut short"):
        read_audio(path)


def test_damage_in_the_middle_is_named_with_its_time(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encode(frames(90), 30, (WIDTH, HEIGHT), None, 44100, path, options={"bf": 0})
    with av.open(str(path)) as container:
        position = [packet.pos for packet in container.demux(video=0) if packet.size][45]
    data = bytearray(path.read_bytes())
    data[position + 6] = 1
    path.write_bytes(data)
    # A decoder left to itself drops this frame and says nothing.
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 89
    with pytest.raises(MediaError, match=r"clip\.mp4: the h264 decoder stopped at 1\.500 s"):
        read_frames(path, {"later": FrameRequest([Fraction(2)])})
    # What comes before the damage is still to be had.
    assert shown(path, [Fraction(1)]) == [30]


def test_a_stream_without_its_first_key_frame_is_refused(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.mp4", tmp_path / "headless.mp4"
    options = {"bf": 0, "g": 10, "sc_threshold": 0}
    encode(frames(30), 30, (WIDTH, HEIGHT), None, 44100, whole, options=options)
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(video=0))[5:-1]:
            packet.stream = stream
            target.mux(packet)
    with pytest.raises(MediaError) as caught:
        read_frames(path, {"last": FrameRequest([Fraction(9)])})
    assert caught.value.code == "undecodable"


def test_the_codes_of_unusable_files(tmp_path: Path) -> None:
    clip, silent, sound = (tmp_path / name for name in ("clip.mp4", "silent.mp4", "sound.wav"))
    encode(frames(30), 30, (WIDTH, HEIGHT), clicks(44100, [9]), 44100, clip)
    encode(frames(30), 30, (WIDTH, HEIGHT), None, 44100, silent)
    soundfile.write(sound, clicks(22050, [9]), 22050)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video at all\n" * 100, encoding="utf-8")
    assert error_of(tmp_path / "empty.mp4").code == "empty"
    assert error_of(tmp_path / "text.mp4").code == "undecodable"
    assert error_of(silent).code == "no_audio"
    assert error_of(sound).code == "no_video"
    assert error_of(clip, replace(Limits(), max_pixels=96 * 64 - 1)).code == "too_large"
    assert error_of(clip, replace(Limits(), max_frames=29)).code == "too_long"
    long = tmp_path / "long.mp4"
    encode(frames(4), 1, (WIDTH, HEIGHT), clicks(4 * 44100, [9]), 44100, long)
    assert error_of(long, replace(Limits(), max_duration_s=3)).code == "too_long"
    with pytest.raises(MediaError) as caught:
        read_audio(long, replace(Limits(), max_duration_s=3))
    assert caught.value.code == "too_long"
    assert probe(long, replace(Limits(), max_duration_s=math.inf)).frames == 4
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "nowhere.mp4")
    with pytest.raises(FileNotFoundError):
        probe(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "pipe.mp4")


def test_a_thin_picture_does_not_grow_beyond_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "thin.mp4"
    encode([np.zeros((16, 4096, 3), np.uint8)] * 2, 30, (4096, 16), None, 44100, path)
    with pytest.raises(MediaError, match="become 262144x1024") as caught:
        read_frames(path, {"wide": FrameRequest([Fraction(0)], short_side_px=1024)})
    assert caught.value.code == "too_large"


def test_an_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(MediaError("too_long", "clip.mp4: lasts 9 s")))
    assert (error.code, str(error)) == ("too_long", "clip.mp4: lasts 9 s")


def test_mux_blames_no_codec_for_a_wrong_sound_or_place(tmp_path: Path) -> None:
    video, wav = tmp_path / "in.mp4", tmp_path / "music.wav"
    encode((frame for frame in frames(5)), 30, (WIDTH, HEIGHT), None, 22050, video)
    soundfile.write(wav, clicks(22050, [500]), 22050)
    with pytest.raises(ValueError, match=r"in\.mp4: not a wav file; convert it"):
        mux(video, video, 0, tmp_path / "out.mp4")
    with pytest.raises(OSError, match=r"none/out\.mp4: cannot be written \(No such file"):
        mux(video, wav, 0, tmp_path / "none" / "out.mp4")
    with pytest.raises(OSError, match="is a folder, expected a file name"):
        mux(video, wav, 0, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "music.wav"]
