"""One handle of a video: checked once, opened once for each pass, the same results as alone."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import pipeline.media.reader
from pipeline.media.ffmpeg import encode
from pipeline.media.reader import (
    FrameRequest,
    MediaError,
    Video,
    frame_times,
    probe,
    read_audio,
    read_frames,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    frames = (random.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(50))
    sound = random.uniform(-0.5, 0.5, 44_100).astype(np.float32)
    encode(frames, 25, (64, 48), sound, 22_050, tmp_path / "a.mp4")
    return tmp_path / "a.mp4"


def test_a_handle_gives_what_each_function_gives_alone(path: Path) -> None:
    video, wanted = Video(path), {"all": FrameRequest([Fraction(1, 2), Fraction(1)], 32)}
    assert video.probe() == probe(path)
    assert video.frame_times() == frame_times(path) == video.decoded_times()
    sound, alone = video.read_audio(), read_audio(path)
    assert sound.start_s == alone.start_s
    np.testing.assert_array_equal(sound.samples, alone.samples)
    frames, apart = video.read_frames(wanted), read_frames(path, wanted)
    np.testing.assert_array_equal(frames["all"], apart["all"])


def test_a_handle_checks_its_file_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked, asked = [], []
    check, early = pipeline.media.reader.check_file, pipeline.media.reader.early_ticks
    monkeypatch.setattr(
        pipeline.media.reader, "check_file", lambda path: checked.append(path) or check(path)
    )
    monkeypatch.setattr(
        pipeline.media.reader, "early_ticks", lambda *given: asked.append(given) or early(*given)
    )
    video = Video(path)
    assert not checked
    for _ in range(2):
        video.probe()
        video.read_audio()
        video.frame_times()
        video.read_frames({"one": FrameRequest([Fraction(1)])})
    assert checked == [path] and len(asked) == 1


def test_a_file_that_fails_its_check_fails_each_time(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])
    video = Video(path)
    for _ in range(2):
        with pytest.raises(MediaError, match="cut short"):
            video.probe()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no such file"):
        video.read_audio()
