"""Captions and their tokenizer: tables, the forms of a caption, and words as tokens."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("transformers", reason="needs the extra `text`")

from transformers import AutoTokenizer

from model.text_to_music.captions import PROMPT, Caption, read_captions
from model.text_to_music.tokenizer import UNKNOWN, build_tokenizer, tokens

TEXT = "middle hip-hop music, slow, 90 bpm, drums, electric piano, A# dorian"


@pytest.fixture
def table(tmp_path):
    def write(text: str | bytes):
        path = tmp_path / "captions.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_table_gives_each_file_its_caption_with_genre_and_tempo_apart(table):
    found = read_captions(table(f'file,caption\nwav/a.wav,"{TEXT}"\n\nb.wav, a sad song \n'))
    assert [*found] == ["wav/a.wav", "b.wav"]
    first, second = found.values()
    assert first == Caption(
        TEXT, "middle hip-hop", ("slow", "90 bpm"), ("drums", "electric piano", "A# dorian")
    )
    assert second == Caption("a sad song", "", (), ("a sad song",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,text\na,b\n", r"line 1: columns 'name,text', expected file,caption"),
        ("file,caption\na.wav,house, fast\n", r"line 2: .*in quotes"),
        ("file,caption\na.wav,x\nb.wav,\n", r"line 3: .*expected a file and its caption"),
        ("file,caption\na.wav,x\na.wav,y\n", r"line 3: a\.wav has a caption already"),
        ('file,caption\na.wav," , ,"\n', r"line 2: the caption of a\.wav has no words"),
        ("file,caption\n", r"no captions"),
        ('file,caption\na.wav,"x\n', r"not CSV"),
        (b"file,caption\na.wav,\xff\n", r"not UTF-8"),
        ("file,caption,beat\na.wav,x,1\n", r"columns 'file,caption,beat'"),
        ("file,caption,beats\na.wav,x\n", r"line 2: .*expected a file and its caption"),
        ("file,caption,beats\na.wav,x,0.5 0.4\n", r"line 2: beats '0\.5 0\.4'; expected times"),
        ("file,caption,beats\na.wav,x,-1 2\n", r"expected times in seconds that rise"),
        ("file,caption,beats\na.wav,x,nan\n", r"expected times in seconds that rise"),
        ("file,caption,beats\na.wav,x,one\n", r"beats 'one'"),
    ],
)
def test_an_invalid_table_is_told_with_its_line(table, text, message):
    with pytest.raises(ValueError, match=rf"captions\.csv.*{message}"):
        read_captions(table(text))


def test_a_table_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="give --captions"):
        read_captions(tmp_path / "none.csv")


def test_half_of_the_captions_are_the_sentence_of_textual_inversion():
    caption, rng = Caption.of(TEXT), np.random.default_rng(0)
    whole = "a middle hip-hop music with slow 90 bpm as the rhythm"
    assert caption.sentence == whole
    assert whole == PROMPT.replace("@", caption.genre).replace("*", " ".join(caption.tempo))
    found = [caption.varied(rng, 0.5, 0.0) for _ in range(400)]
    sentences = [text for text in found if text.startswith(whole)]
    assert 150 < len(sentences) < 250
    assert 0.3 < np.mean([text == whole for text in sentences]) < 0.7
    parts = set(TEXT.split(", "))
    assert all(set(text.split(", ")) == parts for text in found if text not in sentences)
    assert len(set(found)) > 100


def test_a_window_is_told_when_its_beats_come(table):
    text = 'file,caption,beats\na.wav,"pop music, slow",0.5 1.2 9\nb.wav,x,\n'
    caption, without = read_captions(table(text)).values()
    assert caption.beats == (0.5, 1.2, 9.0) and without == Caption.of("x")
    assert without.at(0.3, 5.0) is without
    phrases = {start_s: caption.at(start_s, 1.0).tempo[1:] for start_s in (0.0, 0.4, 0.5, 1.3, 8.0)}
    assert phrases == {
        0.0: ("beats at 480ms",), 0.4: ("beats at 80ms 800ms",), 0.5: ("beats at 0ms 720ms",),
        1.3: (), 8.0: (),
    }  # fmt: skip
    window = caption.at(0.4, 1.0)
    assert window.text == "pop music, slow, beats at 80ms 800ms"
    assert window.sentence == "a pop music with slow beats at 80ms 800ms as the rhythm"
    assert window.untimed.sentence == "a pop music with slow as the rhythm"
    assert Caption.of(window.text) == replace(window, beats=())


def test_each_phrase_is_left_out_as_often_as_asked_for():
    caption, rng = Caption.of(TEXT), np.random.default_rng(0)
    found = [caption.varied(rng, 0.0, 0.3) for _ in range(1000)]
    for phrase in TEXT.split(", "):
        share = np.mean([phrase in text.split(", ") for text in found])
        assert 0.65 < share < 0.75, phrase
    assert caption.varied(rng, 0.5, 1.0) == ""
    free = Caption.of("a sad song")
    assert {free.varied(rng, 1.0, 0.0) for _ in range(9)} == {"a sad song"}


def test_the_placeholders_are_one_token_each_and_the_folder_loads_as_a_fast_tokenizer(tmp_path):
    built = build_tokenizer([TEXT])
    built.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "musicgen"}), encoding="utf-8")
    loaded = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert loaded.is_fast and len(loaded) == len(built)
    for sign in "*@":
        (one,) = loaded.encode(sign, add_special_tokens=False)
        assert one == loaded.convert_tokens_to_ids(sign) != loaded.unk_token_id
        ids = loaded(PROMPT)["input_ids"]
        assert ids.count(one) == 1 and ids == built(PROMPT)["input_ids"]
    ids = loaded(PROMPT)["input_ids"]
    assert ids[-1] == loaded.eos_token_id and ids.count(ids[-1]) == 1
    assert len(ids) == len(PROMPT.split()) + 1
    assert loaded.unk_token_id not in ids


def test_known_words_have_tokens_of_their_own_and_others_are_unknown():
    built = build_tokenizer([TEXT])
    words = built.convert_ids_to_tokens(built("Hip-Hop, electric piano! A# zither*")["input_ids"])
    assert words == ["hip-hop", ",", "electric", "piano", "a#", UNKNOWN, "*", "</s>"]
    ids, mask = tokens(built, [TEXT, "slow", ""])
    assert ids.shape == mask.shape and mask.sum(1).tolist() == [len(built(TEXT)["input_ids"]), 2, 1]
    assert (ids[mask == 0] == built.pad_token_id).all()
    long, _ = tokens(built, ["slow " * 500])
    assert long.shape[1] <= 512
