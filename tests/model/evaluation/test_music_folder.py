"""`model evaluate --music NAME=FOLDER`: the music of any system is read, counted and scored."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from training_runs import command

from model.codecs.base import load_codec
from model.contract.dataset import load_dataset
from model.contract.segment import SAMPLE_RATE_HZ
from model.data.clips import Clip, read_clips
from model.data.pieces import Piece
from model.data.source import Source
from model.evaluation.evaluate import load
from model.evaluation.music_folder import fitted, hear
from model.evaluation.scored import spread_out
from model.evaluation.subject import MusicFolder
from model.fake_dataset import write_fake_dataset
from model.families.d2m_gan.config import load_config
from model.training.loop import train

SMALL = (
    "channels=16", "min_channels=8", "motion_channels=8", "visual_channels=8", "batch_size=2",
    "d_first_stride=16", "val_segments=1", "sample_segments=1", "max_steps=1",
    "val_every=1", "sample_every=1",
)  # fmt: skip
SECOND = SAMPLE_RATE_HZ


def noise(seconds: float, rate_hz: int = SECOND, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.5, 0.5, round(seconds * rate_hz)).astype(np.float32)


def clip(video: str, first: int = 1, last: int = 2, start_s: float = 0.0, alone=True) -> Clip:
    count = last - first + 1
    silence = np.zeros((count, 2 * SECOND), np.float32)
    piece = Piece(video, first, last, start_s, "", {}, alone=alone)
    return Clip(piece, "song", silence, np.zeros((count, 4), int), np.ones(count, np.float32))


def write(path: Path, audio: np.ndarray, rate_hz: int = SECOND) -> None:
    soundfile.write(path, audio, rate_hz, "PCM_16")


# --- reading -------------------------------------------------------------------------------------


def test_files_are_named_after_videos_pieces_or_segments(tmp_path):
    whole, piece = noise(4, seed=1), noise(4, seed=2)
    parts = [noise(2, seed=3), noise(2, seed=4)]
    write(tmp_path / "a.wav", whole)
    write(tmp_path / "b_seg0003-0004.flac", piece)
    write(tmp_path / "c_seg0001.wav", parts[0])
    write(tmp_path / "c_seg0002.wav", parts[1])
    clips = [clip("a"), clip("b", 3, 4, 4.0, alone=False), clip("c"), clip("d")]
    found = hear(tmp_path, clips)
    for audio, expected in zip(found.audio, (whole, piece, np.concatenate(parts)), strict=False):
        assert audio is not None and np.allclose(audio, expected, atol=1e-4)
    assert found.audio[3] is None and found.missing == ["d"]
    assert found.scored == [0, 1, 2] and not found.failed and not found.extra


def test_other_rates_and_channels_are_converted_and_counted(tmp_path):
    time = np.arange(4 * 44_100) / 44_100
    tone = 0.5 * np.sin(2 * np.pi * 440 * time).astype(np.float32)
    write(tmp_path / "a.wav", np.stack([tone, np.zeros_like(tone)], 1), 44_100)
    (audio,) = (found := hear(tmp_path, [clip("a")])).audio
    assert audio is not None and len(audio) == 4 * SECOND
    assert np.abs(audio[SECOND : 2 * SECOND]).max() == pytest.approx(0.25, abs=0.01)
    assert found.changed == Counter({"resampled from 44100 Hz": 1, "mixed from 2 channels": 1})
    assert found.notes("mine") == [
        "mine: 1 clips = 1 scored + 0 missing + 0 failed; other files: 0",
        "mine: 1 mixed from 2 channels; 1 resampled from 44100 Hz",
    ]


@pytest.mark.parametrize(
    ("seconds", "start_s", "first_s"),
    [(4.0, 0, 0), (3.96, 0, 0), (4.04, 6, 0), (9.0, 0, 0), (10.5, 6, 6), (9.97, 6, 6)],
)
def test_a_file_is_as_long_as_its_clip_or_begins_with_the_video(
    tmp_path, seconds, start_s, first_s
):
    audio = noise(seconds)
    write(tmp_path / "a.wav", audio)
    found = fitted(tmp_path / "a.wav", 4 * SECOND, start_s, Counter())
    expected = audio[first_s * SECOND :][: 4 * SECOND]
    assert len(found) == 4 * SECOND and np.allclose(found[: len(expected)], expected, atol=1e-4)
    assert not found[len(expected) :].any()


@pytest.mark.parametrize(("seconds", "start_s"), [(3.9, 0), (9.9, 6), (0.0, 0)])
def test_a_file_of_another_length_fails(tmp_path, seconds, start_s):
    write(tmp_path / "a.wav", noise(seconds))
    with pytest.raises(ValueError, match=r"a\.wav: (lasts .* expected 4\.00 s|not readable)"):
        fitted(tmp_path / "a.wav", 4 * SECOND, start_s, Counter())


def test_the_sound_of_a_film_counts_but_a_wav_beside_it_comes_first(tmp_path):
    av = pytest.importorskip("av")
    tone = 0.4 * np.sin(2 * np.pi * 300 * np.arange(4 * 48_000) / 48_000).astype(np.float32)
    with av.open(str(tmp_path / "a.mp4"), "w") as film:
        track = film.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
        frame.rate = 48_000
        for packet in [*track.encode(frame), *track.encode(None)]:
            film.mux(packet)
    (audio,) = hear(tmp_path, [clip("a")]).audio
    assert audio is not None and len(audio) == 4 * SECOND
    spectrum = np.abs(np.fft.rfft(audio[SECOND : 3 * SECOND]))
    assert np.argmax(spectrum) / 2 == pytest.approx(300, abs=1)
    other = noise(4)
    write(tmp_path / "a.wav", other)
    (audio,) = hear(tmp_path, [clip("a")]).audio
    assert audio is not None and np.allclose(audio, other, atol=1e-4)


def test_missing_wrong_and_foreign_files_are_counted(tmp_path):
    clips = [clip(f"v{i:02d}") for i in range(20)]
    for i in range(2, 20):
        write(tmp_path / f"v{i:02d}.wav", noise(4))
    (tmp_path / "v05.wav").write_bytes(b"RIFF, but no more")
    for name in ("x.wav", "y.mp3", "z_seg0001.wav"):
        write(tmp_path / name, noise(4)) if name[0] != "y" else (tmp_path / name).touch()
    (tmp_path / "readme.txt").write_bytes(b"no music")
    found = hear(tmp_path, clips)
    counts = len(found.scored), len(found.missing), len(found.failed), len(found.extra)
    assert counts == (17, 2, 1, 3) and found.extra == ["x.wav", "y.mp3", "z_seg0001.wav"]
    assert "v05.wav: not readable" in found.failed[0]


@pytest.mark.parametrize("text", ["folder", "=folder", "name=", "a/b=folder"])
def test_a_folder_without_a_name_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="expected NAME=FOLDER, such as"):
        MusicFolder.parse(text)


def test_scores_of_some_clips_are_spread_over_all():
    clips = [clip("a"), clip("b"), clip("c", 1, 3)]
    found = spread_out({"x": [1.0, None], "y": [1.0, 2.0, 3.0, 4.0, 5.0]}, [0, 2], clips)
    assert found == {
        "x": [1.0, None, None], "y": [1.0, 2.0, None, None, 3.0, 4.0, 5.0],
    }  # fmt: skip


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shards"
    write_fake_dataset(root, load_codec("demo"), videos={"train": 2, "test": 4}, segments=2)
    return root


@pytest.fixture(scope="module")
def made(shards, tmp_path_factory) -> tuple[Path, Path]:
    """A run, and the music that it generated."""
    folder = tmp_path_factory.mktemp("runs")
    train(shards, folder / "run", load_config("tiny", None, SMALL))
    given = ("--run", folder / "run", "--shards", shards, "--out", folder / "music")
    assert command("generate", *given) == 0
    return folder / "run", folder / "music"


@pytest.mark.slow
def test_generated_files_have_the_scores_of_the_run_to_the_last_digit(made, shards, capsys):
    run, music = made
    given = ("--shards", shards, "--embedding", "mel-statistics")
    assert command("evaluate", "--run", run, "--music", f"files={music}", *given) == 0
    rows = load(run)["rows"]
    ours, theirs = rows["D2M-GAN, high"], rows["files"]
    assert len(theirs["scores"]) > 10
    for name, score in theirs["scores"].items():
        assert score == ours["scores"][name], name
    for name, each in theirs["each"].items():
        assert each == ours["each"][name], name
    assert "files: 4 clips = 4 scored + 0 missing + 0 failed" in capsys.readouterr().out


@pytest.mark.slow
def test_a_folder_is_evaluated_without_a_run_and_compared_with_one(made, shards, tmp_path, capsys):
    run, music = made
    part = tmp_path / "theirs"
    part.mkdir()
    for path in sorted(music.glob("*.wav"))[:3]:
        shutil.copy(path, part)
    given = ("--shards", shards, "--embedding", "mel-statistics")
    assert command("evaluate", "--run", run, *given) == 0
    capsys.readouterr()
    asked = ("--music", f"theirs={part}", *given, "--against", run)
    assert command("evaluate", *asked) == 0
    output = capsys.readouterr().out
    assert "theirs: 4 clips = 3 scored + 1 missing + 0 failed" in output
    found = load(part)
    assert found["row"] == "theirs" and found["family"] == "outside"
    assert found["rows"]["theirs"]["each"]["onset_f"].count(None) >= 1
    assert len(found["rows"]["theirs"]["each"]["cover"]) == 8
    assert {"ground truth", "random codes"} <= found["rows"].keys()
    page = (part / "evaluation" / "index.html").read_text(encoding="utf-8")
    assert "theirs" in page and "step" not in page.split("codec")[0]
    assert f"{part} − {run}" in output
    capsys.readouterr()
    assert command("evaluate", "--all", run, part) == 0
    assert "| theirs |" in capsys.readouterr().out


@pytest.mark.long
def test_a_folder_without_any_music_of_the_split_is_an_error(shards, tmp_path, capsys):
    asked = ("--shards", shards, "--embedding", "none", "--alone")
    assert command("evaluate", "--music", f"mine={tmp_path}", *asked) == 1
    assert "has music for none of 4 clips of the split" in capsys.readouterr().err
    assert command("evaluate", "--music", "mine", *asked) == 2
    assert command("evaluate", "--music", f"mine={tmp_path / 'none'}", *asked) == 1
    assert "no such folder" in capsys.readouterr().err
    assert command("evaluate", "--music", f"mine={tmp_path}") == 2
    assert "need --shards" in capsys.readouterr().err


def test_names_of_clips_are_those_of_the_split(shards):
    codec = load_codec("demo", ("high",))
    sizes = {"high": codec.level("high").size}
    source = Source(shards, load_dataset(shards), "test", codec.codes_id, sizes)
    assert [one.piece.video_id for one in read_clips(source)] == [f"test{i}" for i in range(4)]
    assert json.loads((shards / "dataset.json").read_bytes())["name"]
