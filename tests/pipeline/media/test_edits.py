"""Whether frames must be moved back to their times: from the tables of a file, or by reading it."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import FRAGMENTS, clicks, ffmpeg, write

import pipeline.media.container
from pipeline.media.container import DEFAULTS, early_ticks, opened, video_stream
from pipeline.media.mp4_edits import edits_begin_at_first_frames
from pipeline.media.reader import frame_times

AAC = ("-c:a", "aac")
B_FRAMES = ("-preset", "fast", "-bf", "3", "-g", "40", *AAC)
CLIPS = {
    "as encoded": (AAC, True),
    "B-frames": (B_FRAMES, True),
    "B-frames, no edit list": ((*B_FRAMES, "-use_editlist", "0"), True),
    "B-frames, negative offsets": ((*B_FRAMES, "-movflags", "negative_cts_offsets"), True),
    "fragments": (FRAGMENTS, False),
}


def clip(path: Path, coding: tuple[str, ...], picture_late_s: float = 0.0) -> Path:
    sound = clicks(88200, [900])
    write(path, Fraction(25), 50, sound, 44100, *coding, picture_late_s=picture_late_s)
    return path


def told(path: Path) -> bool:
    with open(path, "rb") as file:
        return edits_begin_at_first_frames(file)


def early(path: Path) -> int:
    with opened(path, DEFAULTS) as container:
        return early_ticks(path, container, video_stream(path, container, DEFAULTS))


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("late_s", [0.0, 0.2])
def test_tables_say_that_no_frame_is_moved_only_where_reading_says_so(
    tmp_path: Path, name: str, suffix: str, late_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    coding, expected = CLIPS[name]
    path = clip(tmp_path / f"a.{suffix}", coding, late_s)
    assert told(path) is expected
    times_s = frame_times(path)
    # From here on the tables tell nothing, so the file is read.
    monkeypatch.setattr(pipeline.media.container, "edits_begin_at_first_frames", lambda file: False)
    assert early(path) == 0 and frame_times(path) == times_s


@pytest.mark.parametrize("coding", [(*AAC, "-g", "10"), B_FRAMES])
def test_an_edit_list_that_leaves_frames_out_is_read(
    tmp_path: Path, coding: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = clip(tmp_path / "whole.mp4", coding), tmp_path / "cut.mp4"
    ffmpeg("-ss", "0.73", "-i", whole, "-c", "copy", "-video_track_timescale", "240000", cut)
    assert told(whole) and not told(cut)
    assert early(cut) > 0
    opens = []
    monkeypatch.setattr(av, "open", lambda *given, _open=av.open, **more: opens.append(given)
                        or _open(*given, **more))  # fmt: skip
    frame_times(whole)
    assert len(opens) == 1
    frame_times(cut)
    assert len(opens) == 3


def test_a_file_whose_tables_lie_is_read(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", AAC)
    data = path.read_bytes()
    at = data.index(b"stts", data.index(b"vide"))
    for number, count, ticks in [(0, 50, 9600), (1, 0, 9600), (1, 2**32 - 1, 9600)]:
        table = struct.pack(">III", number, count, ticks)
        path.write_bytes(data[: at + 8] + table + data[at + 20 :])
        assert not told(path)
    path.write_bytes(data.replace(b"stts", b"sttz"))
    assert not told(path)


@pytest.mark.parametrize(("seed", "cut_short"), [(0, False), (1, False), (2, True)])
def test_damaged_tables_raise_nothing(tmp_path: Path, seed: int, cut_short: bool) -> None:
    path, random = clip(tmp_path / "a.mp4", B_FRAMES), np.random.default_rng(seed)
    data = path.read_bytes()
    since, answers = data.index(b"moov"), set()
    for _ in range(100):
        damaged = bytearray(data)
        for at in random.integers(since, len(data), 4):
            damaged[at] = int(random.choice([0, 1, 127, 255]))
        path.write_bytes(damaged[: random.integers(since, len(data))] if cut_short else damaged)
        answers.add(told(path))
    assert True in answers or cut_short
