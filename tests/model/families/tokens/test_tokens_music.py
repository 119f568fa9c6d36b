"""Music without dances: read, encoded once, drawn, learnt from; and the style of a piece."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from token_models import SMALL, small_codes, small_inputs, small_model
from training_runs import command

from model.codecs.base import load_codec
from model.codecs.jukebox import random_codec, write_weights
from model.fake_dataset import write_fake_dataset
from model.families.tokens.conditions import KnownMusic
from model.families.tokens.config import Config
from model.families.tokens.family import Tokens
from model.families.tokens.music import Music, Piece, load_music, rise_of
from model.families.tokens.onsets import OnsetStrength, strength
from model.generation.generate import generate
from model.generation.run import load_run
from model.runtime.checkpoint import LAST, read_checkpoint
from model.runtime.run_log import read_metrics
from model.runtime.settings import load
from model.runtime.signals import Interrupted
from model.training.loop import train

FAST = (*SMALL, "position_samples=1024")
COUNTS, PATCHES, WINDOW = {"high": 8, "low": 32}, {"high": 1, "low": 4}, 9


def tone(seconds: float, hz: float, rate_hz: int = 22_050) -> np.ndarray:
    """Return a tone that is struck twice a second."""
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    return (np.sin(2 * np.pi * hz * time) * np.exp(-6 * (time % 0.5))).astype(np.float32)


@pytest.fixture
def songs(tmp_path, monkeypatch) -> Path:
    """A folder with a mono and a stereo song, a short one, and a file that is no music."""
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "songs"
    (folder / "more").mkdir(parents=True)
    soundfile.write(folder / "a.wav", 0.3 * tone(3, 220), 22_050)
    stereo = np.stack([tone(4, 330, 44_100), tone(4, 440, 44_100)], 1)
    soundfile.write(folder / "more" / "b.flac", stereo, 44_100)
    soundfile.write(folder / "short.wav", tone(0.5, 220), 22_050)
    (folder / "broken.wav").write_bytes(b"RIFF, but no more")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("world")
    untrained = random_codec()
    write_weights(root / "codec.safetensors", untrained.model, "random", untrained.note)
    codec = load_codec(root / "codec.safetensors")
    source = str(root / "codec.safetensors")
    write_fake_dataset(root / "shards", codec, source, videos={"train": 2, "test": 1}, segments=2)
    return root


def config_of(*settings: str) -> Config:
    return load(Config(), [*FAST, *settings], None, "tiny", Tokens.PRESETS)


def pieces() -> list[Piece]:
    """Return three pieces whose codes are their positions; the last is shorter than a segment."""
    lengths = (20, 11, 5)
    return [
        Piece(
            {
                "high": np.arange(length, dtype=np.uint16) + 100 * i,
                "low": np.arange(4 * length, dtype=np.uint16) + 400 * i,
            },
            np.arange(length, dtype=np.float32) + 1,
        )
        for i, length in enumerate(lengths)
    ]


# --- reading and drawing -------------------------------------------------------------------------


def test_segments_begin_anywhere_with_all_levels_at_the_same_place():
    music = Music(pieces(), COUNTS, PATCHES, WINDOW)
    assert len(music.pieces) == 2 and music.left_out == 1 and music.positions == 31
    torch.manual_seed(0)
    drawn = music.draw(300, torch.device("cpu"))
    first = drawn.codes["high"][:, 0]
    assert torch.equal(drawn.codes["high"], first[:, None] + torch.arange(8))
    assert torch.equal(drawn.codes["low"], 4 * first[:, None] + torch.arange(32))
    # A segment has 9 positions, so that 20 and 11 positions have 12 and 3 places.
    assert set(first.tolist()) == {*range(12), *range(100, 103)}
    start = torch.where(first >= 100, first - 100, first)
    expected = (start[:, None] + 1 + torch.arange(9)) / (start[:, None] + 9)
    assert torch.allclose(drawn.onsets, expected.float())
    torch.manual_seed(0)
    assert torch.equal(music.draw(300, torch.device("cpu")).codes["high"], drawn.codes["high"])


def test_the_rise_of_a_long_sound_does_not_depend_on_its_parts():
    torch.manual_seed(0)
    audio, onsets = torch.randn(1, 5000 * 128 + 50) * 0.1, OnsetStrength(128)
    whole = onsets.rise(audio, 5001)[0]
    assert np.allclose(rise_of(audio, onsets), whole, atol=1e-5)
    found = strength(whole[None, :100])
    assert found.max() == 1 and torch.equal(found, whole[None, :100] / whole[:100].max())


def test_a_folder_is_encoded_once_and_every_file_is_accounted_for(songs, capsys, monkeypatch):
    model = small_model("position_samples=1024", samples=44_100)
    counts = {name: model.codec.steps(44_100, name) for name in model.levels}
    found = load_music(str(songs), model.codec, model.network, counts)
    output = capsys.readouterr()
    assert "2 pieces, 0 minutes (1 too short for a segment, 1 not readable)" in output.out
    assert "broken.wav: not readable as music" in output.err
    a, b = found.pieces
    assert len(a.codes["high"]) == 3 * 22_050 // 128 and len(b.codes["low"]) == 4 * 22_050 // 32
    peak = torch.from_numpy(tone(3, 220))[None]
    expected = model.codec.encode(peak * (0.95 / peak.abs().max()), "high")[0]
    assert np.mean(a.codes["high"] == expected.numpy()) > 0.95  # the file has 16 bits

    def no_encoding(*_):
        raise AssertionError("encoded again")

    monkeypatch.setattr(model.codec, "encode", no_encoding)
    (songs / "short.wav").unlink()
    (songs / "a.wav").rename(songs / "z.wav")
    again = load_music(str(songs), model.codec, model.network, counts)
    assert {len(p.rise) for p in again.pieces} == {len(p.rise) for p in found.pieces}


def test_a_damaged_file_of_the_cache_is_made_anew(songs, tmp_path):
    model = small_model("position_samples=1024", samples=44_100)
    counts = {name: model.codec.steps(44_100, name) for name in model.levels}
    found = load_music(str(songs), model.codec, model.network, counts)
    for path in (tmp_path / "cache").rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    again = load_music(str(songs), model.codec, model.network, counts)
    assert again.fingerprint == found.fingerprint


def test_a_folder_without_music_is_an_error_that_says_what_to_give(tmp_path):
    model = small_model("position_samples=1024", samples=44_100)
    (tmp_path / "notes.txt").write_bytes(b"no music")
    with pytest.raises(ValueError, match=r"no music of at least a segment's length; .*--music"):
        load_music(str(tmp_path), model.codec, model.network, {"high": 344, "low": 1378})
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_music(str(tmp_path / "x"), model.codec, model.network, {"high": 344, "low": 1378})


def test_the_music_of_shards_is_their_training_segments(world, capsys):
    root = world / "shards"
    codec = load_codec(world / "codec.safetensors")
    model = small_model("position_samples=1024", samples=44_100)
    counts = {name: codec.steps(44_100, name) for name in ("high", "low")}
    found = load_music(str(root), codec, model.network, counts)
    assert len(found.pieces) == 4 and "4 pieces" in capsys.readouterr().out
    assert [len(piece.codes["low"]) for piece in found.pieces] == [1378] * 4


# --- training ------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_run_learns_from_music_too_and_resumes_with_the_same_bits(
    world, songs, tmp_path, monkeypatch
):
    root, whole, broken = world / "shards", tmp_path / "whole", tmp_path / "broken"
    words = [part for setting in FAST for part in ("--set", setting)]
    given = ("--family", "tokens", "--preset", "tiny", "--device", "cpu", "--music", songs, *words)
    assert command("train", "--shards", root, "--out", whole, *given) == 0
    assert all(np.isfinite(row["loss/total"]) for row in read_metrics(whole) if "rate" in row)
    step, taken = Tokens.step, []

    def stepped(model, batch):
        taken.append(batch)
        if len(taken) == 6:
            raise Interrupted("as killed after its last checkpoint")
        return step(model, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Tokens, "step", stepped)
        with pytest.raises(Interrupted):
            train(root, broken, config_of(f"music={songs}"), family="tokens")
    assert read_checkpoint(broken / LAST)["step"] == 4
    train(root, broken, config_of(f"music={songs}"), resume=True, family="tokens")
    first, second = read_checkpoint(whole / LAST), read_checkpoint(broken / LAST)
    for name, weight in first["trained"].items():
        assert torch.equal(weight, second["trained"][name]), name
    assert first["progress"]["music"] == second["progress"]["music"] != ""

    (songs / "a.wav").unlink()
    with pytest.raises(ValueError, match="not the music that the run was begun with"):
        train(root, broken, config_of(f"music={songs}"), resume=True, family="tokens")


def test_music_joins_the_segments_with_dances_in_the_share_that_is_set():
    for share, more in ((0.0, 0), (0.5, 2), (0.6, 3)):
        model = small_model(f"music_share={share}", training=True)
        model.music = Music(pieces(), COUNTS, PATCHES, WINDOW)
        codes = {name: each[:, : COUNTS[name]] for name, each in small_codes().items()}
        joined, onsets = model.with_music(codes, torch.zeros(2, WINDOW))
        assert len(joined["high"]) == len(joined["low"]) == len(onsets) == 2 + more
        assert torch.equal(joined["low"][:2], codes["low"])


def test_other_families_learn_from_dances_only(world, songs, tmp_path, capsys):
    given = ("--shards", world / "shards", "--out", tmp_path / "run", "--music", songs)
    assert command("train", *given) == 2
    assert "--family tokens also learns from music without dances" in capsys.readouterr().err


# --- the condition -------------------------------------------------------------------------------


@torch.no_grad()
def test_a_segment_without_a_dance_has_the_null_condition():
    encoder = small_model().network.encoder
    both = encoder(small_inputs(), 3, 32).values
    assert torch.equal(both[2], encoder({}, 1, 32).values[0])
    assert torch.equal(both[:2], encoder(small_inputs(), 2, 32).values)


@torch.no_grad()
def test_what_is_known_of_music_counts_only_where_it_is_told():
    network = small_model().network
    style = network.style(small_codes(3))
    assert style.shape == (3, 2 * 2 * 64)
    onsets, no, one = torch.rand(3, 32), torch.zeros(3, dtype=torch.bool), torch.arange(3) == 1
    plain = network.condition(small_inputs(3), 3, 32).values

    def told(styled: torch.Tensor, hears: torch.Tensor) -> torch.Tensor:
        known = KnownMusic(style, styled, onsets, hears)
        return network.condition(small_inputs(3), 3, 32, music=known).values

    assert torch.equal(told(no, no), plain)
    for found in (told(one, no), told(no, one)):
        same = [torch.equal(a, b) for a, b in zip(found, plain, strict=True)]
        assert same == [True, False, True]


def test_only_music_without_a_dance_is_heard():
    model = small_model("hear_onsets=0.99", "drop_style=0", training=True)
    torch.manual_seed(0)
    known = model.known(small_codes(40), torch.rand(40, 32), pairs=20)
    assert not known.hears[:20].any() and known.hears[20:].sum() >= 18
    assert known.styled.all()
    assert known.onsets is not None and known.onsets.shape == (40, 32)


# --- the style -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "plain"
    train(world / "shards", folder, config_of("max_steps=2", "val_every=9"), family="tokens")
    return folder


@pytest.mark.slow
def test_the_style_of_a_song_is_followed_and_recorded(run, world, songs, tmp_path, capsys):
    def music(name: str, *more) -> bytes:
        given = ("--run", run, "--shards", world / "shards", "--out", tmp_path / name)
        assert command("generate", *given, *more) == 0
        return (tmp_path / name / "test0.wav").read_bytes()

    # Weights that were hardly trained hardly listen: make the style louder.
    plain = music("plain")
    assert music("same", "--style", songs / "a.wav") == music("again", "--style", songs / "a.wav")
    summary = json.loads((tmp_path / "same" / "generated.json").read_bytes())
    assert summary["options"]["style"] == str(songs / "a.wav")
    assert plain
    loaded = load_run(run)
    with torch.no_grad():
        loaded.model.network.encoder.style.weight.mul_(100)
    for name in ("a.wav", "more/b.flac"):
        generate(
            loaded,
            tmp_path / name[0],
            shards=world / "shards",
            options={"style": str(songs / name)},
        )
    found = [(tmp_path / name / "test0.wav").read_bytes() for name in ("a", "m")]
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("short.wav", "0.50 s of music; expected at least 2 s"),
        ("broken.wav", "not readable as music"),
        ("missing.wav", "no such file of music"),
    ],
)
def test_a_style_that_cannot_be_heard_is_refused(run, world, songs, tmp_path, capsys, name, words):
    given = ("--run", run, "--shards", world / "shards", "--out", tmp_path / "out")
    assert command("generate", *given, "--style", songs / name) == 1
    assert words in capsys.readouterr().err


def test_a_run_that_was_trained_without_styles_refuses_one(songs):
    model = small_model("use_style=false", samples=44_100)
    with pytest.raises(ValueError, match="trained without"):
        model.generate(small_inputs(), {"high": 8, "low": 32}, model.Options(style="a.wav"))
