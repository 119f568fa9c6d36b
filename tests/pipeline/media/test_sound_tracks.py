"""Which sound of a video becomes its segments: of several tracks, of a muted one, of none."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from builds import clip, ends, options, run
from clips import clicks, ffmpeg, write

from model.contract.dataset import load_dataset
from model.contract.segment import WAV
from model.contract.shards import read_shard
from model.contract.wav import read_wav
from model.generation.video_features import build_features
from pipeline.build import build
from pipeline.curate.run import CurateOptions, curate
from pipeline.features.codes import extract_codes
from pipeline.media.reader import MediaError, probe, read_audio
from pipeline.output.verify import verify
from pipeline.report.report import Report

RATE_HZ = 22050


def tone(path: Path, hz: float, seconds: float = 4.2, since_s: float = 0.0) -> Path:
    """Write a tone that begins at `since_s`, silence before it."""
    at_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    soundfile.write(path, (0.5 * np.sin(2 * np.pi * hz * at_s) * (at_s >= since_s)), RATE_HZ)
    return path


def with_tracks(path: Path, sounds: list[Path], default: int | None) -> Path:
    """Write a video with these sound tracks, of which the `default`-th, from 0 on, is marked so."""
    picture = clip(path.with_name(f"picture-{path.name}"))
    inputs = [part for sound in sounds for part in ("-i", sound)]
    maps = [part for k in range(len(sounds)) for part in ("-map", f"{k + 1}:a")]
    marks = [p for k in range(len(sounds))
             for p in (f"-disposition:a:{k}", "default" if k == default else "0")]  # fmt: skip
    codec = ("-c:a", "pcm_s16le" if path.suffix == ".mkv" else "aac")
    ffmpeg("-i", picture, *inputs, "-map", "0:v", *maps, "-c:v", "copy", *codec, *marks, path)
    picture.unlink()
    return path


def loudest_hz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE_HZ / len(samples))


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_the_default_track_is_read_and_another_where_asked(tmp_path: Path, suffix: str) -> None:
    sounds = [tone(tmp_path / f"{hz}.wav", hz) for hz in (300, 700, 1100)]
    path = with_tracks(tmp_path / f"three.{suffix}", sounds, default=1)
    heard = {k: loudest_hz(read_audio(path, audio_track=k).samples) for k in range(4)}
    assert [round(heard[k], -2) for k in range(4)] == [700, 300, 700, 1100]
    assert probe(path).audio_tracks == 3
    for read in (read_audio, probe):
        with pytest.raises(MediaError, match="3 sound tracks, expected track 4") as caught:
            read(path, audio_track=4)
        assert caught.value.code == "no_audio"
    none_marked = with_tracks(tmp_path / f"unmarked.{suffix}", sounds, default=None)
    assert round(loudest_hz(read_audio(none_marked).samples), -2) == 300


def test_a_build_says_that_there_are_several_tracks_and_takes_the_one_asked_for(
    tmp_path: Path, capsys
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    sounds = [tone(tmp_path / f"{hz}.wav", hz) for hz in (300, 700)]
    with_tracks(source / "two.mkv", sounds, default=1)
    clip(source / "one.mp4")
    report = build(options(source, tmp_path / "out"))
    assert report.as_dict()["several_audio_tracks"] == 1
    assert "several sound tracks" in report.table() and "--audio-track N" in report.table()
    assert "several sound tracks" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert _pitches(tmp_path / "out", "two") == [700, 700]
    (source / "one.mp4").unlink()
    build(options(source, tmp_path / "out", audio_track=1))
    assert _pitches(tmp_path / "out", "two") == [300, 300]
    assert "--audio-track was not set, is 1" in capsys.readouterr().out
    report = build(options(source, tmp_path / "out", audio_track=3))
    assert ends(report) == {"two.mkv": "no_audio"}
    curation = curate(CurateOptions("tiktok", tmp_path / "table", source, engine="local"))
    assert "several sound tracks" in curation.table()


def _pitches(out: Path, video_id: str) -> list[int]:
    (tar,) = out.glob("train-*.tar")
    return [
        round(loudest_hz(read_wav(members[WAV])), -2)
        for key, members in read_shard(tar)
        if key.startswith(video_id)
    ]


@pytest.fixture
def muted(tmp_path: Path) -> Path:
    """A muted video, one whose first 2 s are silent, and one with sound throughout."""
    source = tmp_path / "in"
    source.mkdir()
    sounds = {"muted": tone(tmp_path / "0.wav", 0), "late": tone(tmp_path / "1.wav", 500, 4.2, 2.1)}
    for name, sound in sounds.items():
        with_tracks(source / f"{name}.mp4", [sound], default=0)
    clip(source / "whole.mp4")
    return source


def test_silent_segments_are_counted_and_left_out_where_asked(muted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = build(options(muted, out))
    assert set(ends(report).values()) == {"ok"} and load_dataset(out).segments("train") == 6
    assert report.as_dict()["silent"] == {"segments": 3, "inputs": 2, "left_out": False}
    assert "silent segments" in report.table() and "--drop-silent" in report.table()
    silent = {row["path"]: list(row["silent_segments"]) for row in report.rows}
    assert silent == {"muted.mp4": [1, 2], "late.mp4": [1], "whole.mp4": []}

    report = build(options(muted, out, drop_silent=True))
    assert ends(report) == {"muted.mp4": "silent", "late.mp4": "ok", "whole.mp4": "ok"}
    assert report.counts == {"filtered": 1, "ok": 2}
    assert report.as_dict()["silent"] == {"segments": 3, "inputs": 2, "left_out": True}
    keys = [key for tar in out.glob("*.tar") for key, _ in read_shard(tar)]
    assert [key.rpartition("_")[2] for key in keys] == ["seg0002", "seg0001", "seg0002"]
    assert Report.load(out).table() == report.table()
    assert list(verify(out))
    assert load_dataset(out).build["drop_silent"] is True

    fresh = tmp_path / "fresh"
    build(options(muted, fresh, drop_silent=True))
    assert [p.read_bytes() for p in fresh.glob("*.tar")] == [
        p.read_bytes() for p in out.glob("*.tar")
    ]


@pytest.mark.long
def test_music_for_a_video_is_as_long_as_its_picture_whatever_its_sound(tmp_path: Path) -> None:
    whole, silent, early = (tmp_path / f"{name}.mp4" for name in ("whole", "silent", "early"))
    write(whole, Fraction(30), 126, clicks(round(4.2 * RATE_HZ), [900]), RATE_HZ, "-c:a", "aac")
    ffmpeg("-i", whole, "-c", "copy", "-an", silent)
    write(early, Fraction(30), 126, clicks(round(2.2 * RATE_HZ), [900]), RATE_HZ, "-c:a", "aac")
    late = tmp_path / "late.mkv"
    sound = clicks(round(4.2 * RATE_HZ), [900])
    write(late, Fraction(30), 126, sound, RATE_HZ, "-c:a", "flac", sound_late_s=1.0)
    far = tmp_path / "far.mkv"  # whose last sound is hours behind its picture
    with av.open(str(late)) as source, av.open(str(far), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio" and packet.pts * packet.time_base > 3:
                packet.pts = packet.dts = packet.pts + int(20_000 / packet.time_base)
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    with pytest.raises(MediaError):
        probe(far)
    wanted = {"motion": "none", "visual": "none", "window_s": "2"}
    for path in (whole, silent, early, late, far):
        out = tmp_path / path.stem
        build_features(path, wanted, out)
        (tar,) = out.glob("train-*.tar")
        segments = list(read_shard(tar))
        assert [json.loads(members["json"])["start_s"] for _, members in segments] == [0.0, 2.0]
        assert all(WAV not in members for _, members in segments)
        assert list(verify(out))
        assert not (out / "report.html").exists()  # nobody would look at it, unless asked for
        assert run("report", "--shards", out, "--html") == 0
        assert "cannot be read" not in (out / "report.html").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="--no-sound"):
        extract_codes(tmp_path / "whole", "demo")


def test_no_sound_goes_with_no_option_that_needs_it(tmp_path: Path, capsys) -> None:
    for more in (["--codec", "demo"], ["--audio-track", "2"], ["--drop-silent"]):
        arguments = ["build", "--dataset", "folder", "--source", tmp_path, "--no-sound", *more]
        assert run(*arguments) == 2
        assert f"--no-sound reads no sound, which {more[0]} needs" in capsys.readouterr().err
    assert run("build", "--dataset", "folder", "--source", tmp_path, "--audio-track", "0") == 2
