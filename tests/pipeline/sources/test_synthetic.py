"""The synthetic benchmark: what it promises about splits, beats, bodies, pictures and files."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest

from model.contract.segment import GENRES
from pipeline.sources.synthetic import plan, write_annotations, write_video
from pipeline.sources.synthetic.__main__ import main
from pipeline.sources.synthetic.body import JOINTS, OFFSETS_M, PARENTS, J, forward_kinematics
from pipeline.sources.synthetic.dance import choreograph
from pipeline.sources.synthetic.jobs import write_each
from pipeline.sources.synthetic.moves import CONTROLS, GENRE_MOVES, mirror, parse
from pipeline.sources.synthetic.music import PEAK, SAMPLE_RATE_HZ, STYLES, compose, tempo_of
from pipeline.sources.synthetic.render import dress, place_camera, render, stage
from pipeline.sources.synthetic.write import perform, spec_hash


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One small video of 2 s, written for real."""
    spec = plan(1, duration_s=2.0, fps=30, size_px=(160, 120))[0]
    root = tmp_path_factory.mktemp("synthetic")
    write_video(spec, root)
    return spec, root


# -- the plan ------------------------------------------------------------------------------------


def test_full_plan_holds_every_song_and_names_each_video_once():
    specs = plan()
    assert len(specs) == 600
    assert len({spec.video_id for spec in specs}) == 600
    assert len({spec.song_id for spec in specs}) == 60
    assert {spec.genre for spec in specs} == set(GENRES)
    assert len({spec.motion_id for spec in specs}) == 600
    assert specs[0].video_id == "gBR_sBM_c01_d01_mBR0_ch01"


def test_splits_share_no_song_and_each_genre_has_four_one_one():
    songs = {(spec.genre, spec.song_id): set() for spec in plan()}
    for spec in plan():
        songs[spec.genre, spec.song_id].add(spec.split)
    assert all(len(splits) == 1 for splits in songs.values())
    for genre in GENRES:
        found = sorted(next(iter(s)) for (g, _), s in songs.items() if g == genre)
        assert found == ["test", "train", "train", "train", "train", "val"]


def test_a_larger_limit_only_adds_videos():
    full = plan(700)
    for limit in (1, 6, 7, 31, 64, 599):
        assert plan(limit) == full[:limit]


def test_every_prefix_is_split_about_four_one_one_over_many_genres():
    specs = plan(200)
    for limit in range(6, 200):
        splits = [spec.split for spec in specs[:limit]]
        assert splits.count("val") >= 1 and splits.count("test") >= 1
        for split in ("val", "test"):
            assert abs(splits.count(split) - limit / 6) <= 2
        assert len({spec.genre for spec in specs[:limit]}) == min(limit, 10)


def test_dancers_appear_in_many_genres():
    genres = {}
    for spec in plan():
        genres.setdefault(spec.dancers[0], set()).add(spec.genre)
    assert min(len(found) for found in genres.values()) >= 5


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 10**6}, "limit"),
        ({"duration_s": 0.1}, "duration_s"),
        ({"duration_s": 60}, "duration_s"),
        ({"dancers": 0}, "dancers"),
    ],
)
def test_plan_refuses_what_it_cannot_make(options, word):
    with pytest.raises(ValueError, match=word):
        plan(**{"limit": 1, **options})


# -- the music -----------------------------------------------------------------------------------


def test_a_song_depends_on_seed_and_id_alone():
    first = compose("mHO1", 3).samples.copy()
    compose.cache_clear()
    np.testing.assert_array_equal(compose("mHO1", 3).samples, first)
    assert np.abs(compose("mHO1", 4).samples - first).max() > 0.1
    assert np.abs(compose("mHO2", 3).samples - first).max() > 0.1


@pytest.mark.parametrize("genre", GENRES)
def test_songs_have_their_tempo_and_do_not_clip(genre):
    song = compose(f"m{genre}2", duration_s=8.0)
    assert len(song.samples) == 8 * SAMPLE_RATE_HZ
    np.testing.assert_allclose(np.diff(song.beat_times_s), 60 / song.tempo_bpm, atol=1e-9)
    assert np.abs(song.samples).max() == pytest.approx(PEAK, abs=1e-3)
    assert song.samples.std() > 0.1
    low, high = STYLES[genre].tempo_bpm
    assert low <= song.tempo_bpm <= high
    assert len({tempo_of(genre, index) for index in range(6)}) == 6


@pytest.mark.slow
def test_a_beat_tracker_hears_the_beats():
    librosa = pytest.importorskip("librosa")
    mir_eval = pytest.importorskip("mir_eval")
    scores = []
    for genre in GENRES:
        song = compose(f"m{genre}3", duration_s=20.0)
        samples = song.samples[::2]  # 22 050 Hz; the aliasing of a hat does no harm here
        _, heard = librosa.beat.beat_track(y=samples, sr=22_050, units="time")
        truth = song.beat_times_s
        scores.append(mir_eval.beat.f_measure(truth[truth > 5], heard[heard > 5]))
    assert sum(score >= 0.8 for score in scores) >= 8, dict(zip(GENRES, scores, strict=True))


@pytest.mark.slow
def test_genres_differ_by_spectrum():
    """Nearest centroid of 32 log bands' means and deviations, on songs that made no centroid."""
    edges = np.unique(np.geomspace(2, 1024, 33).astype(int))

    def describe(song_id):
        frames = compose(song_id, duration_s=12.0).samples[: 250 * 2048].reshape(250, 2048)
        power = np.abs(np.fft.rfft(frames * np.hanning(2048))) ** 2
        decibel = 10 * np.log10(np.add.reduceat(power[:, :1024], edges[:-1], axis=1) + 1e-6)
        return np.concatenate([decibel.mean(0), decibel.std(0)])

    seen = np.array([[describe(f"m{g}{i}") for i in (0, 2, 4)] for g in GENRES])
    new = np.array([[describe(f"m{g}{i}") for i in (1, 3)] for g in GENRES])
    scale = seen.std((0, 1))
    distance = ((new[:, :, None] - seen.mean(1)) / scale) ** 2
    right = distance.sum(-1).argmin(-1) == np.arange(10)[:, None]
    assert right.mean() >= 0.7  # chance is 0.1


def test_an_excerpt_moves_its_beats_with_it():
    song = compose("mWA0")
    samples, beats = song.excerpt(4.0, 2.0)
    np.testing.assert_array_equal(samples, song.samples[4 * 44_100 : 6 * 44_100])
    inside = song.beat_times_s[(song.beat_times_s >= 4) & (song.beat_times_s < 6)]
    np.testing.assert_allclose(beats, inside - 4.0)
    with pytest.raises(ValueError, match="lies outside"):
        song.excerpt(31.5, 2.0)


def test_a_song_id_must_name_a_genre():
    with pytest.raises(ValueError, match="mXX0"):
        compose("mXX0")


# -- body and dance ------------------------------------------------------------------------------


def test_bones_keep_their_length_under_any_rotation():
    rng = np.random.default_rng(0)
    poses = rng.normal(0, 2, (50, 72))
    joints = forward_kinematics(poses, rng.normal(0, 1, (50, 3)))
    for joint, parent in enumerate(PARENTS[1:], start=1):
        length = np.linalg.norm(joints[:, joint] - joints[:, parent], axis=1)
        np.testing.assert_allclose(length, np.linalg.norm(OFFSETS_M[joint]), rtol=1e-6)


def test_forward_kinematics_turns_a_limb_with_its_parent():
    pose = np.zeros((1, 72))
    pose[0, 3 * J["left_shoulder"] + 2] = np.pi / 2  # about z: the left arm, along x, goes up
    joints = forward_kinematics(pose, np.zeros((1, 3)))[0]
    rest = forward_kinematics(np.zeros((1, 72)), np.zeros((1, 3)))[0]
    arm = joints[J["left_wrist"]] - joints[J["left_shoulder"]]
    np.testing.assert_allclose(arm, [0, 0.51, 0], atol=1e-9)
    np.testing.assert_allclose(joints[J["right_wrist"]], rest[J["right_wrist"]], atol=1e-12)
    assert rest[J["left_hip"], 0] > 0 > rest[J["right_hip"], 0]


def test_key_poses_name_known_controls():
    lines = [line for g in GENRES for move in GENRE_MOVES[g].moves for line in move]
    keys = [parse(line) for line in lines]
    assert all(set(key) <= set(CONTROLS) for key in keys)
    assert [mirror(mirror(key)) for key in keys] == keys
    with pytest.raises(ValueError, match="knees"):
        parse("| knees=20")


def slow_moments_s(joints_m: np.ndarray) -> np.ndarray:
    """Return when the mean speed of joints (T, J, 3) at 60 fps is least, smoothed by 5 frames."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import argrelmin

    speed = np.linalg.norm(np.diff(joints_m, axis=0), axis=2).mean(1)
    return (argrelmin(gaussian_filter1d(speed, 5.0))[0] + 0.5) / 60


@pytest.mark.long
@pytest.mark.parametrize("genre", GENRES)
def test_joint_speed_is_least_on_the_beats(genre):
    found, expected = 0, 0
    for index in range(3):
        spec = dataclasses.replace(plan(1)[0], genre=genre, song_id=f"m{genre}{index}")
        show = perform(spec)
        measured = slow_moments_s(show.motions[0].joints_m)
        beats = show.beat_times_s
        beats = beats[(beats > 0.2) & (beats < 7.8)]
        found += (np.abs(beats[:, None] - measured).min(1) <= 0.05).sum()
        expected += len(beats)
        assert abs(len(measured) - len(beats)) <= 2  # and hardly anywhere else
    assert found / expected >= 0.95


@pytest.mark.parametrize("genre", GENRES)
def test_dancers_stand_on_the_floor_and_stay_on_the_stage(genre):
    beats = compose(f"m{genre}0").excerpt(4, 8)[1]
    joints = choreograph(genre, beats, 480, np.random.default_rng(1)).joints_m
    assert joints.shape == (480, 24, 3)
    assert joints[..., 1].min() >= 0.05
    assert np.median(joints[..., 1].min(1)) < 0.12
    assert np.abs(joints[:, 0, [0, 2]]).max() < 1.2
    assert joints[:, J["left_wrist"]].std(0).sum() > 0.15


def test_a_dance_needs_beats():
    with pytest.raises(ValueError, match="at least 2"):
        choreograph("BR", np.array([1.0]), 60, np.random.default_rng(0))


# -- the picture ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size_px", "dancers"), [((384, 288), 1), ((180, 320), 1), ((320, 180), 3)]
)
def test_keypoints_lie_on_the_drawn_body(size_px, dancers):
    spec = plan(4, duration_s=1.0, size_px=size_px, dancers=dancers)[3]
    joints = np.stack([m.joints_m for m in perform(spec).motions], 1)[::12]
    rng = np.random.default_rng(0)
    camera = place_camera(rng, *size_px, dancers)
    empty = stage(rng, camera)
    pink = np.array([255.0, 0.0, 255.0])  # no stage is as colourful
    suit = dress("d01")
    suit = dataclasses.replace(
        suit, skin=pink, hair=pink, shirt=pink, colours={part: pink for part in suit.colours}
    )
    frames = list(render(joints, [suit] * dancers, camera, empty))
    points, depths = camera.project(joints)
    assert points.shape == (5, dancers, 24, 2) and (depths > 2).all()
    x, y = np.round(points[..., 0] - 0.5).astype(int), np.round(points[..., 1] - 0.5).astype(int)
    inside = (x >= 0) & (x < size_px[0]) & (y >= 0) & (y < size_px[1])
    assert inside.mean() > 0.95
    changed = [
        frame[b[ok], a[ok]].astype(int) @ [1, -2, 1] > 200
        for frame, a, b, ok in zip(frames, x, y, inside, strict=True)
    ]
    assert np.concatenate(changed).mean() > 0.98
    assert (empty.astype(int) @ [1, -2, 1] > 200).mean() == 0
    assert all(frame.shape == (size_px[1], size_px[0], 3) for frame in frames)
    # What is not near the body or its shadow is the stage as it was.
    assert (frames[0] == empty).all(-1).mean() > 0.4


# -- the files -----------------------------------------------------------------------------------


def test_a_written_video_reads_back_with_picture_and_sound_at_zero(written):
    import av

    spec, root = written
    with av.open(root / "videos" / f"{spec.video_id}.mp4") as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.start_time == 0 and audio.start_time == 0
        assert float(video.duration * video.time_base) == pytest.approx(2.0, abs=1e-6)
        assert float(audio.duration * audio.time_base) == pytest.approx(2.0, abs=0.001)
        assert (video.width, video.height, video.average_rate) == (160, 120, 30)
        frames = list(container.decode(video=0))
    assert len(frames) == 60
    assert frames[0].time == 0
    with av.open(root / "videos" / f"{spec.video_id}.mp4") as container:
        decoded = [frame for frame in container.decode(audio=0) if frame.time >= 0]
    heard = np.concatenate([frame.to_ndarray()[0] for frame in decoded])
    played = perform(spec).audio
    length = 1 << 17
    spectrum = np.fft.rfft(heard, length) * np.conj(np.fft.rfft(played, length))
    lag = int(np.fft.irfft(spectrum).argmax())
    assert round(decoded[0].time * SAMPLE_RATE_HZ) + lag == 0


def test_motion_has_the_layout_of_aist(written):
    spec, root = written
    path = root / "motions" / f"{spec.video_id.replace('_c01_', '_cAll_')}.pkl"
    motion = pickle.loads(path.read_bytes())
    assert sorted(motion) == ["smpl_loss", "smpl_poses", "smpl_scaling", "smpl_trans"]
    assert motion["smpl_poses"].shape == (120, 72) and motion["smpl_poses"].dtype == np.float32
    assert motion["smpl_trans"].shape == (120, 3) and motion["smpl_trans"].dtype == np.float32
    assert motion["smpl_scaling"].shape == (1,) and isinstance(motion["smpl_loss"], float)
    metres = motion["smpl_trans"] / motion["smpl_scaling"]
    assert 0.2 < metres[:, 1].mean() < 1.2


def test_truth_tells_beats_joints_and_names(written):
    spec, root = written
    show = perform(spec)
    with np.load(root / "truth" / f"{spec.video_id}.npz", allow_pickle=False) as truth:
        np.testing.assert_array_equal(truth["beat_times_s"], show.beat_times_s)
        assert len(show.beat_times_s) >= 3
        assert truth["keypoints2d"].shape == (60, 1, 24, 2)
        assert truth["visible"].shape == (60, 1, 24) and truth["visible"].mean() > 0.9
        assert tuple(truth["joint_names"]) == JOINTS
        np.testing.assert_array_equal(truth["smpl_poses"], show.motions[0].poses)
        assert (str(truth["genre"]), str(truth["song"])) == (spec.genre, spec.song_id)
        assert str(truth["spec_sha256"]) == spec_hash(spec)
        rests = truth["kinematic_beat_times_s"]
        assert np.abs(show.beat_times_s[:, None] - rests).min(1).max() < 1e-6


def test_writing_is_deterministic_and_skips_what_is_there(written, tmp_path):
    spec, root = written
    write_video(spec, tmp_path)
    ours = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.*"))
    assert len(ours) == 4
    for path in ours:
        assert (tmp_path / path).read_bytes() == (root / path).read_bytes(), path
    video = tmp_path / "videos" / f"{spec.video_id}.mp4"
    before = video.stat().st_mtime_ns
    write_video(spec, tmp_path)
    assert video.stat().st_mtime_ns == before


def test_another_spec_or_a_broken_truth_is_made_again(written, tmp_path):
    spec, _ = written
    short = dataclasses.replace(spec, duration_s=0.5)
    write_video(short, tmp_path)
    truth = tmp_path / "truth" / f"{spec.video_id}.npz"
    whole = truth.read_bytes()
    truth.write_bytes(whole[:100])
    write_video(short, tmp_path)
    assert truth.read_bytes() == whole
    write_video(dataclasses.replace(short, seed=1), tmp_path)
    assert truth.read_bytes() != whole


def test_annotations_cover_the_plan(tmp_path):
    specs = plan(12)
    write_annotations(specs, tmp_path)
    listed = {
        split: (tmp_path / "splits" / f"crossmodal_{split}.txt").read_text(encoding="utf-8").split()
        for split in ("train", "val", "test")
    }
    assert sorted(name for names in listed.values() for name in names) == sorted(
        spec.motion_id for spec in specs
    )
    assert all("_cAll_" in name for names in listed.values() for name in names)
    facts = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))
    assert facts[specs[0].video_id]["tempo_bpm"] == 108.0


def test_the_command_writes_a_split_of_the_plan(tmp_path: Path):
    arguments = [str(tmp_path), "--limit", "6", "--split", "test", "--duration-s", "0.5"]
    assert main(arguments) == 0
    assert len(list(tmp_path.glob("videos/*.mp4"))) == 1
    with pytest.raises(SystemExit) as refused:
        main([str(tmp_path), "--limit", "0"])
    assert refused.value.code == 2


def killed(spec: int, root: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_that_writes_videos_is_told_in_words(tmp_path):
    with pytest.raises(SystemExit, match=r"was killed, .* memory runs out; .* fewer --jobs"):
        write_each(killed, [1, 2], tmp_path, 2)
