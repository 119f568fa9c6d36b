"""The ledger: facts are read without arrays, and damage is found where it lies."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.engine.ledger import Ledger
from pipeline.engine.outcome import Outcome

KEY = "ab" * 16


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path)
    made.write("cut", KEY, {"pcm": np.arange(5000)}, {"starts_s": ["0"]})
    return made


def test_facts_are_the_same_without_arrays(ledger):
    assert ledger.facts("cut", KEY).facts == ledger.read("cut", KEY).facts == {"starts_s": ["0"]}
    assert not ledger.facts("cut", KEY).arrays
    assert ledger.read("cut", KEY).arrays["pcm"].tolist() == list(range(5000))


def test_facts_tell_of_a_failure_as_reading_does(ledger):
    failed = Outcome("failed", "cut", "no_audio", "x: no sound")
    ledger.write("cut", KEY, {}, {}, failed)
    assert ledger.facts("cut", KEY).outcome == ledger.read("cut", KEY).outcome == failed
    assert ledger.facts("cut", "cd" * 16) is None


@pytest.mark.parametrize("left", [0, 100, 30_000])
def test_a_result_cut_short_is_thrown_away_by_either(ledger, left, capsys):
    path = ledger.path("cut", KEY)
    whole = path.read_bytes()
    for look in (ledger.facts, ledger.read):
        path.write_bytes(whole[:left])
        assert look("cut", KEY) is None
        assert not path.exists() and f"{path}: damaged" in capsys.readouterr().err


def test_a_changed_array_is_found_where_arrays_are_read(ledger, capsys):
    path = ledger.path("cut", KEY)
    data = bytearray(path.read_bytes())
    data[20_000] ^= 1
    path.write_bytes(data)
    assert ledger.facts("cut", KEY).facts == {"starts_s": ["0"]}
    assert ledger.read("cut", KEY) is None
    assert not path.exists() and "damaged" in capsys.readouterr().err
