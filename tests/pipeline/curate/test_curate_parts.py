"""Each step of curation on material whose truth is known: shots, picture, sound, songs, split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.contract.segment import SAMPLE_RATE_HZ
from pipeline.curate.decide import joining
from pipeline.curate.duplicates import RATE_HZ, distance, frame_hashes
from pipeline.curate.frames import LIMITS, some_frames, tiny_frames
from pipeline.curate.groups import Joining, families, group, song_id
from pipeline.curate.music import sound_scores
from pipeline.curate.picture import PictureSettings, find_picture
from pipeline.curate.settings import load_settings
from pipeline.curate.shots import ShotSettings, find_shots, sound_jump_db
from pipeline.curate.songs import Pair, compare, fingerprint
from pipeline.media.reader import Video
from pipeline.sources.song_split import TEST_SHARE, split_of
from pipeline.sources.synthetic.decorate import canvases
from pipeline.sources.synthetic.music import SAMPLE_RATE_HZ as SONG_HZ
from pipeline.sources.synthetic.music import compose
from pipeline.sources.synthetic.speech import speech

SIZE_PX = (320, 180)
BOX = (110, 0, 100, 180)


def pictures(count: int, seed: int, size: tuple[int, int] = BOX[2:]) -> list[np.ndarray]:
    """Return grainy pictures (h, w, 3) of one scene, in which a bright square moves about."""
    width, height = size
    rng = np.random.default_rng(seed)
    scene = rng.integers(20, 180, 3) + rng.normal(0, 3, (height, width, 1))
    shown = []
    for k in range(count):
        picture = scene.copy()
        x, y = round((0.4 + 0.3 * np.sin(k)) * width), round((0.4 + 0.2 * np.cos(k)) * height)
        picture[y : y + height // 5, x : x + width // 5] = 230 - scene.mean() / 2
        shown.append(np.clip(picture, 0, 255).astype(np.uint8))
    return shown


def excerpt(song: str, start_s: float, duration_s: float) -> np.ndarray:
    import soxr

    return soxr.resample(
        compose(song, 5).excerpt(start_s, duration_s)[0], SONG_HZ, SAMPLE_RATE_HZ
    ).astype(np.float32)


def test_fewer_than_two_clips_with_enough_sound_have_no_likeness() -> None:
    short, long = np.zeros((10, 252), np.uint8), np.zeros((400, 252), np.uint8)
    for prints in ([], [short], [long], [short, short, long]):
        assert compare(prints) == []


@pytest.mark.parametrize("bars", ["none", "black", "blurred", "clouds", "logos"])
def test_the_picture_is_found_inside_every_kind_of_bars(bars: str) -> None:
    box = BOX if bars != "none" else (0, 0, *SIZE_PX)
    frames = np.stack(list(canvases(pictures(12, 3, box[2:]), box, SIZE_PX, bars, [1])))
    found = find_picture(frames, PictureSettings())
    np.testing.assert_allclose(found.box, box, atol=2)
    assert found.motion > 1


def test_a_still_has_no_motion() -> None:
    still = np.stack([pictures(1, 3)[0]] * 6)
    assert find_picture(still, PictureSettings()).motion == 0


def test_shots_are_cut_where_the_scene_changes_and_nowhere_else() -> None:
    scenes = [pictures(40, seed, (72, 40)) for seed in (1, 2, 9)]
    frames = np.concatenate([np.stack(scene) for scene in scenes])
    silence = np.zeros(5 * SAMPLE_RATE_HZ, np.float32)
    shots = find_shots(frames, np.arange(120) / 25, silence, 0.0, ShotSettings())
    assert [(s.start, s.stop) for s in shots] == [(0, 40), (40, 80), (80, 120)]


def test_the_sound_jumps_where_another_song_starts() -> None:
    sound = np.concatenate([excerpt("mBR0", 4, 3), excerpt("mLH3", 4, 3)])
    jump_db = sound_jump_db(sound, np.arange(0, 6, 0.1))
    assert jump_db[30] >= 6
    assert not jump_db[:8].any() and not jump_db[-8:].any(), "too little sound on one side"
    ends = np.concatenate([excerpt("mBR0", 4, 3), np.zeros(3 * SAMPLE_RATE_HZ, np.float32)])
    assert sound_jump_db(ends, np.array([3.0]))[0] == 0, "the sound stops"


def test_a_voice_alone_is_told_from_music_and_silence() -> None:
    limits = load_settings().decide
    rng = np.random.default_rng(0)
    voice = speech(5, rng, SAMPLE_RATE_HZ)
    music = excerpt("mHO1", 3, 5)
    alone, both, song = (sound_scores(x) for x in (voice, 0.5 * voice + music, music))
    assert alone.bass_db < limits.speech_bass_db and alone.pulse < limits.speech_pulse
    assert both.bass_db > limits.speech_bass_db and song.bass_db > limits.speech_bass_db
    assert sound_scores(np.zeros(3 * SAMPLE_RATE_HZ, np.float32)).silent == 1


def test_a_song_is_known_again_at_another_offset_gain_and_speed() -> None:
    import soxr

    whole = excerpt("mBR0", 4, 9)
    faster = soxr.resample(whole[2 * SAMPLE_RATE_HZ :], SAMPLE_RATE_HZ * 1.02, SAMPLE_RATE_HZ)
    clips = [whole[: 6 * SAMPLE_RATE_HZ], 0.1 * faster, excerpt("mWA2", 4, 6), whole[:9000]]
    pairs = {(p.first, p.second): p for p in compare([fingerprint(clip) for clip in clips])}
    rules = joining(load_settings().decide)
    assert rules.of(pairs[0, 1]) > rules.least
    assert pairs[0, 1].lag_s == pytest.approx(2, abs=0.15)
    assert pairs[0, 1].overlap_s == pytest.approx(4, abs=0.2)
    assert rules.of(pairs[0, 2]) < rules.family, "of few clips the nearest are kept, however unlike"
    assert not any(3 in pair for pair in pairs), "too short to compare"


@pytest.mark.parametrize(("voices", "least"), [(1, "alone"), (2, "family")])
def test_a_song_is_known_under_a_voice(voices: int, least: str) -> None:
    """Of two clips one or both have a voice; under two they are sure to be of one family only."""
    rng = np.random.default_rng(1)
    song, other = excerpt("mBR0", 4, 6), excerpt("mBR1", 4, 6)
    over = [0.5 * speech(6, rng, SAMPLE_RATE_HZ)[: len(song)] for _ in range(2)]
    first = song + over[0] if voices == 2 else song
    clips = [first, (song + over[1])[SAMPLE_RATE_HZ:], other + over[1]]
    pairs = {(p.first, p.second): p for p in compare([fingerprint(clip) for clip in clips])}
    rules = joining(load_settings().decide)
    assert rules.of(pairs[0, 1]) > getattr(rules, least)
    assert max(rules.of(pairs[0, 2]), rules.of(pairs[1, 2])) < min(0.0, rules.of(pairs[0, 1]))


def test_a_song_that_fades_in_and_out_is_known_again() -> None:
    song = excerpt("mHO1", 3, 8)
    faded = song * np.minimum(1, np.minimum(np.arange(len(song)), np.arange(len(song))[::-1]) / 5e4)
    (pair,) = compare([fingerprint(song[: 6 * SAMPLE_RATE_HZ]), fingerprint(faded)])
    rules = joining(load_settings().decide)
    assert rules.of(pair) > rules.least and pair.lag_s == pytest.approx(0, abs=0.1)


RULES = Joining((0.0, 1.0, 0.0, 0.0), least=1.75, alone=0.9, family=0.0)
"""Odds that are the score itself."""


def test_one_likely_pair_joins_no_two_songs_whose_other_clips_disagree() -> None:
    within = [Pair(0, 1, 5, 0, 4, 0), Pair(2, 3, 5, 0, 4, 0)]
    link = Pair(1, 2, 3, 0.0, 4, 0)
    assert group([4] * 4, [*within, link], RULES) == [0, 0, 2, 2], "0 and 3 would share all"
    agreeing = [Pair(0, 2, 2, 0, 4, 0), Pair(0, 3, 2, 0, 4, 0), Pair(1, 3, 2, 0, 4, 0)]
    assert group([4] * 4, [*within, link, *agreeing], RULES) == [0, 0, 0, 0]
    at_the_end = Pair(1, 2, 3, 2.5, 1.5, 0)
    assert group([4] * 4, [*within, at_the_end], RULES) == [0, 0, 2, 2], "too short to tell"


def test_a_clip_alone_joins_sooner_than_a_group() -> None:
    pairs = [Pair(0, 1, 5, 0, 4, 0), Pair(1, 2, 1, 3, 1, 0), Pair(3, 4, 0.5, 0, 4, 0)]
    assert group([4] * 5, pairs, RULES) == [0, 0, 0, 3, 4]


def test_songs_that_may_be_one_are_a_family() -> None:
    pairs = [Pair(0, 1, 0.1, 0, 4, 0), Pair(1, 2, -3, 0, 4, 0), Pair(3, 4, -2, 0, 4, 0)]
    assert families([0, 1, 2, 3, 4, 5], pairs, RULES) == [0, 0, 0, 3, 3, 5]
    far = [Pair(0, 1, -1, 0, 4, 0), Pair(0, 2, -2, 0, 4, 0), Pair(2, 3, -1, 0, 4, 0)]
    assert families([0, 1, 2, 3], far, RULES) == [0, 0, 2, 2], "each with its nearest alone"


def test_song_ids_and_splits_depend_on_no_other_song() -> None:
    assert song_id(["b", "a"]) == song_id(["a", "b"]) != song_id(["c"])
    songs = [song_id([str(k)]) for k in range(4000)]
    share = np.mean([split_of(song) == "test" for song in songs])
    assert share == pytest.approx(TEST_SHARE, abs=0.02)


def test_hashes_survive_a_crop_and_know_another_picture() -> None:
    import cv2

    shown = pictures(10, 4, (120, 200))
    rng = np.random.default_rng(0)
    waves = cv2.resize(rng.uniform(-60, 60, (8, 5)), (120, 200), interpolation=cv2.INTER_CUBIC)
    shown = [np.clip(p + waves[..., None], 0, 255).astype(np.uint8) for p in shown]
    hashes = np.stack([frame_hashes(p) for p in shown])
    cropped = np.stack([frame_hashes(p[8:-8, 5:-5]) for p in shown])
    limit = load_settings().decide.duplicate_picture
    assert distance(hashes, cropped[2:], 2 / RATE_HZ) < limit
    other = np.stack([frame_hashes(p) for p in pictures(10, 5, (120, 200))])
    assert distance(hashes, other, 0) > limit
    assert distance(hashes, cropped, 9 / RATE_HZ) == 1, "too few frames in common"


def test_thresholds_name_what_they_do_not_know(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("decide: {min_clip: 3}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"decide\.min_clip; did you mean decide\.min_clip_s"):
        load_settings(path)
    path.write_text("decide: {min_clip_s: yes}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected a number"):
        load_settings(path)
    path.write_text("decide: {min_clip_s: 3}\n", encoding="utf-8")
    assert load_settings(path).decide.min_clip_s == 3
    assert load_settings(path).shots == load_settings().shots == ShotSettings()
    assert load_settings().picture == PictureSettings()


REAL = {
    "tiktok_high1": (0.341, 0.316),
    "tiktok_low1": (0.341, 0.317),
    "D2M_high1": (0, 1),
    "D2M_high2": (0, 1),
    "motivation_gt": (0, 1),
}
"""Left side and width of the active picture over the frame's width, measured by eye."""


@pytest.mark.long
@pytest.mark.parametrize("name", REAL)
def test_the_picture_of_real_clips(name: str, data: Path) -> None:
    path = data / "videos" / f"{name}.mp4"
    times_s, tiny = tiny_frames(Video(path, LIMITS))
    indices = np.linspace(2, len(times_s) - 3, 12).round().astype(int).tolist()
    frames = np.stack(list(some_frames(Video(path, LIMITS), indices, 360)))
    height, width = frames.shape[1:3]
    x, y, w, h = find_picture(frames, PictureSettings()).box
    np.testing.assert_allclose([x / width, w / width], REAL[name], atol=0.006)
    assert (y, h) == (0, height)
    silence = np.zeros(0, np.float32)
    assert len(find_shots(tiny, list(map(float, times_s)), silence, 0, ShotSettings())) == 1
