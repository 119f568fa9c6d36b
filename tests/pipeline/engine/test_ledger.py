"""The ledger: facts are read without arrays, damage is found, results of old versions are read."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pipeline.engine.parts
import pipeline.engine.places
from pipeline.engine.ledger import JUDGED_BY, Ledger, _of_process
from pipeline.engine.outcome import Outcome

KEY = "ab" * 16
OTHER = "cd" * 16
FAILED = Outcome("failed", "cut", "no_audio", "x: no sound")


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path)
    made.write("cut", KEY, {"pcm": np.arange(5000)}, {"starts_s": ["0"]})
    return made


def anew(ledger):
    """Return the ledger as a process sees it that has just started."""
    _of_process.cache_clear()
    return Ledger(ledger.root)


def only(ledger):
    (stored,) = ledger.stored()
    return stored


def index_of(stored):
    return stored.path.with_suffix(".index")


def test_facts_are_the_same_without_arrays(ledger):
    for seen in (ledger, anew(ledger)):
        assert seen.facts("cut", KEY).facts == seen.read("cut", KEY).facts == {"starts_s": ["0"]}
        assert not seen.facts("cut", KEY).arrays
        assert seen.read("cut", KEY).arrays["pcm"].tolist() == list(range(5000))


def test_facts_tell_of_a_failure_as_reading_does(ledger):
    ledger.write("cut", OTHER, {}, {}, FAILED)
    for seen in (ledger, anew(ledger)):
        assert seen.facts("cut", OTHER).outcome == seen.read("cut", OTHER).outcome == FAILED
        assert seen.facts("cut", "ef" * 16) is None and not seen.has("cut", "ef" * 16)


def test_a_stage_does_not_find_the_result_of_another(ledger):
    assert ledger.has("cut", KEY) and not ledger.has("visual", KEY)


def test_arrays_come_back_as_they_were(ledger):
    arrays = {"a": np.zeros((0, 3), np.uint16), "b": np.float32(2.5), "c": np.array(["x", "yz"])}
    arrays["d"] = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    ledger.write("pose", KEY, arrays, {"é": [1, None]})
    found = anew(ledger).read("pose", KEY)
    assert found.facts == {"é": [1, None]}
    for name, array in arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert np.array_equal(found.arrays[name], array)


def test_objects_are_not_stored(ledger):
    with pytest.raises(ValueError, match="Object arrays"):
        ledger.write("cut", OTHER, {"x": np.array([{}])}, {})
    assert not ledger.has("cut", OTHER)


@pytest.mark.parametrize("look", ["facts", "read"])
@pytest.mark.parametrize("left", [0, 100, 30_000])
def test_a_result_cut_short_is_thrown_away_by_either(ledger, left, look, capsys):
    stored = only(ledger)
    whole = stored.path.read_bytes()
    stored.path.write_bytes(whole[:left])
    assert getattr(ledger, look)("cut", KEY) is None
    assert f"{stored.path}: cut at byte 0: damaged" in capsys.readouterr().err
    stored.path.write_bytes(whole)
    assert anew(ledger).facts("cut", KEY) is None  # once found to be damaged, for all
    ledger.write("cut", KEY, {"pcm": np.arange(3)}, {})
    assert anew(ledger).read("cut", KEY).arrays["pcm"].tolist() == [0, 1, 2]


def test_a_changed_array_is_found_where_arrays_are_read(ledger, capsys):
    stored = only(ledger)
    data = bytearray(stored.path.read_bytes())
    data[20_000] ^= 1
    stored.path.write_bytes(data)
    assert ledger.facts("cut", KEY).facts == {"starts_s": ["0"]}
    assert ledger.read("cut", KEY) is None
    assert "damaged" in capsys.readouterr().err
    for seen in (ledger, anew(ledger)):
        assert seen.facts("cut", KEY) is None and not seen.has("cut", KEY)
    ledger.write("cut", KEY, {"pcm": np.arange(3)}, {"starts_s": ["1"]})
    for seen in (ledger, anew(ledger)):
        assert seen.read("cut", KEY).arrays["pcm"].tolist() == [0, 1, 2]


def test_the_index_may_be_lost_late_or_damaged(ledger):
    ledger.write("cut", OTHER, {"pcm": np.arange(7)}, {})
    ledger.write("visual", KEY, {}, {}, FAILED)
    index = index_of(next(ledger.stored()))
    whole = index.read_bytes()
    changed = bytearray(whole)
    changed[150] ^= 1
    for data in (None, b"", whole[:70], whole[:-1], whole, bytes(changed), b"\0" * 9999):
        index.unlink() if data is None else index.write_bytes(data)
        seen = anew(ledger)
        assert seen.read("cut", KEY).arrays["pcm"].tolist() == list(range(5000))
        assert seen.read("cut", OTHER).arrays["pcm"].tolist() == list(range(7))
        assert seen.read("visual", KEY).outcome == FAILED
        assert len(list(seen.stored())) == 3


@pytest.mark.parametrize("torn", [1, 50, 5_000])
def test_the_torn_end_of_a_killed_writer_is_ignored(ledger, torn, capsys):
    stored = only(ledger)
    whole = stored.path.read_bytes()
    with open(stored.path, "ab") as file:
        file.write(whole[:torn])
    seen = anew(ledger)
    assert seen.read("cut", KEY) and len(list(seen.stored())) == 1
    seen.write("cut", OTHER, {}, {})  # by another writer, in a part of its own
    assert anew(ledger).has("cut", OTHER) and not capsys.readouterr().err


def test_what_another_process_stores_is_found_while_it_goes_on(ledger):
    """Also when it was killed between writing a result and its index."""
    script = (
        "import sys; from pathlib import Path; from pipeline.engine.ledger import Ledger\n"
        "for key in sys.stdin: Ledger(Path(sys.argv[1])).write('cut', key.strip(), {}, {}); "
        "print(key, flush=True)"
    )
    words = [sys.executable, "-c", script, str(ledger.root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, cwd=Path(__file__).parents[3], **pipes) as other:
        for number in range(3):
            key = f"{number:032x}"
            assert not ledger.has("cut", key)
            other.stdin.write(f"{key}\n")
            other.stdin.flush()
            other.stdout.readline(), other.stdout.readline()
            assert ledger.has("cut", key)
        other.kill()
    assert len({one.path for one in ledger.stored()}) == 2


def test_a_failed_write_leaves_nothing_behind_it(ledger, monkeypatch):
    real = os.write

    def full(file, data):
        real(file, bytes(data)[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left") as told:
            ledger.write("cut", OTHER, {"pcm": np.arange(9)}, {})
    assert told.value.filename == str(only(ledger).path)
    ledger.write("visual", OTHER, {"pcm": np.arange(9)}, {})
    for seen in (ledger, anew(ledger)):
        assert not seen.has("cut", OTHER) and seen.has("cut", KEY) and seen.has("visual", OTHER)


def test_results_stored_together_wait_for_the_disk_once(ledger, monkeypatch):
    waited, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: waited.append(file) or real(file))
    with ledger.together():
        for number in range(5):
            ledger.write("cut", f"{number:032x}", {}, {})
        assert all(ledger.has("cut", f"{number:032x}") for number in range(5))
    before = len(waited)
    assert before <= 3
    ledger.write("cut", OTHER, {}, {})
    assert len(waited) > before


def test_a_process_alone_waits_for_the_disk_now_and_then_and_at_the_end(ledger, monkeypatch):
    waited, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: waited.append(file) or real(file))
    monkeypatch.setattr(pipeline.engine.ledger, "SYNC_EVERY_S", 1000)
    with ledger.alone():
        for number in range(20):
            with ledger.together():
                ledger.write("cut", f"{number:032x}", {}, {})
        assert all(ledger.has("cut", f"{number:032x}") for number in range(20))
        before = len(waited)
        monkeypatch.setattr(pipeline.engine.ledger, "SYNC_EVERY_S", 0)
        ledger.write("cut", OTHER, {}, {})
        assert len(waited) == before + 1
        monkeypatch.setattr(pipeline.engine.ledger, "SYNC_EVERY_S", 1000)
        ledger.write("visual", OTHER, {}, {})
        assert len(waited) == before + 1
    assert len(waited) == before + 2 and before <= 3


def test_a_full_part_gets_a_successor(ledger, monkeypatch):
    monkeypatch.setattr(pipeline.engine.parts, "PART_BYTES", 50_000)
    for number in range(6):
        ledger.write("cut", f"{number:032x}", {"pcm": np.arange(5000)}, {})
    assert len({one.path for one in ledger.stored()}) == 4  # two results fill one
    seen = anew(ledger)
    assert all(seen.read("cut", f"{number:032x}") for number in range(6)) and seen.has("cut", KEY)


def test_a_folder_that_was_taken_away_is_empty(ledger, tmp_path):
    for path in tmp_path.iterdir():
        path.unlink()
    assert not ledger.has("cut", KEY)
    ledger.write("cut", OTHER, {}, {})
    assert anew(ledger).has("cut", OTHER)


def test_many_results_are_found_after_they_were_sorted(ledger, monkeypatch):
    monkeypatch.setattr(pipeline.engine.places, "RECENT", 16)
    with ledger.together():
        for number in range(100):
            ledger.write("cut", f"{number % 50:032x}", {}, {"number": number})
    for seen in (ledger, anew(ledger)):
        for number in range(50):
            assert seen.facts("cut", f"{number:032x}").facts == {"number": number + 50}


def old_file(ledger, stage, key, arrays, note):
    """Write a result as earlier versions did."""
    text = np.frombuffer(json.dumps(note).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, _note=text, **arrays)
    path = ledger.root / stage / key[:2] / f"{key}.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(buffer.getvalue())
    return path


def test_results_of_earlier_versions_are_read(ledger, capsys):
    path = old_file(ledger, "cut", OTHER, {"x": np.arange(5)}, {"facts": {"a": 1}, "outcome": None})
    outcome = {"status": "failed", "stage": "cut", "code": "no_audio", "message": "x: no sound"}
    note = {"facts": {}, "outcome": outcome, "judged_by": JUDGED_BY}
    old_file(ledger, "visual", KEY, {}, note)
    old_file(ledger, "motion", KEY, {}, note | {"judged_by": JUDGED_BY - 1})
    assert ledger.has("cut", OTHER) and ledger.facts("cut", OTHER).facts == {"a": 1}
    assert ledger.read("cut", OTHER).arrays["x"].tolist() == list(range(5))
    assert ledger.read("visual", KEY).outcome == FAILED
    assert ledger.read("motion", KEY) is None
    assert len(list(ledger.stored())) == 4
    path.write_bytes(path.read_bytes()[:100])
    assert ledger.read("cut", OTHER) is None
    assert not path.exists() and f"{path}: damaged" in capsys.readouterr().err
