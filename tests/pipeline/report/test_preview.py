"""Small films to look at: the span, the skeleton, the beats, the sound; and what a video is."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from builds import clip

from pipeline import cli
from pipeline.report.preview import BEAT, write_preview


def frames_of(path) -> list[np.ndarray]:
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def lit(frame: np.ndarray) -> bool:
    """Return whether the frame around the picture lights up."""
    return bool(np.abs(frame[1, 4:-4].astype(int) - BEAT).mean() < 40)


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(argument) for argument in arguments])
    return stopped.value.code


def test_a_film_has_the_span_with_its_own_sound_and_lights_up_at_beats(tmp_path):
    video = clip(tmp_path / "a.mp4", 3.0)
    out = tmp_path / "out.mp4"
    arguments = ("--start-s", 1, "--stop-s", 2.5, "--beats", "0.5,1.2")
    assert command("preview", "--video", video, "--out", out, *arguments) == 0
    frames = frames_of(out)
    assert len(frames) == 45
    at = [index for index, frame in enumerate(frames) if lit(frame)]
    assert at[0] in (15, 16) and any(36 <= index <= 39 for index in at) and len(at) <= 10
    with av.open(str(out)) as film:
        assert film.streams.video[0].codec_context.name == "h264"
        assert float(film.streams.audio[0].duration * film.streams.audio[0].time_base) >= 1.45


def test_a_skeleton_is_drawn_over_the_dancer_and_alone_without_a_video(tmp_path):
    motion = np.zeros((60, 75), np.float32).reshape(60, 25, 3)
    motion[..., 0], motion[..., 2] = 0.2, 1.0  # right of the centre, and confident
    motion[..., 1] = np.linspace(-0.3, 0.3, 25)
    flat = motion.reshape(60, 75)
    span_s = (Fraction(0), Fraction(1))
    video = clip(tmp_path / "a.mp4", 2.0)
    for name, given in (("over", video), ("alone", None)):
        write_preview(tmp_path / f"{name}.mp4", span_s, video=given, motion=flat)
    plain = tmp_path / "plain.mp4"
    write_preview(plain, span_s, video=video)
    over, without = frames_of(tmp_path / "over.mp4")[3], frames_of(plain)[3]
    high, wide = over.shape[:2]
    changed = np.argwhere(np.abs(over.astype(int) - without).max(-1) > 60)
    assert len(changed) > 20
    assert abs(np.median(changed[:, 1]) - (wide / 2 + 0.2 * high)) < 4
    alone = frames_of(tmp_path / "alone.mp4")[3]
    assert alone.shape == (360, 480, 3) and alone.max() > 150 > alone[0, 0].max()


def test_probe_says_what_a_video_is_and_why_a_file_is_none(tmp_path, capsys):
    assert command("probe", clip(tmp_path / "a.mp4", 2.0, sound=False)) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["has_sound"] is False and facts["stop_s"] == pytest.approx(2.0)
    assert (facts["width_px"], facts["height_px"], facts["frames"]) == (96, 64, 60)
    (tmp_path / "b.mp4").write_text("no video", encoding="utf-8")
    assert command("probe", tmp_path / "b.mp4") == 1
    assert "b.mp4" in capsys.readouterr().err


def test_spans_and_beats_that_are_none_are_refused(tmp_path, capsys):
    video = clip(tmp_path / "a.mp4", 2.0)
    out = tmp_path / "o.mp4"
    given = ("preview", "--video", video, "--out", out)
    assert command(*given, "--start-s", 1, "--stop-s", 1) == 1
    assert command(*given, "--stop-s", 100_000) == 1
    assert command(*given, "--stop-s", 1, "--beats", "a,b") == 2
    assert not out.exists() and list(tmp_path.iterdir()) == [video]
    assert "expected seconds" in capsys.readouterr().err
