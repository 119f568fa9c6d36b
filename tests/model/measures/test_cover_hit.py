"""Cover and hit, as the authors' tool computes them: equal to a second implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from music_pool import pool

from model.measures.beats import beats_scores, mean_scores, onset_scores


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


def same_to_the_bit(clips: list[np.ndarray], pairs: int) -> tuple[int, list[tuple[float, float]]]:
    """Compare random pairs; return how many had a score, and the scores by the definition."""
    rng, flags, scored = np.random.default_rng(1), [flags_by_definition(c) for c in clips], []
    ours = []
    tried = 0
    while tried < pairs:
        a, b = rng.integers(len(clips), size=2)
        if len(flags[a]) != len(flags[b]):
            with pytest.raises(ValueError, match="same length in seconds, rounded up"):
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


@pytest.mark.long
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
