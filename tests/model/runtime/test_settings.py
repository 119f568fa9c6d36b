"""The settings of every trainer: one dataclass each, one way to read and to check them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from model.codecs.jukebox.config import CodecConfig
from model.contract.exit_codes import UsageError
from model.families.d2m_gan.config import Config, load_config
from model.runtime.resume import check_begun, other_settings, refuse_other
from model.runtime.settings import (
    Settings,
    load,
    may_change_on_resume,
    override,
    setting,
    to_dict,
    with_todays_names,
)
from model.training.finetune_config import SynthesizerConfig


def gains() -> dict[str, float]:
    return {"near": 1.0, "far": 0.5}


@dataclass(frozen=True)
class Other(Settings):
    """What another family of generators, maybe of another package, would bring."""

    layers: int = setting(6, min=1, below=100, earlier_names=("layers_count",))
    shift: float = setting(0.0, min=None)
    rate: float = setting(1e-3, may_change=True)
    share: float = setting(0.5, max=1)
    kind: str = setting("causal", choices=("causal", "masked"))
    names: tuple[str, ...] = setting(("a", "b"), choices="abc")
    masked: bool = False
    gains: dict[str, float] = field(default_factory=gains, metadata={"item": "gain"})
    note: str = ""


PRESETS = {"small": {"layers": 2, "gains": {"far": 0.0}}}


def test_another_dataclass_is_read_from_preset_file_and_words(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("rate: 1e-4\ngains: {near: 3}\nshift: -2\n", encoding="utf-8")
    words = ["names=b,c", "masked=true", "gains.far=2", "note=a: note, with all of it"]
    config = load(Other(), words, file, "small", PRESETS)
    assert config == Other(
        layers=2, shift=-2.0, rate=1e-4, names=("b", "c"), masked=True,
        gains={"near": 3.0, "far": 2.0}, note="a: note, with all of it",
    )  # fmt: skip
    assert override(Other(), to_dict(config), "a checkpoint") == config
    with pytest.raises(ValueError, match="unknown preset 'large'; expected one of small"):
        load(Other(), preset="large", presets=PRESETS)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("layers=0", "layers is 0; expected at least 1"),
        ("layers=100", "layers is 100; expected less than 100"),
        ("layers=2.5", r"layers is 2\.5; expected int"),
        ("layer=2", "'layer' is an unknown key; did you mean 'layers'"),
        ("shift=-.inf", "shift is -inf; expected a finite number$"),
        ("rate=-1", r"rate is -1\.0; expected a finite number, at least 0"),
        ("share=1.5", r"share is 1\.5; expected a number of \[0, 1\]"),
        ("kind=both", "kind is 'both'; expected one of causal, masked"),
        ("names=a,d", r"names are \['a', 'd'\]; expected one of a, b, c each"),
        ("names=[]", r"names is \[\]; expected a list like \['a', 'b'\]"),
        ("masked=1", "masked is 1; expected bool: true or false"),
        ("gains.fat=1", "'fat' is an unknown gain; did you mean 'far'"),
        ("gains.far=-1", r"gains\.far is -1\.0; expected a finite number, at least 0"),
        ("gains=3", "gains is 3; expected gain names and numbers"),
        ("layers", "--set layers: expected key=value"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(word, message):
    with pytest.raises(UsageError, match=message):
        load(Other(), [word])


@pytest.mark.parametrize("config", [Config(), SynthesizerConfig()])
@pytest.mark.parametrize("betas", ["0.25,0.75", "[0.25, 0.75]"])
def test_every_trainer_takes_lists_with_and_without_brackets(config, betas):
    assert load(config, [f"betas={betas}"]).betas == (0.25, 0.75)
    with pytest.raises(UsageError, match=r"betas are \[0.5\]; expected two numbers of \[0, 1\)"):
        load(config, ["betas=0.5"])


def test_settings_that_depend_on_each_other_come_in_any_order():
    words = ["crop_samples=1032", "levels=bottom"]
    assert load(CodecConfig(), words) == load(CodecConfig(), reversed(words))
    with pytest.raises(UsageError, match=r"--set: crop_samples is 1032; expected a multiple of "):
        load(CodecConfig(), [words[0], "width=8"])


def test_numbers_out_of_range_are_refused_in_python_too():
    with pytest.raises(ValueError, match="layers is 0"):
        Other(layers=0)
    with pytest.raises(ValueError, match=r"weights\.mel is nan"):
        Config(weights={"mel": float("nan")})


def test_a_setting_whose_type_no_file_could_give_is_an_error_of_the_code():
    @dataclass(frozen=True)
    class Wrong(Settings):
        when: list[int] = field(default_factory=list)

    with pytest.raises(TypeError, match=r"Wrong\.when is list\[int\]; settings are bool, int"):
        override(Wrong(), {}, "test")


def test_a_renamed_setting_is_taken_by_its_earlier_name(tmp_path):
    file = tmp_path / "old.yaml"
    file.write_text("judge_latents: true\n", encoding="utf-8")
    assert load_config("paper", file).discriminate_latents
    assert load_config("paper", None, ["judge_latents=true"]).discriminate_latents
    assert override(Config(), {"judge_latents": True}, "last.pt").discriminate_latents
    begun = to_dict(Config())
    begun["judge_latents"] = begun.pop("discriminate_latents")
    assert other_settings(begun, Config(), "last.pt") == ""
    with pytest.raises(UsageError, match="discriminate_latents is 'perhaps'; expected bool"):
        load_config("paper", None, ["judge_latents=perhaps"])
    both = {"judge_latents": True, "discriminate_latents": False}
    message = "old: judge_latents is the earlier name of discriminate_latents; give one of them"
    with pytest.raises(ValueError, match=message):
        with_todays_names(both, Config, "old")


def test_a_run_goes_on_with_the_settings_that_may_change(tmp_path):
    old = {**to_dict(Other()), "layers_count": 6, "names": ("a", "b")}
    del old["layers"]
    assert other_settings(old, Other(rate=5.0), "last.pt") == ""
    message = other_settings(old, Other(layers=7), "last.pt")
    assert message == "layers was 6, is 7"
    with pytest.raises(ValueError, match="another configuration: layers was 6, is 7; give "):
        refuse_other(tmp_path, {"other data": "", "another configuration": message}, "--set")
    assert may_change_on_resume(Other) == {"rate"}


def test_a_run_begun_before_a_setting_existed_goes_on_with_its_default():
    before = to_dict(Other())
    del before["layers"]
    assert other_settings(before, Other(), "last.pt") == ""
    default = Other().layers
    message = f"layers was {default}, is {default + 1}"
    assert other_settings(before, Other(layers=default + 1), "last.pt") == message


def test_a_run_neither_overwrites_another_nor_goes_on_from_nothing(tmp_path):
    check_begun(tmp_path / "last.pt", resume=False)
    with pytest.raises(FileNotFoundError, match=r"last\.pt: not found, nothing to resume; leave"):
        check_begun(tmp_path / "last.pt", resume=True)
    (tmp_path / "last.pt").touch()
    check_begun(tmp_path / "last.pt", resume=True)
    with pytest.raises(FileExistsError, match="holds a run already; go on with --resume"):
        check_begun(tmp_path / "last.pt", resume=False)
