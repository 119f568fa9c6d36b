"""New music for a part of a video: which codes change, what is refused, the complete command."""

from __future__ import annotations

import json
import re
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from builds import clip, motion_file, options
from masked_models import SMALL
from training_runs import command

from model.codecs.base import load_codec
from model.codecs.jukebox import random_codec, write_weights
from model.contract.dataset import load_dataset
from model.contract.exit_codes import UsageError
from model.contract.segment import SAMPLE_RATE_HZ
from model.data.pieces import Piece
from model.fake_dataset import write_fake_dataset
from model.families.masked.config import Config
from model.generation.generate import read_pieces
from model.generation.inpaint import (
    Replacement,
    check_fits,
    codes_of,
    inpainted,
    inside,
    parse_spans,
    replacement,
)
from model.generation.run import load_run
from model.runtime.settings import load
from model.training.loop import train
from pipeline.build import build

FEW = (*SMALL, "position_samples=1024", "max_steps=1", "val_every=9", "sample_every=9")


def codec_file(folder: Path) -> Path:
    untrained = random_codec()
    path = folder / "codec.safetensors"
    write_weights(path, untrained.model, "random", untrained.note)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, Path]:
    """Return shards, and a run of both levels."""
    folder = tmp_path_factory.mktemp("world")
    codec, root = codec_file(folder), folder / "shards"
    videos = {"train": 2, "val": 1, "test": 1}
    write_fake_dataset(root, load_codec(codec), str(codec), videos=videos, segments=2)
    config = load(Config(), [*FEW, "level=both"], None, "tiny", {"tiny": {}})
    train(root, folder / "run", config, family="masked")
    return root, folder / "run"


def tone(seconds: float, peak: float = 0.3) -> np.ndarray:
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (peak * np.sin(2 * np.pi * 220 * time_s)).astype(np.float32)


def piece_of(start_s: float, segments: int) -> Piece:
    return Piece("a", 1, segments, start_s, "", {})


# --- spans ---------------------------------------------------------------------------------------


def test_spans_come_as_lists_and_one_by_one():
    assert parse_spans(["3.0-5.0"]) == ((3.0, 5.0),)
    assert parse_spans(["0-1, 2-3.5", "7-8"]) == ((0.0, 1.0), (2.0, 3.5), (7.0, 8.0))


@pytest.mark.parametrize(
    "text", ["5-3", "3", "3-", "-3-5", "a-b", "3-3", "nan-5", "3-inf", "", "1-2-3"]
)
def test_spans_that_cannot_be_meant_are_refused_with_an_example(text):
    with pytest.raises(UsageError, match=r"expected START-END in seconds.*such as 3\.0-5\.0"):
        parse_spans([text])


def test_a_code_is_replaced_if_its_middle_is_in_a_span():
    hop = SAMPLE_RATE_HZ / 10  # ten codes a second
    found = inside([(0.3, 0.5), (0.94, 2.0)], 10, hop)
    assert found.nonzero()[:, 0].tolist() == [3, 4, 9]
    assert inside([(0.36, 0.44)], 10, hop).sum() == 0


# --- what is kept --------------------------------------------------------------------------------


@pytest.mark.long
@torch.no_grad()
def test_codes_outside_the_spans_are_exactly_those_of_the_music(world, monkeypatch):
    run = load_run(world[1])
    (piece,) = read_pieces(world[0], run, load_dataset(world[0]), "test")
    music = tone(4.0)
    kept, made = {}, {}
    plain = run.model.inpaint

    def spied(inputs, codes, replaced, options):
        kept.update(codes)
        found = plain(inputs, codes, replaced, options)
        made.update(found)
        made["replaced"] = replaced
        return found

    monkeypatch.setattr(run.model, "inpaint", spied)
    wanted = Replacement(Path("a.wav"), music, ((1.0, 1.5), (3.0, 3.2)))
    options = run.model.Options(steps=(4,))
    audio = inpainted(run, piece, wanted, options)
    assert audio.shape == (4 * SAMPLE_RATE_HZ,) and audio.isfinite().all()
    for level in ("high", "low"):
        replaced = made["replaced"][level]
        seconds = replaced.sum() * run.codec.level(level).hop / SAMPLE_RATE_HZ
        assert float(seconds) == pytest.approx(0.7, abs=0.01)
        assert torch.equal(made[level][:, ~replaced], kept[level][:, ~replaced])
        assert (made[level][:, replaced] != kept[level][:, replaced]).any()


@pytest.mark.long
@torch.no_grad()
def test_what_is_kept_sounds_as_loud_as_the_music_that_was_given(world):
    """The codec hears music at the level of the shards: twice as loud, the codes are the same."""
    run = load_run(world[1])
    (piece,) = read_pieces(world[0], run, load_dataset(world[0]), "test")
    made = []
    for gain in (1.0, 2.0):
        torch.manual_seed(0)
        wanted = Replacement(Path("a.wav"), gain * tone(4.0, 0.2), ((1.0, 1.5),))
        made.append(inpainted(run, piece, wanted, run.model.Options(steps=(4,))))
    torch.testing.assert_close(made[1], 2 * made[0], rtol=1e-3, atol=1e-3)


@pytest.mark.long
def test_all_levels_have_as_many_codes_as_generated_music(world):
    run = load_run(world[1])
    found = codes_of(run, tone(2.0))
    assert found["high"].shape == (1, 345) and found["low"].shape == (1, 1379)
    silent = codes_of(run, np.zeros(44_100, np.float32))
    assert silent["low"].shape == found["low"].shape


# --- what is refused -----------------------------------------------------------------------------


def test_music_as_long_as_the_dance_fits_and_small_differences_are_reported(capsys):
    pieces = [piece_of(0.0, 2)]
    for seconds, said in ((4.0, ""), (3.8, "0.20 s of silence added"), (5.5, "the last 1.50 s")):
        check_fits(Replacement(Path("a.wav"), tone(seconds), ((1.0, 2.0),)), pieces, 2.0)
        assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "span", "words"),
    [
        (2.0, (0.0, 1.0), "lasts 2.00 s, but the dance in the video is known until 8.00 s"),
        (30.0, (0.0, 1.0), "lasts 30.00 s, but the dance in the video is known until 8.00 s"),
        (8.0, (7.0, 9.0), "a.wav lasts 8.00 s; choose a span inside it"),
        (7.7, (7.0, 7.9), "a.wav lasts 7.70 s; choose a span inside it"),
        (9.0, (7.0, 8.5), "the dance is known at 0.00-4.00, 6.00-8.00 s"),
        (8.0, (3.5, 6.5), "the dance is known at 0.00-4.00, 6.00-8.00 s"),
    ],
)
def test_other_music_and_spans_outside_are_refused_with_what_would_fit(seconds, span, words):
    pieces = [piece_of(0.0, 2), piece_of(6.0, 1)]
    with pytest.raises(ValueError, match=re.escape(words)):
        check_fits(Replacement(Path("a.wav"), tone(seconds), (span,)), pieces, 2.0)


@pytest.mark.long
def test_half_of_what_is_needed_is_refused_with_the_other_half(world, tmp_path):
    run = load_run(world[1])
    soundfile.write(tmp_path / "a.wav", tone(4.0), SAMPLE_RATE_HZ)
    assert replacement(run, [], None, True) is None
    with pytest.raises(UsageError, match=r"say which part, in seconds, with --replace START-END"):
        replacement(run, [], tmp_path / "a.wav", True)
    with pytest.raises(UsageError, match="give it with --music FILE"):
        replacement(run, ["1-2"], None, True)
    with pytest.raises(UsageError, match="give --video, not --shards"):
        replacement(run, ["1-2"], tmp_path / "a.wav", False)
    with pytest.raises(FileNotFoundError, match="no such file of music"):
        replacement(run, ["1-2"], tmp_path / "b.wav", True)
    (tmp_path / "c.wav").write_text("no music", encoding="utf-8")
    with pytest.raises(ValueError, match=r"not readable as music .*; give a wav, flac"):
        replacement(run, ["1-2"], tmp_path / "c.wav", True)
    monaural = replacement(run, ["1-2"], tmp_path / "a.wav", True)
    assert monaural.music.shape == (4 * SAMPLE_RATE_HZ,)


@pytest.mark.long
def test_a_family_that_cannot_keep_music_names_one_that_can(world, tmp_path, capsys, monkeypatch):
    kind = type(load_run(world[1]).model)
    monkeypatch.setattr(kind, "inpaints", False)
    soundfile.write(tmp_path / "a.wav", tone(4.0), SAMPLE_RATE_HZ)
    given = ("--run", world[1], "--video", "x.mp4", "--out", tmp_path, "--replace", "1-2")
    assert command("generate", *given, "--music", tmp_path / "a.wav") == 1
    assert "--family masked" in capsys.readouterr().err


# --- the complete chain --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_part_of_the_music_of_a_video_is_replaced_in_one_command(tmp_path, capsys):
    source = tmp_path / "videos"
    for name in ("a", "b"):
        clip(source / f"{name}.mp4")
        motion_file(source / f"{name}.pkl", 252)
    codec = codec_file(tmp_path)
    build(options(source, tmp_path / "shards", motion="smpl", codec=str(codec)))
    words = [part for setting in FEW for part in ("--set", setting)]
    more = ("--family", "masked", "--preset", "tiny", "--device", "cpu", "--out", tmp_path / "run")
    assert command("train", "--shards", tmp_path / "shards", *more, *words,
                   "--set", "use_genre=false") == 0  # fmt: skip
    stereo = np.stack([tone(4.3), tone(4.3)], 1)
    soundfile.write(tmp_path / "song.wav", stereo, SAMPLE_RATE_HZ)
    given = ("--run", tmp_path / "run", "--video", source / "a.mp4", "--out", tmp_path / "music",
             "--music", tmp_path / "song.wav", "--set", "steps=4")  # fmt: skip
    assert command("generate", *given, "--replace", "1-2", "--replace", "3-3.5") == 0
    assert "song.wav: the last 0.30 s are left out" in capsys.readouterr().out
    with wave.open(str(tmp_path / "music" / "a.wav")) as file:
        assert file.getnframes() == 4 * SAMPLE_RATE_HZ
    assert (tmp_path / "music" / "a.mp4").is_file()
    summary = json.loads((tmp_path / "music" / "generated.json").read_bytes())
    assert summary["replaced_s"] == [[1.0, 2.0], [3.0, 3.5]]
    assert summary["music"].endswith("song.wav")
    assert command("generate", *given, "--replace", "5-6") == 1
    assert "choose a span inside it" in capsys.readouterr().err
