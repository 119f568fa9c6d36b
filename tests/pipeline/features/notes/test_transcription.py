"""Transcribed notes: known notes of plain sounds are found, at any loudness; silence has none."""

from __future__ import annotations

import numpy as np
import pytest

from model.contract.notes import check_notes, notes_in
from model.contract.segment import WAV
from model.contract.wav import encode_wav
from pipeline.features.notes.basic_pitch import (
    FRAMES,
    HOP,
    SIDE,
    STEP,
    BasicPitch,
    Decoding,
    decode,
)
from pipeline.features.notes.drums import pseudo_drums
from pipeline.features.notes.sources import Transcription
from pipeline.features.notes.transcribe import transcribe
from pipeline.features.notes.video import VideoNotes

RATE = 22_050


@pytest.fixture(scope="module")
def network() -> BasicPitch:
    pytest.importorskip("onnxruntime", reason="needs the extra transcribe")
    try:
        return BasicPitch.installed()
    except ValueError as error:
        pytest.skip(str(error))


def plucked(notes: list[tuple[float, int]], seconds: float) -> np.ndarray:
    """Return decaying tones with overtones, each from its onset in seconds, by MIDI pitch."""
    sound = np.zeros(round(seconds * RATE))
    time_s = np.arange(round(0.5 * RATE)) / RATE
    for onset_s, pitch in notes:
        hz = 440 * 2 ** ((pitch - 69) / 12)
        tone = sum(np.sin(2 * np.pi * k * hz * time_s) / k**1.5 for k in range(1, 5))
        tone = tone * np.exp(-3 * time_s) * np.minimum(1, time_s / 0.003)
        first = round(onset_s * RATE)
        last = min(len(sound), first + len(tone))
        sound[first:last] += 0.2 * tone[: last - first]
    return sound.astype(np.float32)


MELODY = [
    (0.3 + 0.55 * k, pitch) for k, pitch in enumerate((60, 64, 67, 72, 69, 65, 62, 59, 55, 60))
]


def test_the_notes_of_a_melody_are_found_across_the_borders_of_windows(network):
    found = network.notes(plucked(MELODY, 6.0))
    assert 6.0 * RATE > 3 * STEP
    onsets = dict(zip(found[:, 2].astype(int), found[:, 0], strict=True))
    assert {pitch for _, pitch in MELODY} <= {*onsets}
    for onset_s, pitch in MELODY:
        nearest = np.abs(found[found[:, 2] == pitch, 0] - onset_s).min()
        assert nearest < 0.03, (onset_s, pitch)
    assert len(found) <= len(MELODY) + 3
    assert (found[:, 1] > 0.1).all() and (found[:, 3] >= 1).all()


@pytest.mark.parametrize("samples", [1, HOP, STEP, STEP + 1, 44_100])
def test_every_length_has_its_frames(network, samples):
    notes, onsets = network.posteriors(np.zeros(samples, np.float32))
    assert notes.shape == onsets.shape == (-(-samples // HOP), 88)
    assert STEP == (FRAMES - 2 * SIDE) * HOP


def test_transcribing_twice_or_louder_gives_the_same_notes(network):
    audio = plucked(MELODY, 6.0)
    once = transcribe(audio, network)
    assert np.array_equal(once, transcribe(audio, network))
    louder = transcribe(0.5 * audio, network)
    np.testing.assert_allclose(louder[:, :3], once[:, :3], atol=0.02)
    assert not len(transcribe(np.zeros(44_100), network)) and not len(
        transcribe(audio[:0], network)
    )


def test_a_decoded_note_ends_with_its_sound_or_where_it_is_struck_again():
    notes, onsets = np.zeros((100, 88)), np.zeros((100, 88))
    notes[10:40, 5], onsets[10, 5] = 0.8, 0.9  # a note, silent for a moment
    notes[20:24, 5] = 0
    notes[50:90, 7], onsets[[50, 70], 7] = 0.6, 0.7  # struck twice
    notes[60:64, 9], onsets[60, 9] = 0.9, 0.9  # too short
    onsets[30, 20] = 0.9  # no note follows
    frame_s = HOP / RATE
    found = decode(notes, onsets)
    np.testing.assert_allclose(found[:, 0], np.array([10, 50, 70]) * frame_s)
    np.testing.assert_allclose(found[:, 1], np.array([30, 20, 20]) * frame_s)
    assert found[:, 2].tolist() == [26, 28, 28]
    assert len(decode(notes, onsets, Decoding(gap=2))) == 2 and len(decode(notes, 0 * onsets)) == 0


def test_strokes_in_three_bands_are_found_where_they_are():
    rng = np.random.default_rng(0)
    sound, time_s = np.zeros(4 * RATE), np.arange(round(0.2 * RATE)) / RATE
    fade = np.exp(-25 * time_s)
    noise = rng.standard_normal(len(time_s))
    high = np.diff(np.diff(noise, prepend=0), prepend=0)
    kicks, hats = np.arange(0.25, 4, 1.0), np.arange(0.75, 4, 1.0)
    for at in kicks:
        sound[round(at * RATE) :][: len(time_s)] += np.sin(2 * np.pi * 60 * time_s) * fade
    for at in hats:
        sound[round(at * RATE) :][: len(time_s)] += 0.1 * high * fade**2
    found = pseudo_drums(sound)
    check_notes(notes_in(found, 0, 4), 4)
    for key, onsets in ((36, kicks), (42, hats)):
        mine = found[found[:, 2] == key, 0]
        assert all(np.abs(mine - at).min() < 0.03 for at in onsets), key
    assert {*found[:, 4]} == {128.0}
    assert not len(pseudo_drums(np.zeros(RATE))) and not len(pseudo_drums(sound[:100]))


def test_segments_are_heard_joined_at_the_loudness_of_the_video(network, tmp_path):
    """A note that sounds across two segments is one note, whatever each was scaled by."""
    audio = plucked([(0.5, 60), (1.85, 67), (3.0, 64)], 4.0)
    gains = (2.0, 4.0)
    wavs = [
        encode_wav(gain * part)[0] for gain, part in zip(gains, np.split(audio, 2), strict=True)
    ]
    tar = tmp_path / "any.tar"
    tar.write_bytes(b"".join(wavs))
    spans = ((0, len(wavs[0])), (len(wavs[0]), len(wavs[1])))
    video = VideoNotes(tar, ("v_seg0001", "v_seg0002"), spans, starts_s=(10.0, 12.0), gains=gains)
    source = Transcription(network)
    notes = source.notes(video, 2.0)
    pitched = notes[notes[:, 4] == 0]
    alone = transcribe(audio, network)
    np.testing.assert_allclose(pitched[:, 0] - 10, alone[alone[:, 4] == 0, 0], atol=0.02)
    held = pitched[pitched[:, 2] == 67]
    assert len(held) == 1 and held[0, 0] < 12 < held[0, 0] + held[0, 1]
    assert network.sha256[:12] in source.note and network.version in source.note
    assert source.content(video) != source.content(VideoNotes(tar, (), spans, gains=(1, 1)))


def test_what_is_not_installed_or_has_no_sound_is_an_error_with_the_command(monkeypatch):
    class Silent:
        fields: dict[str, dict] = {}  # noqa: RUF012

    class Sounding:
        fields = {WAV: {}}  # noqa: RUF012

    with pytest.raises(ValueError, match="built with --no-sound: no sound to transcribe"):
        Transcription().ready(Silent())
    monkeypatch.setattr("pipeline.features.notes.basic_pitch.MODEL", "basic_pitch/none.onnx")
    with pytest.raises(ValueError, match=r"install"):
        Transcription().ready(Sounding())
