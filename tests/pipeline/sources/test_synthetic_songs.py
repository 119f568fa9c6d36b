"""The songs of the synthetic benchmark: their notes, what plays them, and how many there are."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

import mido
import numpy as np
import pytest
from sound_fonts import write_sound_font

from model.contract.notes import DRUM_PROGRAM, NOTE_COLUMNS, TRACKS, midi_bytes
from model.contract.segment import GENRES
from model.contract.sound_font import SoundFont
from pipeline.sources.aist import row
from pipeline.sources.synthetic import (
    open_instruments,
    plan,
    song_ids,
    songs,
    split_of,
    write_song,
    write_video,
)
from pipeline.sources.synthetic.__main__ import main
from pipeline.sources.synthetic.instruments import DRUMS, TIMBRES, synthesise
from pipeline.sources.synthetic.music import SAMPLE_RATE_HZ, SONGS_PER_GENRE, compose, tempo_of
from pipeline.sources.synthetic.notes import (
    DRUM_KEYS,
    PROGRAMS,
    note_array,
)
from pipeline.sources.synthetic.score import Score, write_score
from pipeline.sources.synthetic.styles import STYLES
from pipeline.sources.synthetic.write import spec_hash

PLAN_SHA256 = "6cd0d52378acdd40fbd1ed0a5bfef774d609b5ec8aead0f8928490cd642928fc"
PLAYED = [f"m{genre}{index}" for index, genre in enumerate(GENRES)]


@pytest.fixture(scope="module")
def font(tmp_path_factory) -> SoundFont:
    pytest.importorskip("tinysoundfont", reason="needs the extra `midi`")
    return open_instruments(write_sound_font(tmp_path_factory.mktemp("font") / "tiny.sf2"))


def score_of(genre: str, duration_s: float = 12.0) -> Score:
    return write_score(STYLES[genre], np.random.default_rng(5), 0.2, 0.5, duration_s)


def read_midi(data: bytes, path: Path) -> np.ndarray:
    """Return (onset_s, duration_s, pitch, velocity, program, track) of the notes of a file."""
    path.write_bytes(data)
    file = mido.MidiFile(path)
    head, *tracks = file.tracks
    tempo = next(message.tempo for message in head if message.type == "set_tempo")
    found = []
    for place, track in enumerate(tracks):
        now, program, sounding = 0, -1, {}
        for message in track:
            now += message.time
            at_s = mido.tick2second(now, file.ticks_per_beat, tempo)
            if message.type == "program_change":
                program = DRUM_PROGRAM if message.channel == 9 else message.program
            elif message.type == "note_on":
                assert message.note not in sounding
                sounding[message.note] = at_s, message.velocity
            elif message.type == "note_off":
                begun, velocity = sounding.pop(message.note)
                found.append((begun, at_s - begun, message.note, velocity, program, place))
        assert not sounding
    return np.array(sorted(found, key=lambda note: (round(note[0], 4), note[5], note[2])))


# -- notes ---------------------------------------------------------------------------------------


def test_every_voice_and_every_drum_but_the_crackle_has_a_sound_of_general_midi():
    assert PROGRAMS.keys() == TIMBRES.keys()
    assert DRUM_KEYS.keys() == DRUMS.keys() - {"vinyl"}
    assert len(set(DRUM_KEYS.values())) == len(DRUM_KEYS)
    assert all(35 <= key <= 81 for key in DRUM_KEYS.values())


@pytest.mark.parametrize("genre", GENRES)
def test_the_sound_of_each_track_begins_with_its_first_note(genre):
    score = score_of(genre)
    notes, tracks = note_array(score), synthesise(score)
    for track in range(len(TRACKS)):
        first = round(notes[notes[:, 5] == track][0, 0] * SAMPLE_RATE_HZ)
        if "vinyl" not in score.kit or track:
            assert not tracks[track, :first].any()
        assert np.abs(tracks[track, first : first + 2000]).max() > 1e-3


@pytest.mark.parametrize("genre", GENRES)
def test_notes_are_those_of_the_score(genre):
    score = score_of(genre)
    notes = note_array(score)
    heard = [event for event in score.events if event.voice != "vinyl"]
    assert {round(s * SAMPLE_RATE_HZ) for s in notes[:, 0]} == {event.first for event in heard}
    steps = {(event.first, event.step) for event in heard}
    assert {(round(s * SAMPLE_RATE_HZ), int(step)) for s, step in notes[:, [0, 6]]} == steps
    assert np.all(np.diff(notes[:, 0]) >= 0) and notes.shape[1] == len(NOTE_COLUMNS)
    assert notes[:, 3].min() >= 1 and notes[:, 3].max() == 127
    assert set(notes[notes[:, 5] == 0, 4]) == {DRUM_PROGRAM}
    assert {PROGRAMS[voice] for voice in score.style.voices} == set(notes[:, 4]) - {DRUM_PROGRAM}
    for track, pitch in {(track, pitch) for pitch, track in notes[:, [2, 5]]}:
        same = notes[(notes[:, 5] == track) & (notes[:, 2] == pitch)]
        assert np.all(same[:-1, 0] + same[:-1, 1] <= same[1:, 0] + 1e-9)
        assert same[:, 1].min() > 0.02


@pytest.mark.parametrize("song_id", PLAYED)
def test_a_midi_file_has_the_notes_to_half_a_tick(song_id, tmp_path):
    song = compose(song_id, duration_s=12.0)
    for notes in (song.notes, song.notes_in(3.3, 6.0)):
        data = midi_bytes(notes, song.tempo_bpm, song_id)
        found = read_midi(data, tmp_path / "song.mid")
        half_s = 60 / song.tempo_bpm / 480 / 2
        assert found.shape == (len(notes), 6)
        np.testing.assert_allclose(found[:, 0], notes[:, 0], rtol=0, atol=half_s + 1e-4)
        np.testing.assert_allclose(found[:, 1], notes[:, 1], rtol=0, atol=2 * half_s + 1e-4)
        np.testing.assert_array_equal(found[:, 2:], notes[:, 2:6])
        assert midi_bytes(notes, song.tempo_bpm, song_id) == data


def test_an_excerpt_has_the_notes_that_begin_in_it():
    song = compose("mJB2", duration_s=12.0)
    cut = song.notes_in(4.0, 5.0)
    inside = song.notes[(song.notes[:, 0] >= 4) & (song.notes[:, 0] < 9)]
    np.testing.assert_array_equal(cut[:, 1:], inside[:, 1:])
    np.testing.assert_allclose(cut[:, 0], inside[:, 0] - 4, rtol=0, atol=1e-9)
    at_a_note = song.notes[40, 0]
    assert song.notes_in(at_a_note, 2.0)[0, 0] == 0.0
    later = song.notes_in(5.0, 7.0)
    later[:, 0] += 5
    both = np.concatenate([song.notes_in(0, 5.0), later])
    np.testing.assert_allclose(both, song.notes, rtol=0, atol=1e-9)


# -- sampled instruments -------------------------------------------------------------------------


def test_a_sound_font_changes_the_sound_and_nothing_else(font):
    for song_id in PLAYED[:3]:
        plain = compose(song_id, duration_s=8.0)
        played = compose(song_id, duration_s=8.0, instruments=font)
        np.testing.assert_array_equal(played.notes, plain.notes)
        np.testing.assert_array_equal(played.beat_times_s, plain.beat_times_s)
        assert played.samples.shape == plain.samples.shape and played.samples.dtype == np.float32
        assert np.abs(played.samples).max() == pytest.approx(0.9, abs=1e-3)
        assert np.abs(played.samples - plain.samples).max() > 0.1


def test_playing_is_bit_equal_whatever_was_played_before(font):
    def digests(ids):
        compose.cache_clear()
        return {s: compose(s, 1, 6.0, font).samples.tobytes() for s in ids}

    first, second = digests(PLAYED[:4]), digests(PLAYED[3::-1])
    assert first == second


def test_a_note_sounds_from_the_sample_of_its_onset(font):
    onsets = [0.25, 0.5, 1.0 + 1 / 3]
    notes = np.array([[at_s, 0.1, 69, 100, program, 0, 0] for at_s, program in
                      zip(onsets, (0, 128, 48), strict=True)])  # fmt: skip
    sound = font.play(notes, 2 * SAMPLE_RATE_HZ)
    assert sound.shape == (2 * SAMPLE_RATE_HZ,) and sound.dtype == np.float32
    for onset_s in onsets:
        first = round(onset_s * SAMPLE_RATE_HZ)
        assert np.abs(sound[first - 20 : first]).max() < 1e-3
        assert np.abs(sound[first : first + 100]).max() > 0.05
    assert not font.play(notes[:0], 100).any()
    assert font.play(notes, 100).shape == (100,)
    many = np.array([[0, 0.1, 60, 100, program, 0, 0] for program in range(16)])
    with pytest.raises(ValueError, match="16 programs, expected at most 15"):
        font.play(many, 100)


@pytest.mark.slow
def test_a_beat_tracker_hears_the_beats_of_a_sound_font(font):
    librosa = pytest.importorskip("librosa")
    mir_eval = pytest.importorskip("mir_eval")
    scores = {}
    for song in songs([f"m{genre}3" for genre in GENRES], instruments=font):
        _, heard = librosa.beat.beat_track(y=song.samples[::2], sr=22_050, units="time")
        truth = song.beat_times_s
        scores[song.genre] = mir_eval.beat.f_measure(truth[truth > 5], heard[heard > 5])
    assert sum(score >= 0.8 for score in scores.values()) >= 8, scores


def test_a_file_that_is_no_sound_font_is_told(tmp_path):
    pytest.importorskip("tinysoundfont", reason="needs the extra `midi`")
    with pytest.raises(FileNotFoundError, match=r"none\.sf2: no such file"):
        open_instruments(tmp_path / "none.sf2")
    bad = tmp_path / "bad.sf2"
    for content in (b"", b"no font", b"RIFF\4\0\0\0WAVE"):
        bad.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.sf2: not a sound font, or damaged"):
            open_instruments(bad)
    whole = write_sound_font(bad).read_bytes()
    bad.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=rf"has {len(whole) - 9} of {len(whole)} bytes"):
        open_instruments(bad)


def test_a_font_without_all_sounds_is_refused_with_their_names(tmp_path):
    pytest.importorskip("tinysoundfont", reason="needs the extra `midi`")
    most = write_sound_font(tmp_path / "most.sf2", set(range(128)) - {36})
    with pytest.raises(ValueError, match=r"no sound for slap \(program 36\); choose one"):
        open_instruments(most)
    no_drums = write_sound_font(tmp_path / "pitched.sf2", drums=False)
    with pytest.raises(ValueError, match=r"no sound for kick \(drum key 36\), .*shaker"):
        open_instruments(no_drums)


def test_a_font_that_changes_after_it_was_opened_plays_nothing(tmp_path):
    pytest.importorskip("tinysoundfont", reason="needs the extra `midi`")
    path = write_sound_font(tmp_path / "tiny.sf2")
    font = open_instruments(path)
    assert font.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    other = open_instruments(write_sound_font(path, quieter_db=6))
    assert other.sha256 != font.sha256
    with pytest.raises(ValueError, match=r"tiny\.sf2: the file has changed"):
        compose("mBR0", duration_s=2.0, instruments=font)


def test_without_the_package_the_command_to_install_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    path = write_sound_font(tmp_path / "another.sf2", quieter_db=3)
    with pytest.raises(ValueError, match=r"tinysoundfont, .* uv pip install .*\[midi\]"):
        open_instruments(path)


# -- more songs ----------------------------------------------------------------------------------


def test_the_usual_plan_is_that_of_the_first_version():
    specs = plan(700) + plan(30, 3, 5.0, fps=30, size_px=(160, 120), dancers=3)
    text = "".join(f"{spec.video_id} {spec.split} {spec_hash(spec)}\n" for spec in specs)
    assert hashlib.sha256(text.encode()).hexdigest() == PLAN_SHA256
    assert plan(700, songs_per_genre=SONGS_PER_GENRE) == plan(700)


@pytest.mark.parametrize("count", [7, 12, 20])
def test_more_songs_keep_the_first_sixty_and_their_splits(count):
    specs = plan(songs_per_genre=count)
    assert len(specs) == len({spec.video_id for spec in specs}) == 100 * count
    used = {spec.song_id: spec.split for spec in specs}
    assert used.keys() == set(song_ids(count))
    assert {spec.song_id: spec.split for spec in plan()}.items() <= used.items()
    assert all(split == split_of(song_id) for song_id, split in used.items())
    assert set(song_ids(count, "test")) == {name for name in used if used[name] == "test"}
    for genre in GENRES:
        tempi = {tempo_of(genre, index) for index in range(count)}
        low, high = STYLES[genre].tempo_bpm
        assert len(tempi) >= 0.8 * count and low <= min(tempi) and max(tempi) <= high


def test_every_prefix_of_a_plan_with_more_songs_is_split_about_four_one_one():
    specs = plan(400, songs_per_genre=18)
    assert plan(50, songs_per_genre=18) == specs[:50]
    for limit in range(12, 400, 7):
        splits = [spec.split for spec in specs[:limit]]
        assert all(abs(splits.count(split) - limit / 6) <= 2 for split in ("val", "test"))
    assert len({spec.song_id for spec in specs[:180]}) == 180
    named = row(specs[-1].video_id, "x.mp4", "train", None)
    assert (named.song, named.genre) == (specs[-1].song_id, specs[-1].genre)
    assert named.dancers == specs[-1].dancers


def test_too_few_songs_are_refused():
    with pytest.raises(ValueError, match="songs_per_genre is 5, expected 6 or more"):
        plan(songs_per_genre=5)


# -- files ---------------------------------------------------------------------------------------


def test_a_song_is_written_with_its_truth(tmp_path):
    import soundfile

    write_song("mKR7", tmp_path)
    (song,) = songs(["mKR7"])
    info = soundfile.info(tmp_path / "wav" / "mKR7.wav")
    assert (info.samplerate, info.channels, info.frames) == (22_050, 1, 32 * 22_050)
    with np.load(tmp_path / "truth" / "mKR7.npz") as truth:
        np.testing.assert_array_equal(truth["beat_times_s"], song.beat_times_s)
        np.testing.assert_array_equal(truth["notes"], song.notes.astype(np.float32))
        assert tuple(truth["note_columns"]) == NOTE_COLUMNS
        assert (str(truth["genre"]), str(truth["split"])) == ("KR", split_of("mKR7"))
        assert "instruments_sha256" not in truth
    midi = read_midi((tmp_path / "truth" / "mKR7.mid").read_bytes(), tmp_path / "copy.mid")
    assert len(midi) == len(song.notes)


def test_sound_without_pictures_has_the_motion_and_truth_of_the_video(tmp_path):
    import soundfile

    spec = plan(1, duration_s=1.0, fps=30, size_px=(160, 120))[0]
    write_video(spec, tmp_path / "a")
    write_video(spec, tmp_path / "b", "sound")
    made = {p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*.*")}
    assert {path.suffix for path in made} == {".wav", ".pkl", ".npz", ".mid"}
    for path in (path for path in made if path.suffix != ".wav"):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    assert soundfile.info(tmp_path / "b" / "wav" / f"{spec.video_id}.wav").frames == 22_050
    write_video(spec, tmp_path / "a", "sound")
    assert (tmp_path / "a" / "videos" / f"{spec.video_id}.mp4").is_file()
    write_video(dataclasses.replace(spec, seed=1), tmp_path / "a", "sound")
    assert not list((tmp_path / "a" / "videos").iterdir())  # it showed the other seed's dance


def test_a_video_of_an_earlier_version_gets_its_notes_and_is_not_drawn_again(tmp_path):
    spec = plan(1, duration_s=0.5, fps=30, size_px=(160, 120))[0]
    write_video(spec, tmp_path)
    truth, midi = (tmp_path / "truth" / f"{spec.video_id}{end}" for end in (".npz", ".mid"))
    whole = truth.read_bytes()
    with np.load(truth) as arrays:
        np.savez_compressed(truth, **{k: v for k, v in arrays.items() if "note" not in k})
    midi.unlink()
    video = tmp_path / "videos" / f"{spec.video_id}.mp4"
    before = video.stat().st_mtime_ns
    write_video(spec, tmp_path)
    assert truth.read_bytes() == whole and midi.is_file()
    assert video.stat().st_mtime_ns == before


def test_another_font_is_another_video_and_is_recorded(font, tmp_path):
    plain = plan(1, duration_s=0.5, fps=30, size_px=(160, 120))[0]
    played = plan(1, duration_s=0.5, fps=30, size_px=(160, 120), instruments=font)[0]
    moved = dataclasses.replace(font, path=Path("elsewhere.sf2"))
    assert spec_hash(played) != spec_hash(plain)
    assert spec_hash(played) == spec_hash(dataclasses.replace(played, instruments=moved))
    for spec, root in ((plain, "a"), (played, "b"), (played, "c")):
        write_video(spec, tmp_path / root)
    bytes_of = {
        (root, kind): next((tmp_path / root).rglob(kind)).read_bytes()
        for root in "abc"
        for kind in ("*.mp4", "*.pkl", "*.mid", "*.npz")
    }
    assert bytes_of["a", "*.mp4"] != bytes_of["b", "*.mp4"]
    assert bytes_of["a", "*.pkl"] == bytes_of["b", "*.pkl"]
    assert bytes_of["a", "*.mid"] == bytes_of["b", "*.mid"]
    for kind in ("*.mp4", "*.pkl", "*.mid", "*.npz"):
        assert bytes_of["b", kind] == bytes_of["c", kind], kind
    with np.load(next((tmp_path / "b").rglob("*.npz"))) as truth:
        assert str(truth["instruments_sha256"]) == font.sha256


@pytest.mark.long
def test_the_command_writes_sound_and_songs_without_drawing(tmp_path, capsys):
    assert main([str(tmp_path), "--limit", "2", "--duration-s", "0.5", "--no-video"]) == 0
    assert sorted(path.parent.name for path in tmp_path.rglob("g*")) == [
        *["motions"] * 2, *["truth"] * 4, *["wav"] * 2,
    ]  # fmt: skip
    ten = ["--limit", "70", "--songs-per-genre", "7", "--split", "val", "--music-only"]
    assert main([str(tmp_path), *ten]) == 0
    made = {path.stem for path in (tmp_path / "wav").glob("m*.wav")}
    assert made == {path.stem for path in (tmp_path / "truth").glob("m*.mid")}
    assert made == set(song_ids(7, "val"))
    with pytest.raises(SystemExit) as refused:
        main([str(tmp_path), "--limit", "1", "--instruments", str(tmp_path / "truth.json")])
    assert refused.value.code == 2
    assert "truth.json: not a sound font" in capsys.readouterr().err
