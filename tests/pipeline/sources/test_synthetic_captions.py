"""The captions of synthetic songs name what sounds in them, and nothing else."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from model.contract.notes import DRUM_PROGRAM, TRACKS
from model.contract.segment import GENRES
from pipeline.sources.synthetic import song_ids
from pipeline.sources.synthetic.__main__ import main
from pipeline.sources.synthetic.captions import (
    COLUMNS,
    DRUM_WORDS,
    FILE,
    GENRE_WORDS,
    MODES,
    TONICS,
    VOICE_WORDS,
    caption_of,
    tempo_word,
)
from pipeline.sources.synthetic.instruments import TIMBRES
from pipeline.sources.synthetic.music import compose, score_of
from pipeline.sources.synthetic.notes import DRUM_KEYS, PROGRAMS
from pipeline.sources.synthetic.styles import STYLES

SOME_S = 12.0
SONGS = song_ids(12)


def phrases(song_id: str, vary: bool = True) -> list[str]:
    score, tempo_bpm = score_of(song_id, 0, SOME_S, vary)
    return caption_of(score, tempo_bpm).split(", ")


def notes(song_id: str) -> np.ndarray:
    return compose(song_id, 0, SOME_S, None, True).notes


def rows(path: Path) -> dict[str, str]:
    with open(path, encoding="utf-8", newline="") as file:
        return {row["file"]: row["caption"] for row in csv.DictReader(file)}


def test_every_genre_voice_and_scale_has_words():
    assert GENRE_WORDS.keys() == set(GENRES) and len(set(GENRE_WORDS.values())) == len(GENRES)
    named = {voice for words in VOICE_WORDS.values() for voice in words}
    assert named == TIMBRES.keys()
    assert {style.scale for style in STYLES.values()} == MODES.keys()


@pytest.mark.parametrize("song_id", SONGS[::3])
def test_a_caption_names_the_instruments_whose_notes_are_in_the_song_and_no_others(song_id):
    found, said = notes(song_id), phrases(song_id)
    played = {(int(n[5]), int(n[4])) for n in found} - {(0, DRUM_PROGRAM)}
    words: dict[tuple[int, int], set[str]] = {}  # two basses may share a program
    for track, voices in VOICE_WORDS.items():
        for voice, word in voices.items():
            words.setdefault((TRACKS.index(track), PROGRAMS[voice]), set()).add(word)
    assert all(words[part] & set(said) for part in played)
    every = {word for voices in VOICE_WORDS.values() for word in voices.values()}
    sounding = {word for part in played for word in words[part]}
    assert every & set(said) <= sounding
    drums = {int(n[2]) for n in found if n[4] == DRUM_PROGRAM}
    assert ("drums" in said) == bool(drums) and ("no drums" in said) == (not drums)
    for voice, word in DRUM_WORDS.items():
        assert (word in said) == (DRUM_KEYS[voice] in drums)


@pytest.mark.parametrize("song_id", SONGS[::4])
def test_genre_tempo_and_key_are_the_songs(song_id):
    song, said = compose(song_id, 0, SOME_S, None, True), phrases(song_id)
    assert said[0] == f"{GENRE_WORDS[song.genre]} music"
    assert said[1] == tempo_word(song.tempo_bpm)
    assert abs(int(said[2].removesuffix(" bpm")) - song.tempo_bpm) <= 5
    pitched = song.notes[song.notes[:, 5] >= 2] if (song.notes[:, 5] >= 2).any() else song.notes
    pitched = pitched[pitched[:, 4] != DRUM_PROGRAM]
    if not len(pitched):
        assert not any(mode in said[-1] for mode in MODES.values())
        return
    tonic, mode = said[-1].split(" ")
    (scale,) = (scale for scale, name in MODES.items() if name == mode)
    allowed = {(TONICS.index(tonic) + step) % 12 for step in scale}
    assert {int(pitch) % 12 for pitch in pitched[:, 2]} <= allowed


def test_the_three_words_of_tempo_share_the_songs():
    count = {word: 0 for word in ("slow", "medium", "fast")}
    for song_id in SONGS:
        count[phrases(song_id, vary=False)[1]] += 1
    assert all(number >= len(SONGS) / 6 for number in count.values()), count


def test_varied_songs_differ_in_instruments_and_keep_notes_and_beats():
    line_ups = set()
    for song_id in SONGS:
        usual, _ = score_of(song_id, 0, SOME_S)
        varied, _ = score_of(song_id, 0, SOME_S, True)
        kept = {event.track for event in varied.events}
        line_ups.add(tuple(sorted(kept)))
        timed = [(e.track, e.first, e.midi) for e in usual.events if e.track in kept]
        assert timed == [(e.track, e.first, e.midi) for e in varied.events] and timed
    assert len(line_ups) >= 5 and (0, 1, 2, 3) in line_ups
    captions = {tuple(phrases(song_id)[3:-1]) for song_id in SONGS}
    assert len(captions) > 3 * len({tuple(phrases(s, vary=False)[3:-1]) for s in SONGS}) / 2


@pytest.mark.parametrize("song_id", ["mHO2", "mJB4"])
def test_a_varied_song_sounds_and_depends_on_its_id_alone(song_id):
    first = compose(song_id, 0, 4.0, None, True).samples.copy()
    compose.cache_clear()
    compose("mBR0", 0, 4.0, None, True)
    np.testing.assert_array_equal(compose(song_id, 0, 4.0, None, True).samples, first)
    assert np.abs(first).max() == pytest.approx(0.9, abs=1e-3)


def test_the_command_writes_a_caption_for_every_song_and_keeps_those_of_other_splits(tmp_path):
    arguments = [str(tmp_path), "--limit", "12", "--music-only", "--vary-instruments"]
    assert main([*arguments, "--split", "val"]) == 0
    first = rows(tmp_path / FILE)
    assert main([*arguments, "--split", "test"]) == 0
    both = rows(tmp_path / FILE)
    assert first.items() < both.items()
    assert set(both) == {f"wav/{path.name}" for path in (tmp_path / "wav").glob("*.wav")}
    for file, caption in both.items():
        score, tempo_bpm = score_of(Path(file).stem, vary_instruments=True)
        assert caption == caption_of(score, tempo_bpm)
    with open(tmp_path / FILE, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            truth = np.load(tmp_path / "truth" / f"{Path(row['file']).stem}.npz")
            beats_s = [float(time_s) for time_s in row["beats"].split()]
            np.testing.assert_allclose(beats_s, truth["beat_times_s"], atol=6e-4)
    (tmp_path / FILE).write_text("a,b\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"captions\.csv: columns .*{','.join(COLUMNS)}"):
        main([*arguments, "--split", "test"])


def test_other_instruments_are_refused_for_videos(tmp_path, capsys):
    with pytest.raises(SystemExit) as refused:
        main([str(tmp_path), "--limit", "1", "--vary-instruments"])
    assert refused.value.code == 2
    assert "give --music-only as well" in capsys.readouterr().err
