"""Notes as sound: exact lengths, the same bits twice, onsets where the notes have them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from sound_fonts import write_sound_font

from model.contract.notes import DRUM_PROGRAM, midi_bytes
from model.contract.sound_font import SoundFont, default_font
from model.families.notes.render import render

RATE = 22_050


def note(
    onset_s: float, pitch: int = 60, program: int = 0, duration_s: float = 0.3, track: int = 1
):
    return [onset_s, duration_s, pitch, 100, program, track, -1]


@pytest.fixture
def font(tmp_path) -> SoundFont:
    return SoundFont.open(write_sound_font(tmp_path / "tiny.sf2"))


def found_onsets(audio: np.ndarray) -> np.ndarray:
    """Return when sound begins after 30 ms of silence, in seconds.

    Loud is a millisecond whose energy is above a ten thousandth of the greatest.
    """
    blocks = audio[: len(audio) // 22 * 22].reshape(-1, 22).astype(np.float64)
    loud = np.flatnonzero((blocks**2).sum(1) > 1e-4 * (blocks**2).sum(1).max())
    return loud[np.diff(loud, prepend=-100) > 30] * 22 / RATE


def found_strokes(audio: np.ndarray) -> np.ndarray:
    """Return when sound gets louder, in seconds, also before the former one has faded.

    A stroke is a millisecond with three times the energy of each of the 15 before, 0.1 s after the
    stroke before it.
    """
    blocks = audio[: len(audio) // 22 * 22].reshape(-1, 22).astype(np.float64)
    energy = (blocks**2).sum(1) + 1e-7
    before = np.max([np.roll(energy, shift) for shift in range(1, 16)], axis=0)
    louder = np.flatnonzero(energy[15:] > 3 * before[15:]) + 15
    return louder[np.diff(louder, prepend=-1000) > 100] * 22 / RATE


@pytest.mark.parametrize("samples", [0, 1, 999, 44_100, 44_101])
def test_the_sound_is_exactly_as_long_as_asked_and_has_its_peak(font, samples):
    notes = np.array([note(0.0), note(1.9, 72, duration_s=5.0), note(60.0)])
    audio = render(notes, samples, font)
    assert audio.dtype == np.float32 and audio.shape == (samples,)
    if samples > 999:
        assert np.abs(audio).max() == pytest.approx(0.95, abs=1e-6)
        assert np.abs(audio[-200:]).max() > 0.1  # the last note is cut, not faded


def test_no_notes_are_silence(font):
    for notes in (np.zeros((0, 7)), np.array([note(5.0)])):
        audio = render(notes, 1000, font)
        assert audio.shape == (1000,) and not audio.any()


def test_the_same_notes_give_the_same_bits_whatever_was_played_before(font):
    rng = np.random.default_rng(0)
    notes = np.array([note(*row) for row in zip(
        rng.uniform(0, 2, 60), rng.integers(40, 80, 60), rng.integers(0, 40, 60), strict=True
    )])  # fmt: skip
    once = render(notes, 44_100, font)
    render(np.array([note(0.0, duration_s=9, program=80)]), 9_000, font)
    assert once.tobytes() == render(notes, 44_100, font).tobytes()
    assert once.tobytes() == render(notes[::-1], 44_100, font).tobytes()


def test_notes_sound_where_they_begin_and_end_with_their_duration(font):
    notes = np.array([note(at, 69) for at in (0.25, 0.8, 1.3)])
    audio = render(notes, 44_100, font)
    np.testing.assert_allclose(found_onsets(audio), notes[:, 0], atol=0.005)
    spectrum = np.abs(np.fft.rfft(audio[:22_050]))
    assert abs(spectrum.argmax() - 440) <= 1  # in Hz, as the sound is 1 s long
    assert np.abs(audio[int(0.7 * RATE) : int(0.8 * RATE)]).max() < 0.02


def test_a_note_of_no_length_ends_and_one_struck_again_lasts(font):
    blip = render(np.array([note(0.1, duration_s=0.0)]), 22_050, font)
    assert np.abs(blip[:4_000]).max() > 0.5 and np.abs(blip[6_000:]).max() < 1e-3
    again = np.array([note(0.0, duration_s=0.5), note(0.4, duration_s=0.5)])
    both, last = render(again, 22_050, font), render(again[1:], 22_050, font)
    after = slice(int(0.5 * RATE), int(0.6 * RATE))  # the first note's end must not end the second
    assert np.abs(last[after]).max() > 0.05
    np.testing.assert_allclose(both[after], last[after], atol=0.01)


def test_more_programs_than_channels_are_all_heard(font):
    notes = np.array([note(0.3 * i, 60, program=i, duration_s=0.02) for i in range(40)])
    audio = render(notes, 12 * RATE, font)
    np.testing.assert_allclose(found_onsets(audio), notes[:, 0], atol=0.005)


def test_a_font_without_the_program_or_the_drums_says_so(tmp_path):
    font = SoundFont.open(write_sound_font(tmp_path / "few.sf2", programs=[0], drums=False))
    assert render(np.array([note(0.0)]), 1000, font).any()
    with pytest.raises(ValueError, match=r"few.sf2: this sound font has no program 7; choose"):
        render(np.array([note(0.0), note(0.01, program=7)]), 1000, font)
    with pytest.raises(ValueError, match="has no drum kit"):
        render(np.array([note(0.0, 36, DRUM_PROGRAM)]), 1000, font)


def test_a_broken_font_or_another_file_under_its_name_is_refused(tmp_path):
    path = tmp_path / "broken.sf2"
    path.write_bytes(b"RIFF not a sound font")
    with pytest.raises(ValueError, match=r"broken.sf2"):
        SoundFont.open(path)
    font = SoundFont.open(write_sound_font(path))
    write_sound_font(path, quieter_db=6)
    SoundFont.open(write_sound_font(tmp_path / "other.sf2"))  # no longer in memory
    with pytest.raises(ValueError, match="the file has changed"):
        render(np.array([note(0.0)]), 1000, font)


def test_the_default_font_is_the_one_that_pretty_midi_ships():
    pytest.importorskip("pretty_midi")
    font = default_font()
    assert font.path.name == "TimGM6mb.sf2" and font.path.stat().st_size == 5_994_284
    assert len(font.sha256) == 64 and default_font() == font


def test_without_pretty_midi_the_default_font_is_an_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pretty_midi", None)
    with pytest.raises(ValueError, match="the package pretty_midi, which contains one: uv pip"):
        default_font()


def test_a_midi_file_is_heard_with_its_onsets_within_10_ms():
    """Sparse notes of instruments that begin at once, by the font that users have."""
    pretty_midi = pytest.importorskip("pretty_midi")
    rng = np.random.default_rng(1)
    onsets = np.cumsum(rng.uniform(0.45, 0.9, 16))
    programs = np.tile([0, 12, 4, 0], 4)
    notes = np.array([
        note(at, pitch, program, 0.15)
        for at, pitch, program in zip(onsets, rng.integers(55, 80, 16), programs, strict=True)
    ])  # fmt: skip
    for track, program in enumerate((0, 12, 4), 1):
        notes[notes[:, 4] == program, 5] = track
    file = midi_bytes(notes, 107.0, "sparse")
    read = [
        note(each.start, each.pitch, part.program, each.duration)
        for part in pretty_midi.PrettyMIDI(io.BytesIO(file)).instruments
        for each in part.notes
    ]
    audio = render(np.array(read), round((onsets[-1] + 0.5) * RATE), default_font())
    np.testing.assert_allclose(found_strokes(audio), onsets, atol=0.010)
    np.testing.assert_allclose(sorted(row[0] for row in read), onsets, atol=0.001)
