"""Training a text-to-music model on files: resuming, what it writes, and what it refuses."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra `text`")

from text_models import HOP, TINY, TinyEncodec, write_songs
from transformers import AutoTokenizer, MusicgenForConditionalGeneration

from model.cli import main
from model.contract.segment import SAMPLE_RATE_HZ
from model.runtime.run_log import read_metrics
from model.runtime.signals import Interrupted
from model.text_to_music import train as training
from model.text_to_music.card import TITLES
from model.text_to_music.songs import codes_of, read_songs
from model.text_to_music.train import CHECKPOINT, train_text

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
         "tokenizer_config.json", "README.md")  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def songs(tmp_path):
    write_songs(tmp_path / "songs")
    return tmp_path / "songs"


def train(songs, out, config=TINY, resume=False, codec=None):
    return train_text(config, songs, songs / "captions.csv", codec or TinyEncodec(), out, resume)


@pytest.mark.long
def test_a_run_writes_a_model_that_transformers_loads_its_card_metrics_and_samples(songs, tmp_path):
    out = train(songs, tmp_path / "run")
    assert all((out / name).stat().st_size > 100 for name in FILES)
    assert len({(out / name).stat().st_mode for name in FILES}) == 1
    model = MusicgenForConditionalGeneration.from_pretrained(out, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(out, local_files_only=True)
    saved = torch.load(out / CHECKPOINT, weights_only=True)
    weights = dict(model.named_parameters())
    assert saved["step"] == 6 and all(
        torch.equal(weights[n], v) for n, v in saved["average"].items()
    )
    assert model.config.decoder.decoder_start_token_id == model.config.decoder.vocab_size
    assert tokenizer.unk_token_id not in tokenizer("house music, slow, drums, C minor")["input_ids"]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "For tests." in card and "at step 6" in card and "untrained codec" in card
    last = [row for row in read_metrics(out) if "held_out/bits" in row][-1]
    assert last["step"] == 6 and TITLES.keys() <= last.keys()
    assert all(0 < last[tag] < 6 for tag in TITLES)
    assert any(row.get("steps_per_s", 0) > 0 for row in read_metrics(out))
    heard = sorted(path.name for path in (out / "samples" / "step-0000006").iterdir())
    assert heard == ["s3.generated.wav", "s3.reconstruction.wav", "spectrograms.png"]
    assert not list(out.glob(".saving-*"))


@pytest.mark.long
def test_an_interrupted_run_goes_on_bit_for_bit(songs, tmp_path, monkeypatch):
    config = replace(TINY, dropout=0.1)
    train(songs, tmp_path / "whole", config)
    step = training.train_step

    def interrupted(state, *rest):
        if state.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(state, *rest)

    monkeypatch.setattr(training, "train_step", interrupted)
    with pytest.raises(Interrupted, match="step 4"):
        train(songs, tmp_path / "cut", config)
    monkeypatch.setattr(training, "train_step", step)
    train(songs, tmp_path / "cut", config, resume=True)
    whole, cut = (
        torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("whole", "cut")
    )
    assert whole["step"] == cut["step"] == 6
    for part in ("model", "average"):
        assert whole[part].keys() == cut[part].keys()
        assert all(torch.equal(value, cut[part][name]) for name, value in whole[part].items())
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]
    figures = [
        [{k: v for k, v in row.items() if k != "steps_per_s"} for row in read_metrics(tmp_path / n)]
        for n in ("whole", "cut")
    ]
    assert figures[0] == figures[1]


@pytest.mark.long
def test_a_run_resumes_only_with_its_own_settings_codec_and_captions(songs, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train(songs, out, resume=True)
    train(songs, out, replace(TINY, steps=1))
    with pytest.raises(FileExistsError, match="--resume"):
        train(songs, out)
    with pytest.raises(ValueError, match="batch was 2, is 3"):
        train(songs, out, replace(TINY, batch=3), resume=True)
    with pytest.raises(ValueError, match="another codec: tiny-0, not tiny-1"):
        train(songs, out, resume=True, codec=TinyEncodec(1))
    table = songs / "captions.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("slow", "fast"), encoding="utf-8")
    with pytest.raises(ValueError, match="other music or captions"):
        train(songs, out, resume=True)


def test_songs_are_encoded_once_and_matched_by_path_or_name(songs, tmp_path):
    class Counted(TinyEncodec):
        calls = 0

        def encode(self, audio, level):
            Counted.calls += 1
            return super().encode(audio, level)

    codec = Counted()
    first = read_songs(songs, songs / "captions.csv", codec, 40)
    assert Counted.calls == 4 and [s.name for s in first.held_out] == ["wav/s3.wav"]
    again = read_songs(songs / "wav", songs / "captions.csv", codec, 40)
    assert Counted.calls == 4
    for one, other in zip(first.train, again.train, strict=True):
        np.testing.assert_array_equal(one.codes, other.codes)
    (cached,) = {p.parent for p in (tmp_path / "cache").rglob("*.npy")}
    for path in cached.iterdir():
        path.write_bytes(b"damaged")
    np.testing.assert_array_equal(codes_of(songs / "wav" / "s0.wav", codec), first.train[0].codes)
    assert Counted.calls == 5


def test_music_and_captions_that_do_not_fit_are_told(songs, tmp_path, capsys):
    codec, table = TinyEncodec(), songs / "captions.csv"
    with pytest.raises(FileNotFoundError, match="--music"):
        read_songs(tmp_path / "none", table, codec, 40)
    with pytest.raises(ValueError, match=r"0 songs .*4 are shorter.*expected at least 2"):
        read_songs(songs, table, codec, 40_000)
    (songs / "wav" / "s0.wav").write_bytes(b"no music")
    assert len(read_songs(songs, table, codec, 40).train) == 2
    assert "s0.wav: not readable as music" in capsys.readouterr().err
    (songs / "wav" / "s1.wav").unlink()
    with pytest.raises(ValueError, match=r"wav/s1\.wav: no such file of music"):
        read_songs(songs, table, codec, 40)


def test_windows_of_training_lie_anywhere_and_are_the_songs_own(songs):
    found = read_songs(songs, songs / "captions.csv", TinyEncodec(), 40)
    codes, captions = found.batch(np.random.default_rng(0), 50, 40)
    assert codes.shape == (50, 4, 40)
    by_text = {}
    for window, caption in zip(codes.numpy(), captions, strict=True):
        inside = [
            i for song in found.train if song.caption == caption
            for i in range(song.codes.shape[1] - 39) if (song.codes[:, i : i + 40] == window).all()
        ]  # fmt: skip
        assert inside
        by_text.setdefault(caption.text, set()).add(inside[0])
    assert len(by_text) == 3 and all(len(places) > 5 for places in by_text.values())
    held, texts = found.windows(40, 2)
    assert len(held) == len(texts) <= 2


@pytest.mark.long
def test_windows_are_told_their_own_beats_in_words_that_the_model_knows(songs, tmp_path):
    table = songs / "captions.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    beats = " ".join(f"{0.3 * number:.1f}" for number in range(7))
    timed = ["file,caption,beats", *(f"{line},{beats}" for line in lines[1:])]
    plain = read_songs(songs, table, TinyEncodec(), 40)
    table.write_text("\n".join(timed), encoding="utf-8")
    found = read_songs(songs, table, TinyEncodec(), 40)
    assert found.fingerprint != plain.fingerprint and found.step_s == HOP / SAMPLE_RATE_HZ
    codes, captions = found.batch(np.random.default_rng(0), 20, 40)
    for window, caption in zip(codes.numpy(), captions, strict=True):
        (song,) = (each for each in found.train if caption.text.startswith(each.caption.text))
        places = [i for i in range(song.codes.shape[1] - 39)
                  if (song.codes[:, i : i + 40] == window).all()]  # fmt: skip
        assert any(
            caption == song.caption.at(place * found.step_s, 40 * found.step_s) for place in places
        )
    assert len({caption.tempo for caption in captions}) > 6
    out = train(songs, tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(out, local_files_only=True)
    assert tokenizer.unk_token_id not in tokenizer("beats at 0ms 400ms 960ms")["input_ids"]
    (last,) = [row for row in read_metrics(out) if "held_out/bits" in row][-1:]
    assert "held_out/bits_untimed" in last


@pytest.mark.long
def test_a_run_begins_with_the_weights_of_another_and_with_its_words(songs, tmp_path):
    first = train(songs, tmp_path / "first", replace(TINY, steps=1))
    table = songs / "captions.csv"
    text = table.read_text(encoding="utf-8").replace("drums", "accordion")
    table.write_text(text, encoding="utf-8")
    still = replace(TINY, steps=1, lr=1e-12)
    out = train_text(still, songs, table, TinyEncodec(), tmp_path / "next", init=first)
    loaded = [MusicgenForConditionalGeneration.from_pretrained(each) for each in (first, out)]
    words = [AutoTokenizer.from_pretrained(each).get_vocab() for each in (first, out)]
    before, after = (dict(model.named_parameters()) for model in loaded)
    table_of_words = "text_encoder.shared.weight"
    for name in before.keys() - {table_of_words}:
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)
    for word in ("slow", "house", "*"):
        torch.testing.assert_close(
            after[table_of_words][words[1][word]], before[table_of_words][words[0][word]],
            atol=1e-6, rtol=0,
        )  # fmt: skip
    assert "accordion" in words[1] and "accordion" not in words[0]
    for other in ({"width": 32}, {"inner_width": 64}):
        with pytest.raises(ValueError, match="does not fit; begin with a model of the same"):
            train_text(
                replace(still, **other), songs, table, TinyEncodec(), tmp_path / "other", init=first
            )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "stps=1"], 2, "did you mean 'steps'"),
        (["--set", "width=161"], 2, "width is 161"),
        (["--codec", "encodek:x"], 1, "encodek:x"),
    ],
)
def test_the_command_refuses_what_it_cannot_train(
    songs, tmp_path, capsys, arguments, code, message
):
    given = ["--music", str(songs), "--captions", str(songs / "captions.csv"), "--codec", "demo"]
    with pytest.raises(SystemExit) as refused:
        main(["train-text", *given, "--out", str(tmp_path / "run"), *arguments])
    assert refused.value.code == code
    assert message in capsys.readouterr().err
