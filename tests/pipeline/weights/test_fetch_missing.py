"""`pipeline build --fetch-weights` fetches what the poses need and is not there, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from builds import clip, run

import pipeline.weights.fetch as fetching
from pipeline.features.motion.base import Motion
from pipeline.features.visual.base import Visual
from pipeline.weights.table import Weight, lookup

POSES = {"movenet_multipose", "blazepose_full"}


@pytest.fixture
def asked(tmp_path, monkeypatch) -> list[tuple[str, list[str]]]:
    """The files that `fetch` was called for, with those wanted next; each is then there."""
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))
    calls: list[tuple[str, list[str]]] = []

    def fetch(weight: Weight, also: list[Weight]) -> Path:
        calls.append((weight.name, [other.name for other in also]))
        for one in weight.files:
            one.path.parent.mkdir(parents=True, exist_ok=True)
            one.path.write_bytes(b"no network")
        return weight.path

    monkeypatch.setattr(fetching, "fetch", fetch)
    return calls


def test_a_feature_names_the_published_weights_it_uses():
    assert set(Motion("blazepose").published_weights()) == POSES
    assert Motion("movenet").published_weights() == ["movenet_multipose"]
    heavy = Motion("blazepose", weights="blazepose_heavy").published_weights()
    assert set(heavy) == {"movenet_multipose", "blazepose_heavy"}
    for other in (Motion("smpl"), Motion("simulated-keypoints2d"), Motion("none"), Visual("none")):
        assert other.published_weights() == []


def test_only_what_is_missing_is_fetched_and_what_is_wanted_next_is_told(asked):
    fetching.fetch_missing(sorted(POSES))
    assert asked == [("blazepose_full", ["movenet_multipose"]), ("movenet_multipose", [])]
    lookup("movenet_multipose").files[-1].path.unlink()
    fetching.fetch_missing(sorted(POSES))
    assert asked[2:] == [("movenet_multipose", [])]


def test_a_build_fetches_only_if_it_is_told_to(asked, tmp_path, capsys):
    source = clip(tmp_path / "dance.mp4")
    command = ["build", "--dataset", "folder", "--source", source, "--out", tmp_path / "out",
               "--motion", "blazepose", "--visual", "none", "--engine", "local"]  # fmt: skip
    assert run(*command) != 0
    assert not asked
    assert "pipeline weights fetch blazepose_full" in capsys.readouterr().err
    assert run(*command, "--fetch-weights") != 0, "what came is no network"
    assert {name for name, _ in asked} == POSES
    assert run(*command, "--dry-run", "--fetch-weights") == 0
    assert len(asked) == 2
