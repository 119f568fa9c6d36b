"""Writing mp4: the same bytes twice, nothing half-written, a picture copied as it is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from clips import HEIGHT, WIDTH, clicks, ffmpeg, frames, peaks, write

from pipeline.cli import main
from pipeline.media.ffmpeg import FfmpegError, encode, mux
from pipeline.media.reader import probe, read_audio

SIZE = (WIDTH, HEIGHT)


def packets(path: Path) -> list[tuple[Fraction, Fraction, bytes]]:
    with av.open(str(path)) as container:
        return [
            (packet.pts * packet.time_base, packet.dts * packet.time_base, bytes(packet))
            for packet in container.demux(video=0)
            if packet.size
        ]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, (22050, 2)).astype(np.float32)
    for name in ("a.mp4", "b.mp4"):
        encode(frames(30), 30, SIZE, sound, 22050, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "b.mp4"}


@pytest.mark.parametrize(("seconds", "count"), [(1, 45), (2, 30)])
def test_neither_stream_is_cut_to_the_other(tmp_path: Path, seconds: int, count: int) -> None:
    path = tmp_path / "clip.mp4"
    encode(frames(count), 30, SIZE, np.zeros(seconds * 44100, np.float32), 44100, path)
    found, sound = probe(path), read_audio(path)
    assert (found.frames, found.video_start_s, found.video_stop_s) == (
        count,
        0,
        Fraction(count, 30),
    )
    assert (sound.start_s, len(sound.samples)) == (0, seconds * 22050)


def test_a_clip_without_sound_has_no_sound_stream(tmp_path: Path) -> None:
    encode(frames(5), Fraction(30000, 1001), SIZE, None, 44100, tmp_path / "silent.mp4")
    found = probe(tmp_path / "silent.mp4")
    assert (found.frames, found.fps, found.audio_start_s) == (5, Fraction(30000, 1001), None)


def test_wrong_input_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    with pytest.raises(ValueError, match="even sizes"):
        encode(frames(5), 30, (95, 64), None, 44100, out)
    with pytest.raises(ValueError, match="frame 3 is uint8"):
        encode([*frames(3), np.zeros((8, 8, 3), np.uint8)], 30, SIZE, None, 44100, out)
    with pytest.raises(ValueError, match="no frames"):
        encode([], 30, SIZE, None, 44100, out)
    with pytest.raises(ValueError, match="expected float32"):
        encode(frames(5), 30, SIZE, np.zeros(100), 44100, out)
    with pytest.raises(FfmpegError, match="nonesuch"):
        encode(frames(5), 30, SIZE, None, 44100, out, preset="nonesuch")
    assert not list(tmp_path.iterdir())


def test_a_failed_encode_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    encode(frames(5), 30, SIZE, None, 44100, out)
    before = out.read_bytes()
    with pytest.raises(FfmpegError):
        encode(frames(5), 30, SIZE, None, 44100, out, preset="nonesuch")
    assert out.read_bytes() == before


@pytest.mark.parametrize("picture_late_s", [0.0, 0.0454])
@pytest.mark.parametrize("start_s", [Fraction(0), Fraction(1, 2), Fraction(123456, 100000)])
def test_mux_copies_the_picture_and_places_the_sound(
    tmp_path: Path, start_s: Fraction, picture_late_s: float
) -> None:
    video, wav, out = tmp_path / "in.mp4", tmp_path / "music.wav", tmp_path / "out.mp4"
    source = clicks(44100, [100])
    coding = ("-bf", "2", "-preset", "medium", "-c:a", "aac")
    late = {"picture_late_s": picture_late_s, "sound_late_s": 2 * picture_late_s}
    write(video, Fraction(30), 60, source, 44100, *coding, **late)
    at = [2000, 20000, 50000]
    soundfile.write(wav, clicks(66150, at), 22050, subtype="FLOAT")

    mux(video, wav, start_s, out)

    before = packets(video)
    assert any(pts != dts for pts, dts, _ in before), "the clip should have B-frames"
    assert packets(out) == before
    sound = read_audio(out)
    # AAC keeps the time of a click to the sample; the start is rounded to a microsecond.
    expected = [(start_s - sound.start_s) * 22050 + k for k in at]
    for got, wanted in zip(peaks(sound.samples, 3), expected, strict=True):
        assert abs(got - wanted) <= 1
    # The run-in of AAC, 1024 samples, is before the start; a stream that starts at 0 drops it.
    assert sound.start_s - start_s == pytest.approx(-1024 / 22050 if start_s else 0, abs=1 / 22050)
    assert abs((sound.stop_s - start_s) * 22050 - 66150) <= 1
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


def test_mux_keeps_a_phone_clip_upright(tmp_path: Path) -> None:
    video, turned, wav = tmp_path / "in.mp4", tmp_path / "turned.mp4", tmp_path / "music.wav"
    encode(frames(10), 30, SIZE, None, 44100, video)
    ffmpeg("-display_rotation", "90", "-i", video, "-c", "copy", turned)
    soundfile.write(wav, clicks(22050, [500]), 22050)
    mux(turned, wav, 0, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").rotation_deg == probe(turned).rotation_deg == 270


def test_mux_says_which_codec_it_had_to_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, video, wav = tmp_path / "in.mp4", tmp_path / "in.webm", tmp_path / "music.wav"
    encode(frames(10), 30, SIZE, None, 44100, good)
    ffmpeg(*"-f lavfi -i testsrc=s=96x64:r=30:d=0.2 -c:v libvpx".split(), video)
    soundfile.write(wav, clicks(22050, [500]), 22050)
    for path, words in (
        (good, ""),
        (video, f"note: {video}: the video codec vp8 was converted to H.264"),
    ):
        out = tmp_path / f"{path.stem}{path.suffix}.out.mp4"
        with pytest.raises(SystemExit) as ended:
            main(["mux", "--video", str(path), "--audio", str(wav), "--out", str(out)])
        told = capsys.readouterr().out
        assert ended.value.code == 0 and told.startswith(words) and bool(told) == bool(words)
        assert probe(out).frames == probe(path).frames


@pytest.mark.parametrize("start_s", [-0.1, float("nan"), float("inf")])
def test_mux_refuses_a_start_before_the_clock(tmp_path: Path, start_s: float) -> None:
    with pytest.raises(ValueError, match="expected 0 or later"):
        mux(tmp_path / "a.mp4", tmp_path / "b.wav", start_s, tmp_path / "out.mp4")
