"""Beats of the training music, said in the base model's own words for times."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from music_models import small_musicgen, tokenizer, write_musicgen
from training_runs import command

from model.codecs.base import load_codec
from model.contract.kinds import INVERSION
from model.contract.segment import SAMPLE_RATE_HZ
from model.fake_dataset import write_fake_dataset
from model.families.inversion import family
from model.families.inversion.base_model import TextToMusic
from model.families.inversion.rhythm import FPS
from model.families.inversion.times import beats_as_rhythm, times_of, word_of
from model.runtime.run_log import read_metrics

PROMPT = ("a", "@", "music", "with", "*", "as", "the", "rhythm")
TIMES = tuple(f"{ms}ms" for ms in range(0, 2001, 40))


@pytest.fixture(scope="module")
def base() -> TextToMusic:
    return TextToMusic(small_musicgen(), tokenizer((*PROMPT, *TIMES)), "small")


def test_each_value_of_a_rhythm_has_the_word_of_its_time(base):
    times, table = times_of(base, 118), base.model.text_encoder.shared.weight
    known = base.tokenizer.get_vocab()
    assert times.shape == (118, 32)
    for value, name in ((0, "0ms"), (11, "200ms"), (59, "1000ms"), (117, "1960ms")):
        assert torch.equal(times[value], table[known[name]])
    with pytest.raises(ValueError, match="small: no word for '2040ms', and hear_beats is not 0"):
        times_of(base, 122)


def test_the_word_of_a_rhythm_is_as_large_as_one_time_and_like_all_of_its_times(base):
    times = times_of(base, 118)
    rhythms = torch.zeros(2, 118)
    rhythms[0, 20] = rhythms[1, [5, 50, 100]] = 1
    one, three = word_of(rhythms, times)
    alike = torch.cosine_similarity(one[None], times)
    assert alike.argmax() in (19, 20, 21)
    own = torch.cosine_similarity(three[None], times)
    assert own[[5, 50, 100]].min() > 0.3 > own.mean()
    assert 0.9 < one.norm() / times.norm(dim=1).mean() < 1.2
    assert 0.9 < three.norm() / one.norm() < 1.1
    assert word_of(torch.zeros(1, 118), times).isfinite().all()


def test_beats_of_music_become_ones_of_a_rhythm():
    audio, period = np.zeros(SAMPLE_RATE_HZ * 5, np.float32), SAMPLE_RATE_HZ // 2
    for start in range(SAMPLE_RATE_HZ // 4, len(audio) - 900, period):
        audio[start : start + 900] = np.random.default_rng(0).normal(0, 0.3, 900)
    found = np.flatnonzero(beats_as_rhythm(audio, 298).numpy())
    assert 7 <= len(found) <= 10
    wanted = (0.25 + 0.5 * np.arange(10)) * FPS
    assert np.abs(found[:, None] - wanted).min(1).max() < 4
    assert not beats_as_rhythm(np.zeros(SAMPLE_RATE_HZ, np.float32), 58).any()


@pytest.mark.long
def test_training_shows_the_beats_of_each_segment_and_hears_it_once(tmp_path, monkeypatch):
    base = write_musicgen(tmp_path / "base", words=(*PROMPT, *TIMES))
    source, videos = f"encodec:{base}", {"train": 2, "val": 1}
    write_fake_dataset(
        tmp_path / "shards", load_codec(source), source, videos, segments=2, motion=(60, 75),
        visual_windows=None,
    )  # fmt: skip
    heard = []

    def counted(audio, values):
        heard.append(len(audio))
        return beats_as_rhythm(audio, values)

    monkeypatch.setattr(family, "beats_as_rhythm", counted)
    common = (
        "train", "--family", INVERSION, "--preset", "tiny", "--device", "cpu", "--base", base,
        "--shards", tmp_path / "shards",
        *(part for each in ("width=32", "batch_size=2", "log_every=1", "max_steps=4",
                            "sample_every=9", "val_sound_segments=1", "shuffle_segments=4")
          for part in ("--set", each)),
    )  # fmt: skip
    shown = tmp_path / "shown"
    assert command(*common, "--out", shown, "--set", "hear_beats=2") == 0
    assert len(heard) == 4, "four segments, two times each"
    assert command(*common, "--out", tmp_path / "not") == 0
    assert len(heard) == 4
    for run, more in ((shown, True), (tmp_path / "not", False)):
        rows = [row for row in read_metrics(run) if "loss/total" in row]
        nats = [row["bits/encodec"] * np.log(2) for row in rows]
        assert all((row["loss/total"] > n + 0.1) == more for row, n in zip(rows, nats, strict=True))


def test_a_base_without_words_for_times_is_refused(tmp_path, capsys):
    base = write_musicgen(tmp_path / "base")
    source = f"encodec:{base}"
    write_fake_dataset(
        tmp_path / "shards", load_codec(source), source, {"train": 2, "val": 1}, segments=2,
        motion=(60, 75), visual_windows=None,
    )  # fmt: skip
    arguments = ("--shards", tmp_path / "shards", "--base", base, "--out", tmp_path / "run")
    assert command("train", "--family", INVERSION, *arguments, "--set", "hear_beats=1") == 1
    assert "no word for '0ms', and hear_beats is not 0" in capsys.readouterr().err
