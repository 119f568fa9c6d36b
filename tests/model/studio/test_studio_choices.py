"""What can be chosen for a run: only what its family takes, and values that are any."""

from __future__ import annotations

import pytest

pytest.importorskip("gradio", reason="no Gradio here: install dance2music[studio]")

import gradio as gr
from studios import RUNS

from model.studio.data_sets import DataSet
from model.studio.runs import SLIDERS, Choice, arguments_of, describe, describe_all, settings_of
from model.studio.tab_make import _controls
from model.studio.users import Refused


def test_the_shipped_models_are_there_without_training_and_say_what_they_are():
    runs = describe_all(["demo-notes", "demo"])
    assert list(runs) == ["demo-notes", "demo"]
    notes, codes = runs.values()
    assert (notes.family, codes.family) == ("cmt", "tokens")
    assert "synthetic" in notes.note and "synthetic" in codes.note
    assert notes.default("guidance") is None and notes.default("temperature") == 0.8
    assert codes.default("guidance") == 2.0 and codes.options["guidance"] == "2.0,1.0"
    assert "style" in codes.options and "style" not in notes.options


def test_a_run_that_is_not_there_is_an_error_with_its_name(tmp_path):
    with pytest.raises((ValueError, OSError), match="absent"):
        describe(str(tmp_path / "absent"))


def test_a_choice_becomes_the_arguments_of_the_command():
    choice = Choice("codes", 3, 4.0, "BR", settings={"guidance": 2.5, "top_p": "0.9,0.8"})
    runs = {"codes": RUNS["codes"]}
    with pytest.raises(Refused, match="no option 'top_p'"):
        arguments_of(runs["codes"], choice)
    choice = Choice("codes", 3, 4.0, "BR", settings={"guidance": 2.5})
    assert arguments_of(runs["codes"], choice) == (
        "--run codes --seed 3 --length-s 4 --genre BR --set guidance=2.5".split()
    )


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        (Choice("notes", -1), "the seed is -1"),
        (Choice("notes", 2**63), "the seed is"),
        (Choice("notes", 0, -1.0), "the length is"),
        (Choice("notes", 0, float("nan")), "the length is"),
        (Choice("notes", 0, float("inf")), "the length is"),
        (Choice("notes", 0, None, "BR"), "does not take this genre"),
        (Choice("notes", 0, None, "", "funky"), "takes no words"),
        (Choice("notes", settings={"guidance": 1.0}), "no option 'guidance'"),
        (Choice("notes", settings={"temperature": "1 --out /etc"}), "not a number"),
        (Choice("notes", settings={"temperature": "/etc/passwd"}), "not a number"),
        (Choice("codes", settings={"style": "x.wav"}), "no option 'style'"),
    ],
)
def test_a_value_that_a_run_does_not_take_is_refused(choice, why):
    with pytest.raises(Refused, match=why):
        arguments_of(RUNS[choice.run], choice)


def test_other_options_are_read_from_text():
    assert settings_of(" a=1  b=x,y ") == {"a": "1", "b": "x,y"}
    assert settings_of("") == {}
    for text in ("a", "=1", "a=", "a b", "--out=x", "a.b=1"):
        with pytest.raises(Refused, match="expected NAME=VALUE"):
            settings_of(text)


def test_a_folder_without_a_data_set_is_an_error(tmp_path):
    with pytest.raises((ValueError, OSError), match=r"dataset\.json"):
        DataSet(tmp_path)


@pytest.mark.parametrize("name", RUNS)
def test_every_slider_holds_a_value_of_its_range_even_if_it_is_hidden(name):
    """Gradio refuses all that a page sends if one slider, shown or not, is out of its range."""
    sliders = [each for each in _controls(RUNS[name]) if isinstance(each, gr.Slider)]
    for slider, (low, high) in zip(sliders, SLIDERS.values(), strict=True):
        assert low <= slider.value <= high
