"""Music for the first seconds of a dance alone, and features that are kept for the next seed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from model.data.pieces import Piece
from model.generation.generate import generate, shortened
from model.generation.video_features import keep_features


def piece(first: int, segments: int, start_s: float) -> Piece:
    motion = np.arange(segments * 60.0)[:, None]
    return Piece("v", first, first + segments - 1, start_s, "v.mp4", {"motion.npy": motion})


def test_a_piece_is_cut_at_the_end_of_the_window_that_reaches_the_length():
    (cut,) = shortened([piece(1, 4, 0.5)], 2.5, 2.0)
    assert (cut.first, cut.last, cut.stop_s) == (1, 2, 4.5)
    assert cut.inputs["motion.npy"][-1] == 119 and len(cut.inputs["motion.npy"]) == 120
    assert cut.mp4_start_s == 0.0  # the mp4 is cut there, too, and starts with the music
    (least,) = shortened([piece(1, 4, 0.5)], 0.1, 2.0)
    assert least.segments == 1


@pytest.mark.parametrize("length_s", [8.0, 9.0, 1000.0])
def test_a_length_of_the_whole_dance_changes_nothing(length_s):
    pieces = [piece(1, 4, 0.0)]
    assert shortened(pieces, length_s, 2.0) == pieces


def test_a_length_counts_through_the_pieces_of_a_video():
    pieces = [piece(1, 2, 0.0), piece(4, 3, 6.0), piece(8, 1, 14.0)]
    cut = shortened(pieces, 6.0, 2.0)
    assert [(one.first, one.last, one.stop_s) for one in cut] == [(1, 2, None), (4, 4, 8.0)]
    assert shortened(pieces, 4.0, 2.0) == pieces[:1]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"shards": "s", "length_s": 2.0}, "go with --video"),
        ({"shards": "s", "features": "f"}, "go with --video"),
        ({"video": "v.mp4", "length_s": 0.0}, "more than 0 seconds"),
        ({"video": "v.mp4", "length_s": float("nan")}, "more than 0 seconds"),
    ],
)
def test_a_length_that_is_none_is_refused_before_anything_is_read(tmp_path, given, why):
    with pytest.raises(ValueError, match=why):
        generate(None, tmp_path, **given)


def test_kept_features_are_computed_again_only_for_another_video_or_other_options(
    tmp_path, monkeypatch
):
    built = []
    monkeypatch.setattr(
        "model.generation.video_features.build_features",
        lambda video, build, out, fetch: (out.mkdir(exist_ok=True), built.append(dict(build))),
    )
    run = SimpleNamespace(
        dataset=SimpleNamespace(build={"visual": "none", "motion": "blazepose"}, fields={}),
        model=SimpleNamespace(any_motion=False, inputs=SimpleNamespace(names=(), specs={})),
    )
    video, out = tmp_path / "a.mp4", tmp_path / "features"
    video.write_bytes(b"one")
    for _ in range(2):
        keep_features(video, run, out)
    assert len(built) == 1
    video.write_bytes(b"two")
    keep_features(video, run, out)
    run.dataset.build["motion"] = "none"
    keep_features(video, run, out)
    keep_features(video, run, out)
    assert [each["motion"] for each in built] == ["blazepose", "blazepose", "none"]
    with pytest.raises(FileNotFoundError, match="no such video"):
        keep_features(tmp_path / "absent.mp4", run, out)
