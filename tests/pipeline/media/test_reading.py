"""One clock: clicks and flashes lie where they were put, whatever the file is made of."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import (
    FRAGMENTS,
    HEIGHT,
    LOSSLESS,
    WIDTH,
    clicks,
    ffmpeg,
    frames,
    numbered,
    peaks,
    shown,
    write,
)

from pipeline.media.ffmpeg import encode
from pipeline.media.reader import FrameRequest, probe, read_audio, read_frames
from pipeline.media.windows import cut, cut_audio

RATES_FPS = [Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60000, 1001), Fraction(60)]
B_FRAMES = ("-bf", "3", "-preset", "medium", "-g", "40", "-c:a", "aac", "-b:a", "192k")


def check_clock(path: Path, fps: Fraction, at_s: list[Fraction], late_s: Fraction) -> None:
    """Cut `path` (frames numbered from `late_s` on, clicks `at_s`) and compare with the truth."""
    found, sound = probe(path), read_audio(path)
    windows, _ = cut(
        (found.video_start_s, found.video_stop_s), (sound.start_s, sound.stop_s), Fraction(2)
    )
    assert len(windows) == 2
    for window in windows:
        truth = [t for t in at_s if window.start_s <= t < window.stop_s]
        assert len(truth) == 3
        samples = cut_audio(sound, window)
        for got, t in zip(peaks(samples, 3), truth, strict=True):
            assert abs(got - (t - window.start_s) * 22050) <= 1
        times_s = [window.start_s + Fraction(k, 30) for k in range(60)]
        for t, index in zip(times_s, shown(path, times_s), strict=True):
            assert abs(late_s + index / fps - t) <= 1 / (2 * fps)


@pytest.mark.parametrize("fps", RATES_FPS, ids=lambda fps: f"{float(fps):.2f}")
@pytest.mark.parametrize(
    ("suffix", "coding", "rate_hz"),
    [
        ("mp4", None, 44100),
        ("mp4", B_FRAMES, 48000),
        ("mov", LOSSLESS, 44100),
        ("mkv", LOSSLESS, 22050),
        ("mp4", FRAGMENTS, 44100),
    ],
    ids=["encode", "b-frames", "pcm-mov", "pcm-mkv", "fragments"],
)
def test_clicks_and_flashes_lie_where_they_were_put(
    tmp_path: Path, suffix: str, coding: tuple[str, ...] | None, rate_hz: int, fps: Fraction
) -> None:
    path, count = tmp_path / f"clip.{suffix}", round(Fraction(41, 10) * fps)
    at = [round(s * rate_hz) for s in (0.1, 0.77, 1.9, 2.05, 3.003, 3.9)]
    sound = clicks(round(4.1 * rate_hz), at)
    if coding is None:
        encode(frames(count), fps, (WIDTH, HEIGHT), sound, rate_hz, path)
    else:
        write(path, fps, count, np.stack([sound, sound], axis=1), rate_hz, *coding)
    check_clock(path, fps, [Fraction(k, rate_hz) for k in at], Fraction(0))
    found = probe(path)
    assert (found.width, found.height, found.frames) == (WIDTH, HEIGHT, count)
    # Matroska rounds timestamps to 1 ms.
    assert found.fps == fps if suffix != "mkv" else abs(found.fps - fps) < Fraction(1, 100)


@pytest.mark.parametrize("coding", [LOSSLESS, B_FRAMES], ids=["pcm", "aac"])
@pytest.mark.parametrize(("picture_late_s", "sound_late_s"), [(0.0454, 0), (0, 0.31), (0.2, 0.05)])
def test_streams_that_start_late_keep_their_place(
    tmp_path: Path, coding: tuple[str, ...], picture_late_s: float, sound_late_s: float
) -> None:
    path, fps = tmp_path / "clip.mov", Fraction(30)
    at = [round(s * 44100) for s in (0.25, 0.77, 1.8, 2.35, 3.003, 3.7)]
    write(
        path, fps, 150, clicks(5 * 44100, at), 44100, *coding,
        picture_late_s=picture_late_s, sound_late_s=sound_late_s,
    )  # fmt: skip
    late_s = probe(path).video_start_s
    assert late_s == Fraction(str(picture_late_s))
    check_clock(path, fps, [Fraction(k, 44100) + Fraction(str(sound_late_s)) for k in at], late_s)


@pytest.mark.parametrize(
    ("codec", "suffix", "rate_hz", "channels"),
    [
        ("pcm_u8", "mov", 22050, 1),
        ("pcm_s16le", "mov", 44100, 1),
        ("pcm_s32le", "mkv", 96000, 6),
        ("pcm_f32le", "mov", 48000, 2),
        ("pcm_f64le", "mov", 96000, 2),
        ("alac", "mov", 44100, 2),
        ("aac", "mp4", 48000, 6),
        ("aac", "mp4", 96000, 2),
        ("libopus", "mkv", 48000, 2),
    ],
)
def test_any_sample_format_rate_and_layout_becomes_the_mean_at_22050_hz(
    tmp_path: Path, codec: str, suffix: str, rate_hz: int, channels: int
) -> None:
    path = tmp_path / f"clip.{suffix}"
    # A different level in each channel tells the mean from any other mix.
    levels = np.linspace(0.2, 0.8, channels, dtype=np.float32)
    time_s = np.arange(3 * rate_hz) / rate_hz
    tone = np.sin(2 * np.pi * 220 * time_s)
    write(path, Fraction(30), 10, tone[:, None] * levels, rate_hz, "-c:a", codec, "-b:a", "512k")
    sound = read_audio(path)
    assert sound.samples.dtype == np.float32 and sound.samples.ndim == 1
    k = np.arange(4000, 60000)
    expected = levels.mean() * np.sin(2 * np.pi * 220 * (float(sound.start_s) + k / 22050))
    error = np.sqrt(np.mean((sound.samples[k] - expected) ** 2))
    assert error < (0.03 if codec in ("aac", "libopus") else 0.005)
    assert abs(len(sound.samples) - 3 * 22050) <= (0 if codec not in ("aac", "libopus") else 1)
    found = probe(path)
    assert (found.channels, found.sample_rate_hz) == (channels, rate_hz)
    # Within Matroska's 1 ms, the packets tell the start that decoding finds.
    assert abs(found.audio_start_s - sound.start_s) <= Fraction(1, 1000)


def test_sound_above_full_scale_is_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "loud.mov"
    loud = np.full((44100, 2), 1.5, np.float32)
    write(path, Fraction(30), 10, loud, 44100, "-c:a", "pcm_f32le")
    assert read_audio(path).samples[5000:15000].mean() == pytest.approx(1.5, abs=1e-3)


def write_blocks(path: Path, starts: list[int], value: Callable[[int], float]) -> None:
    """Write 0.5 s blocks of constant sound at sample positions `starts`, 22 050 Hz."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=22050, layout="mono")
        for index, start in enumerate(starts):
            data = np.full((1, 11025), value(index) * 32768, np.int16)
            block = av.AudioFrame.from_ndarray(data, format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = 22050, start, Fraction(1, 22050)
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))


def test_a_gap_is_silence_and_an_overlap_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "holes.mkv"
    # Matroska counts in ms, so the blocks lie at whole ms: 0, 1 (a gap), 1.25 (an overlap) s.
    write_blocks(path, [0, 22050, 27563], lambda index: [0.2, 0.4, 0.6][index])
    samples = read_audio(path).samples
    assert len(samples) == pytest.approx(1.75 * 22050, abs=22)
    levels = [samples[round(s * 22050)] for s in (0.25, 0.6, 0.9, 1.1, 1.4, 1.6)]
    assert levels == pytest.approx([0.2, 0, 0, 0.4, 0.4, 0.6], abs=0.01)
    assert samples[22050 - 2] == 0 and samples[22050 + 1] == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate_gives_the_nearest_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"vfr.{suffix}"
    steps_ms = np.random.default_rng(3).integers(8, 120, 60)
    shown_ms = np.cumsum(steps_ms).tolist()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"qp": "4", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.thread_count = 1
        for index, pts in enumerate(shown_ms):
            frame = av.VideoFrame.from_ndarray(numbered(index), format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found = probe(path)
    assert found.frames == 60
    assert found.video_start_s == Fraction(shown_ms[0], 1000)
    assert found.fps == Fraction(59 * 1000, shown_ms[-1] - shown_ms[0])
    wanted_ms = sorted(np.random.default_rng(4).integers(-500, shown_ms[-1] + 500, 300).tolist())
    nearest = [min(range(60), key=lambda k: abs(shown_ms[k] - t)) for t in wanted_ms]
    times_s = [Fraction(t, 1000) for t in wanted_ms]
    assert shown(path, times_s) == nearest
    assert shown(path, times_s, threads=2) == nearest


def corners(size_px: tuple[int, int]) -> np.ndarray:
    """Return a frame whose four quarters say, clockwise from top left: red, green, blue, white."""
    wide, high = size_px
    frame = np.zeros((high, wide, 3), np.uint8)
    frame[: high // 2, : wide // 2, 0] = 220
    frame[: high // 2, wide // 2 :, 1] = 220
    frame[high // 2 :, wide // 2 :, 2] = 220
    frame[high // 2 :, : wide // 2] = 220
    return frame


def quarters(frame: np.ndarray) -> str:
    """Read `corners` back: the colours clockwise from top left."""
    high, wide = frame.shape[0] // 4, frame.shape[1] // 4
    points = [(high, wide), (high, -wide), (-high, -wide), (-high, wide)]
    names = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    return "".join(names[tuple(int(value > 110) for value in frame[p])] for p in points)


@pytest.mark.parametrize(
    ("options", "clockwise_deg", "colours"),
    [
        (["-display_rotation", "0"], 0, "rgbw"),
        (["-display_rotation", "-90"], 90, "wrgb"),
        (["-display_rotation", "180"], 180, "bwrg"),
        (["-display_rotation", "90"], 270, "gbwr"),
        (["-display_hflip"], 0, "grwb"),
        (["-display_vflip"], 180, "wbgr"),
    ],
)
def test_rotation_and_mirroring_are_applied(
    tmp_path: Path, options: list[str], clockwise_deg: int, colours: str
) -> None:
    plain, turned = tmp_path / "plain.mp4", tmp_path / "turned.mp4"
    encode([corners((96, 64))] * 10, 30, (96, 64), None, 44100, plain)
    ffmpeg(*options, "-i", plain, "-c", "copy", turned)
    found = probe(turned)
    size = (64, 96) if clockwise_deg in (90, 270) else (96, 64)
    assert (found.width, found.height, found.rotation_deg) == (*size, clockwise_deg)
    wanted = {
        "whole": FrameRequest([Fraction(0)]),
        "small": FrameRequest([Fraction(0), Fraction(1, 10)], short_side_px=32),
        "square": FrameRequest([Fraction(1, 5)], short_side_px=40, crop_px=36),
    }
    got = read_frames(turned, wanted)
    assert got["whole"].shape == (1, size[1], size[0], 3)
    assert got["small"].shape == (2, size[1] // 2, size[0] // 2, 3)
    assert got["square"].shape == (1, 36, 36, 3)
    assert {quarters(frame) for stack in got.values() for frame in stack} == {colours}


def test_a_crop_is_centred(tmp_path: Path) -> None:
    path, frame = tmp_path / "clip.mp4", np.zeros((64, 96, 3), np.uint8)
    frame[:, 32:64] = 255
    encode([frame] * 3, 30, (96, 64), None, 44100, path)
    (got,) = read_frames(path, {"middle": FrameRequest([Fraction(0)], crop_px=32)})["middle"]
    assert got.shape == (32, 32, 3) and got.min() > 200


def test_requests_that_cannot_be_met_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        FrameRequest([])
    with pytest.raises(ValueError, match="sort them"):
        FrameRequest([Fraction(1), Fraction(0)])
    with pytest.raises(ValueError, match="does not fit"):
        FrameRequest([Fraction(0)], short_side_px=32, crop_px=33)
    path = tmp_path / "clip.mp4"
    encode(frames(3), 30, (96, 64), None, 44100, path)
    with pytest.raises(ValueError, match="does not fit 96x64"):
        read_frames(path, {"big": FrameRequest([Fraction(0)], crop_px=65)})


REAL = {
    # file: video start and stop, sound's stop (s, rounded to 0.1 ms), windows of 2 s
    "D2M_high1.mp4": (0.0, 2.002, 1.9969, 1),
    "D2M_high2.mp4": (0.0, 2.002, 2.0430, 1),
    "motivation_gt.mp4": (0.0454, 4.9121, 4.9067, 2),
    "tiktok_high1.mp4": (0.0, 2.2333, 1.9969, 1),
    "tiktok_low1.mp4": (0.0, 2.3, 2.0898, 1),
}


@pytest.mark.parametrize("name", REAL)
def test_real_clips(name: str) -> None:
    root = os.environ.get("D2M_TEST_DATA")
    if not root:
        pytest.skip("D2M_TEST_DATA is not set: no real clips to read")
    path = Path(root) / "videos" / name
    found, sound = probe(path), read_audio(path)
    start_s, stop_s, sound_stop_s, count = REAL[name]
    assert float(found.video_start_s) == pytest.approx(start_s, abs=5e-5)
    assert float(found.video_stop_s) == pytest.approx(stop_s, abs=5e-5)
    assert sound.start_s == 0
    assert float(sound.stop_s) == pytest.approx(sound_stop_s, abs=5e-5)
    windows, _ = cut(
        (found.video_start_s, found.video_stop_s), (sound.start_s, sound.stop_s), Fraction(2)
    )
    assert len(windows) == count
    assert all(cut_audio(sound, window).shape == (44100,) for window in windows)
    times_s = [windows[0].start_s + Fraction(k, 8) for k in range(16)]
    (stack,) = read_frames(path, {"i3d": FrameRequest(times_s, 256, 224)}).values()
    assert stack.shape == (16, 224, 224, 3) and stack.std() > 10
