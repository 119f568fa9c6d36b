"""The measures of evaluation: as defined, exact on constructed cases, and able to tell."""

from __future__ import annotations

import math
import pickle
import warnings

import numpy as np
import pytest

from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.weights_folder import VGGISH_FILE
from model.measures.align import align_scores, beat_align, kinematic_beats_s
from model.measures.beats import beats_scores, mean_scores, onset_f, onset_scores, onsets_s
from model.measures.bootstrap import interval, mean_interval, sign_flip_p
from model.measures.codes import code_accuracy, perplexity
from model.measures.embeddings import load_embedding
from model.measures.fad import feature_kl, frechet, paired_kl
from model.measures.genre import Database, genre_right, retrieve
from model.measures.rhythm import (
    beat_scores,
    beats_s,
    loris_scores,
    loris_summary,
    spread,
    tempo_bpm,
)
from model.measures.skeleton import SMPL_OFFSETS_M, SMPL_PARENTS, joints_of

# --- cover and hit, as the authors' tool computes them -------------------------------------------


def flags_by_definition(audio: np.ndarray) -> list[int]:
    """Return a flag per second of audio (N,), in plain Python from the published definition."""
    import librosa

    times = librosa.onset.onset_detect(
        y=audio, sr=22050, wait=1, delta=0.2, pre_avg=1, post_avg=1, post_max=1, units="time"
    )
    flags = [0] * math.ceil(len(audio) / 22050)
    for time in times:
        flags[math.trunc(time)] = 1
    return flags


def scores_by_definition(syn: list[int], gt: list[int]) -> tuple[float, float]:
    both = sum(1 for a, b in zip(syn, gt, strict=True) if a == 1 and b == 1)
    return sum(syn) / sum(gt), both / sum(gt)


def pool() -> list[np.ndarray]:
    """Return clips of 2 and 3 s, some a little shorter: clicks, chords, noise, swells, edges."""
    rng, clips = np.random.default_rng(0), []
    burst = rng.standard_normal(500) * np.exp(-np.arange(500) / 90)
    for index in range(36):
        samples = [2 * SAMPLE_RATE_HZ, 3 * SAMPLE_RATE_HZ, 344 * 128][index % 3]
        audio = np.zeros(samples)
        kind = index // 3 % 4
        places = rng.uniform(0, samples, rng.integers(1, 6)).astype(int)
        if kind == 1:  # at the edges of seconds, and a sample to either side
            places = np.array([0, 22049, 22050, 22051, 44099])[: 1 + index % 5]
        for place in places:
            room = max(0, min(500, samples - place))
            audio[place : place + room] += rng.uniform(0.2, 0.9) * burst[:room]
        if kind == 2:
            audio += 0.02 * rng.standard_normal(samples)
        if kind == 3:
            t = np.arange(samples) / SAMPLE_RATE_HZ
            audio += 0.3 * np.sin(2 * np.pi * 220 * t) * (t % 0.7)
        clips.append(audio.astype(np.float32))
    return clips


def same_to_the_bit(clips: list[np.ndarray], pairs: int) -> tuple[int, list[tuple[float, float]]]:
    """Compare random pairs; return how many had a score, and the scores by the definition."""
    rng, flags, scored = np.random.default_rng(1), [flags_by_definition(c) for c in clips], []
    ours = []
    tried = 0
    while tried < pairs:
        a, b = rng.integers(len(clips), size=2)
        if len(flags[a]) != len(flags[b]):
            with pytest.raises(ValueError, match="same number of begun seconds"):
                beats_scores(clips[a], clips[b])
            continue
        tried += 1
        found = beats_scores(clips[a], clips[b])
        if not sum(flags[b]):
            assert math.isnan(found["cover"]) and math.isnan(found["hit"])
            continue
        scored.append(scores_by_definition(flags[a], flags[b]))
        assert (found["cover"], found["hit"]) == scored[-1]
        ours.append(found)
    means = mean_scores(ours)
    assert means["cover"] == sum(cover for cover, _ in scored) / len(scored)
    assert means["hit"] == sum(hit for _, hit in scored) / len(scored)
    return len(scored), scored


def test_cover_and_hit_equal_the_definition_on_two_hundred_pairs():
    count, scored = same_to_the_bit(pool(), 200)
    assert count > 150
    assert len(set(scored)) > 4 and max(cover for cover, _ in scored) > 1


def test_cover_and_hit_equal_the_definition_on_real_music(data):
    from pipeline.media.reader import read_audio

    clips = []
    for path in sorted((data / "videos").glob("*.mp4")):
        samples = read_audio(path).samples
        # A second and a half: the last second is half a second.
        clips += [samples[i : i + 33075] for i in range(0, len(samples) - 33074, 2205)]
    assert len(clips) > 12
    assert same_to_the_bit(clips, 60)[0] > 50


def test_silence_has_no_score_as_truth_and_scores_nothing_as_music():
    silence, music = np.zeros(44100, np.float32), pool()[0]
    assert flags_by_definition(silence) == [0, 0]
    assert all(math.isnan(v) for v in beats_scores(music, silence).values())
    assert set(beats_scores(silence, music).values()) == {0.0}


def test_an_onset_on_the_edge_belongs_to_the_second_it_begins():
    scores = onset_scores(np.array([1.0]), np.array([0.999999]), 2)
    assert (scores["cover"], scores["hit"]) == (1.0, 0.0)


# --- rhythm --------------------------------------------------------------------------------------

BEATS_S = np.arange(0.3, 8, 0.5)


def test_beat_scores_are_what_their_formulas_give():
    assert beat_scores(BEATS_S, BEATS_S) == dict.fromkeys(
        ("beat_f", "cemgil", "tempo", "tempo_octave"), 1.0
    )
    late = beat_scores(BEATS_S + 0.04, BEATS_S)
    assert late["beat_f"] == 1.0 and late["cemgil"] == pytest.approx(math.exp(-0.5), abs=1e-6)
    assert beat_scores(BEATS_S + 0.08, BEATS_S)["beat_f"] == 0.0
    half = beat_scores(BEATS_S[::2], BEATS_S)
    assert half["beat_f"] == pytest.approx(2 / 3)
    assert (half["tempo"], half["tempo_octave"]) == (0.0, 1.0)


def test_tempo_is_right_within_four_percent_and_one_skipped_beat_changes_nothing():
    assert tempo_bpm(BEATS_S) == pytest.approx(120)
    assert tempo_bpm(np.delete(BEATS_S, 5)) == pytest.approx(120)
    assert math.isnan(tempo_bpm(BEATS_S[:1]))
    for faster, right in ((1.0, 1), (1.03, 1), (1.05, 0), (0.97, 1), (0.95, 0)):
        assert beat_scores(BEATS_S / faster, BEATS_S)["tempo"] == right


def test_no_beats_score_nothing_and_no_true_beats_give_no_score():
    assert set(beat_scores(np.zeros(0), BEATS_S).values()) == {0.0}
    assert all(math.isnan(value) for value in beat_scores(BEATS_S, BEATS_S[:1]).values())
    assert len(beats_s(np.zeros(88200, np.float32))) == 0


def test_coverage_and_hit_as_later_work_reports_them():
    # Seconds with an onset: truth 0 and 2, generated 0, 1 and 3.
    truth, generated = np.array([0.2, 0.7, 2.1]), np.array([0.9, 1.0, 3.99])
    assert loris_scores(generated, truth, 4) == {"loris_cover": 1 / 3, "loris_hit": 1 / 2}
    assert loris_scores(np.zeros(0), truth, 4) == {"loris_cover": 0.0, "loris_hit": 0.0}
    row = loris_summary(np.array([0.5, 1.0]), np.array([0.0, 0.5]))
    assert row == pytest.approx(
        {"bcs": 0.75, "csd": math.sqrt(0.125), "bhs": 0.25, "hsd": math.sqrt(0.125), "f1": 0.375}
    )
    assert loris_summary(np.zeros(2), np.zeros(2))["f1"] == 0.0
    assert spread([1.0, math.nan, 3.0]) == pytest.approx(math.sqrt(2))
    assert math.isnan(spread([1.0]))


@pytest.fixture(scope="module")
def songs():
    """Six songs of 14 s with their beats: three genres, two tempos each."""
    from pipeline.sources.synthetic.music import compose

    return [compose(f"m{genre}{i}", 0, 14.0) for genre in ("HO", "PO", "KR") for i in (0, 3)]


def excerpt(song, start_s: float) -> np.ndarray:
    import soxr

    samples, _ = song.excerpt(start_s, 8.0)
    return soxr.resample(samples, 44100, SAMPLE_RATE_HZ)


def test_true_music_beats_other_music_and_lateness_is_punished_step_by_step(songs):
    def mean(late_s: float, turn: int) -> dict[str, float]:
        rows = []
        for i, song in enumerate(songs):
            other = songs[(i + turn) % len(songs)]
            beats = song.beat_times_s[(song.beat_times_s >= 3) & (song.beat_times_s < 11)] - 3
            music, truth = excerpt(other, 3 - late_s), excerpt(song, 3)
            onsets = {"onset_f": onset_f(onsets_s(music), onsets_s(truth))}
            rows.append(onsets | beat_scores(beats_s(music), beats))
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    true, late, later, other = mean(0, 0), mean(0.05, 0), mean(0.1, 0), mean(0, 2)
    for name in ("onset_f", "beat_f", "cemgil"):
        assert true[name] > late[name] > later[name]
        assert true[name] > other[name] + 0.3
    assert true["tempo_octave"] > other["tempo_octave"]
    assert later["tempo"] == true["tempo"]  # a tempo has no beginning


# --- dance and music -----------------------------------------------------------------------------


def test_the_beat_align_score_is_the_published_one():
    from scipy.signal import argrelextrema

    rng = np.random.default_rng(0)
    joints = rng.standard_normal((300, 24, 3)).cumsum(0).cumsum(0)
    speed = np.zeros(300)
    for frame in range(1, 300):
        speed[frame] = sum(
            np.linalg.norm(joints[frame, j] - joints[frame - 1, j]) for j in range(24)
        )
    frames = argrelextrema(speed, np.less, order=10)[0]
    assert len(frames) == 5
    dance_s = kinematic_beats_s(joints, 60)
    assert np.array_equal(np.round(dance_s * 60).astype(int), frames)
    music = np.sort(rng.choice(300, 12, replace=False))
    total = sum(math.exp(-(min(abs(m - k) for m in music) ** 2) / 2 / 3**2) for k in frames)
    assert beat_align(dance_s, music / 60) == pytest.approx(total / len(frames), rel=1e-12)


def test_beat_align_at_its_ends():
    beats = np.array([0.5, 1.0, 1.5])
    assert beat_align(beats, beats) == 1.0
    assert beat_align(beats, beats + 0.05) == pytest.approx(math.exp(-0.5))
    assert beat_align(beats, np.zeros(0)) == 0.0
    assert math.isnan(beat_align(np.zeros(0), beats))
    still = align_scores(np.zeros((120, 219)), 60, beats)
    assert all(math.isnan(value) for value in still.values())


def swing(frames: int, fps: float, period_s: float) -> np.ndarray:
    """Return how far (T,) an arm is that rests every half period: at 0, p / 2, p, ..."""
    return np.cos(2 * np.pi * np.arange(frames) / fps / period_s)


def test_kinematic_beats_of_two_dimensional_poses_ignore_unseen_joints():
    body = np.zeros((240, 25, 3))
    body[..., 0] = swing(240, 30, 1.0)[:, None] * np.linspace(0.1, 1, 25)
    body[..., 0] += 5  # far from (0, 0), where a joint lies that is not seen
    body[..., 2] = 0.9
    all_seen = kinematic_beats_s(*args(body))
    assert np.abs(all_seen - 0.5 * np.round(all_seen / 0.5)).max() <= 1 / 30 + 1e-9
    assert len(all_seen) >= 14
    hidden = body.copy()
    frame = np.arange(240)
    hidden[((frame + 4) % 15 < 8) & (frame % 2 == 0), 4] = 0  # a wrist flickers at each rest
    hidden[100] = 0
    found = kinematic_beats_s(*args(hidden))
    assert len(found) == len(all_seen) and np.abs(found - all_seen).max() <= 2 / 30
    naive = kinematic_beats_s(hidden[..., :2], 30)
    assert len(naive) != len(all_seen) or np.abs(naive - all_seen).max() > 2 / 30
    scores = align_scores(body.reshape(240, 75), 30, np.arange(0.5, 7.5, 0.5))
    assert scores["align"] > 0.7 and scores["align_back"] > 0.7


def args(body: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    joints, seen = joints_of(body.reshape(len(body), 75))
    return joints, 30.0, seen


def test_joints_of_a_stored_annotation_are_those_of_the_dancer(tmp_path):
    from pipeline.features.motion.smpl_rotations import load_motion
    from pipeline.sources.synthetic.body import OFFSETS_M, PARENTS
    from pipeline.sources.synthetic.dance import choreograph

    assert SMPL_PARENTS == PARENTS and np.array_equal(SMPL_OFFSETS_M, OFFSETS_M)
    beats = np.arange(-1.2, 9.5, 0.5)
    dance = choreograph("HO", beats, 480, np.random.default_rng(0))
    path = tmp_path / "dance.pkl"
    smpl = {"smpl_poses": dance.poses, "smpl_trans": 100 * dance.trans_m,
            "smpl_scaling": np.array([100.0])}  # fmt: skip
    path.write_bytes(pickle.dumps(smpl))
    motion = load_motion(path)
    joints, seen = joints_of(motion)
    assert np.abs(joints - dance.joints_m).max() < 1e-5 and seen.all()
    music = beats[(beats >= 0) & (beats < 8)]
    scores = align_scores(motion, 60, music)
    assert scores["align"] > 0.9
    assert align_scores(motion, 60, music + 0.25)["align"] < 0.1
    stored = align_scores(dance.joints_m.reshape(480, 72), 60, music)
    assert stored == pytest.approx(scores, abs=1e-3)
    with pytest.raises(ValueError, match=r"shape \(480, 200\).*219.*--motion smpl"):
        joints_of(motion[:, :200])


# --- distances -----------------------------------------------------------------------------------


def test_the_frechet_distance_of_normals_is_the_closed_form():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, 1)), 3 * rng.standard_normal((50, 1)) + 2
    by_hand = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet(a, b) == pytest.approx(by_hand, rel=1e-12)
    a = rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6))
    b = rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6)) + 1
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    textbook = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert frechet(a, b) == pytest.approx(textbook, rel=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_the_frechet_distance_holds_where_covariances_are_singular():
    rng = np.random.default_rng(0)
    few = np.concatenate([rng.standard_normal((5, 100)), np.zeros((5, 28))], 1)
    assert frechet(few, few) == pytest.approx(0, abs=1e-9)
    assert frechet(few, few + 2) == pytest.approx(4 * 128, rel=1e-9)
    for bad in (few[:1], few[0], np.full((3, 4), np.nan)):
        with pytest.raises(ValueError, match="two finite rows"):
            frechet(few, bad)


def test_the_two_kl_are_their_formulas():
    from scipy.special import softmax
    from scipy.stats import entropy

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 128)), rng.standard_normal((4, 128))
    expected = [entropy(softmax(x), softmax(y)) for x, y in zip(a, b, strict=True)]
    assert paired_kl(a, b) == pytest.approx(expected, rel=1e-10)
    assert paired_kl(a, a).max() == 0
    assert np.isfinite(paired_kl(1e4 * a, b)).all()
    with pytest.raises(ValueError, match="expected pairs"):
        paired_kl(a, b[:3])
    t, g = rng.standard_normal((30, 1)), 2 * rng.standard_normal((30, 1)) + 1
    (mt, vt), (mg, vg) = ((x.mean(), x.var(ddof=1)) for x in (t, g))
    by_hand = 0.5 * (vt / vg - 1 + (mg - mt) ** 2 / vg + math.log(vg / vt))
    assert feature_kl(t, g, floor=0) == pytest.approx(by_hand, rel=1e-12)
    assert feature_kl(t, t) == 0 and feature_kl(t, g) > 0
    assert np.isnan(feature_kl(np.ones((3, 2)), np.ones((3, 2))))


# --- genre ---------------------------------------------------------------------------------------

DATABASE = Database(
    np.array([[0.0, 0], [10, 0], [0, 10], [10, 10]]),
    ("BR", "PO", "LO", "BR"), ("a", "b", "c", "d"), 44100, "vggish",
)  # fmt: skip


def test_genre_accuracy_is_exactly_right_on_a_constructed_database():
    queries = np.array([[1.0, 1], [9, 1], [1, 6], [6, 9], [4, 5.5]])
    assert retrieve(DATABASE, queries).tolist() == [0, 1, 2, 3, 2]
    right = genre_right(DATABASE, queries, ["BR", "PO", "BR", "BR", "LO"], 44100, "vggish")
    assert right.tolist() == [True, True, False, True, True] and right.mean() == 0.8
    # The middle is as far from all four: the first counts.
    assert retrieve(DATABASE, np.array([[5.0, 5.0]])).tolist() == [0]
    without = retrieve(DATABASE, queries[:2], ["a", "x"])
    assert without.tolist() == [1, 1]


def test_distances_far_from_the_origin_lose_no_digits():
    far = Database(1e8 + np.arange(5.0)[:, None], tuple("abcde"), tuple("abcde"), 1, "x")
    assert retrieve(far, np.array([[1e8 + 3.4]])).tolist() == [3]


def test_what_is_not_alike_is_not_compared():
    query = np.zeros((1, 2))
    with pytest.raises(ValueError, match="88200 samples, database of 44100"):
        genre_right(DATABASE, query, ["BR"], 88200, "vggish")
    with pytest.raises(ValueError, match="by mel-statistics, database by vggish"):
        genre_right(DATABASE, query, ["BR"], 44100, "mel-statistics")
    with pytest.raises(ValueError, match="same width"):
        retrieve(DATABASE, np.zeros((1, 3)))
    alone = Database(query, ("BR",), ("a",), 44100, "x")
    assert retrieve(alone, query, ["a"]).tolist() == [-1]
    assert np.isnan(genre_right(alone, query, ["BR"], 44100, "x", ["a"])).all()
    assert np.isnan(genre_right(alone, query, ["no genre"], 44100, "x")).all()
    with pytest.raises(ValueError, match="not finite"):
        retrieve(DATABASE, np.array([[np.nan, 0]]))


def test_without_vggish_the_other_embedding_is_offered_by_name_and_never_taken(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"fetch vggish.*--embedding mel-statistics"):
        load_embedding()
    with pytest.raises(ValueError, match="expected one of vggish, mel-statistics"):
        load_embedding("mel")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / VGGISH_FILE).write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"SHA-256 is .* begins 10086976"):
        load_embedding("vggish")
    embedding = load_embedding("mel-statistics")
    assert embedding.name == "mel-statistics" and "not VGGish" in embedding.note
    music = pool()[2]
    assert embedding.clip(music).shape == (160,)
    assert not np.allclose(embedding.clip(music), embedding.clip(pool()[9]))


# --- codes, intervals, tests ---------------------------------------------------------------------


def test_code_accuracy_and_perplexity():
    codes, truth = np.array([[1, 2, 3, 4], [5, 5, 5, 5]]), np.array([[1, 2, 0, 0], [5, 5, 5, 5]])
    assert code_accuracy(codes, truth).tolist() == [0.5, 1.0]
    assert perplexity(truth[1], 8) == 1.0
    assert perplexity(np.arange(8).repeat(3), 8) == pytest.approx(8)
    assert perplexity(np.array([0, 0, 1, 2]), 8) == pytest.approx(2**1.5)
    with pytest.raises(ValueError, match=r"\(2, 4\) against \(2, 3\)"):
        code_accuracy(codes, truth[:, :3])
    with pytest.raises(ValueError, match="each from 0 to 4"):
        perplexity(codes, 5)


def test_intervals_of_means_and_of_any_figure():
    rng = np.random.default_rng(0)
    songs = np.repeat([f"s{i}" for i in range(40)], 5)
    values = np.repeat(rng.standard_normal(40), 5)
    mean = mean_interval(values, songs)
    assert mean.value == pytest.approx(values.mean()) and mean.groups == 40
    # The standard error of a mean of 40 songs is 0.16, not that of 200 clips.
    assert 0.4 < mean.high - mean.low < 0.8
    same = interval(lambda at: float(values[at].mean()), songs)
    assert (same.low, same.high) == pytest.approx((mean.low, mean.high), abs=0.05)
    deviation = interval(lambda at: spread(values[at]), songs)
    assert deviation.low < deviation.value < deviation.high
    assert mean.apart(mean_interval(values + 1, songs)) and not mean.apart(same)
    with pytest.raises(ValueError, match="1 groups"):
        interval(lambda at: 0.0, ["a", "a"])


def test_the_paired_test_counts_signs_of_songs():
    songs = ["a", "a", "b", "b", "c", "c"]
    assert sign_flip_p(np.ones(6), np.zeros(6), songs) == 2 / 8
    assert sign_flip_p(np.array([1, 1, 1, 1, -2, -2.0]), np.zeros(6), songs) == 1.0
    many = [f"s{i}" for i in range(20)]
    assert sign_flip_p(np.ones(20), np.zeros(20), many) < 1e-3
    assert sign_flip_p(np.full(20, 0.1), np.full(20, 0.1), many) == 1.0
    rng = np.random.default_rng(0)
    p = [sign_flip_p(rng.standard_normal(10), np.zeros(10), many[:10]) for _ in range(200)]
    assert 0.01 < np.mean(np.array(p) <= 0.05) < 0.1
    with pytest.raises(ValueError, match="6 pairs and 2 groups"):
        sign_flip_p(np.ones(6), np.zeros(6), ["a", "b"])


# --- all of them ---------------------------------------------------------------------------------


def test_no_measure_warns_of_plain_input():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        music = pool()[2]
        for heard in (music, np.zeros_like(music)):
            onset_f(onsets_s(heard), onsets_s(music))
            beat_scores(beats_s(heard), beats_s(music))
        beats_scores(np.zeros_like(music), music)
