"""The precision of a run: decided once, by the hardware it begins on, and kept when it goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from training_runs import SMALL, dataset_and_codec, equal

from model.codecs.jukebox.config import CodecConfig
from model.codecs.training.run import begun_with, pick_device
from model.contract import precision
from model.contract.exit_codes import UsageError
from model.contract.kinds import FAMILIES
from model.families.d2m_gan.config import Config, load_config
from model.runtime.checkpoint import LAST, read_checkpoint
from model.runtime.precision import as_begun, resolved
from model.runtime.settings import load, override, to_dict
from model.training.finetune_config import SynthesizerConfig
from model.training.loop import train

FAST = "model.contract.precision.fast_bf16"


def test_a_cpu_is_fast_in_bf16_only_with_tiles(tmp_path, monkeypatch):
    monkeypatch.undo()  # what tests elsewhere may not depend on
    facts = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision, "CPU_FACTS", facts)
    assert not precision.fast_bf16("cpu")  # not told
    for flags, fast in (("fpu avx512_bf16", False), ("fpu amx_bf16 amx_tile", True), ("", False)):
        facts.write_text(f"model name\t: X\nflags\t\t: {flags}\n\nflags : none\n", encoding="utf-8")
        assert precision.fast_bf16("cpu") is fast
        assert precision.usual("cpu") == ("bf16" if fast else "float32")


def test_auto_is_decided_by_the_hardware_of_all_processes(monkeypatch):
    monkeypatch.setattr(FAST, lambda device: device == "cuda")
    assert resolved(Config(), "cpu").precision == "float32"
    assert resolved(Config(), "cuda").precision == "bf16"
    assert resolved(Config(), "cuda", lambda fast: min(fast, 0)).precision == "float32"
    assert resolved(Config(precision="float32"), "cuda").precision == "float32"
    assert not Config().bf16 and Config(precision="bf16").bf16


def test_presets_say_what_they_said_before():
    said = {
        (family, preset): load(kind.Config(), preset=preset, presets=kind.PRESETS).precision
        for family in FAMILIES.own
        for kind in [FAMILIES.get(family)]
        for preset in kind.PRESETS
    }
    assert said["tokens", "base"] == said["masked", "cdcd"] == "bf16"
    tiny = {found for (_, preset), found in said.items() if preset == "tiny"}
    assert tiny == {"float32"}
    assert said["d2m-gan", "paper"] == "auto"


def test_the_earlier_setting_bf16_is_still_understood():
    for kind in (Config, CodecConfig, SynthesizerConfig):
        assert load(kind(), ["bf16=true"]).precision == "bf16"
        assert load(kind(), ["bf16=false"]).precision == "float32"
        assert override(kind(), {"bf16": True}, "old.yaml").bf16
        with pytest.raises(UsageError, match=r"--set bf16=1: bf16 is 1; expected true or false"):
            load(kind(), ["bf16=1"])
    with pytest.raises(UsageError, match="bf16 is 'auto'; expected true or false"):
        load(Config(), ["bf16=auto"])
    with pytest.raises(ValueError, match="bf16 is the earlier name of precision; give one"):
        override(Config(), {"bf16": True, "precision": "bf16"}, "x.yaml")


@pytest.mark.long
def test_a_run_keeps_the_precision_that_it_was_begun_with(tmp_path, monkeypatch):
    root, _ = dataset_and_codec(tmp_path, {"train": 2, "val": 1})
    config = replace(load_config("tiny", None, SMALL), precision="auto", max_steps=4)

    def checkpoint(run):
        return read_checkpoint(tmp_path / run / LAST)

    monkeypatch.setattr(FAST, lambda device: True)
    train(root, tmp_path / "whole", config)
    train(root, tmp_path / "parts", replace(config, max_steps=2))
    monkeypatch.setattr(FAST, lambda device: False)  # it goes on on another machine
    train(root, tmp_path / "parts", config, resume=True)
    assert checkpoint("parts")["config"]["precision"] == "bf16"
    equal(checkpoint("whole"), checkpoint("parts"))
    with pytest.raises(ValueError, match="precision was 'bf16', is 'float32'"):
        train(root, tmp_path / "parts", replace(config, precision="float32"), resume=True)
    train(root, tmp_path / "plain", config)
    assert checkpoint("plain")["config"]["precision"] == "float32"


def test_a_run_of_an_earlier_version_goes_on_as_it_was():
    for was, now in ((True, "bf16"), (False, "float32")):
        saved = {k: v for k, v in to_dict(Config()).items() if k != "precision"} | {"bf16": was}
        assert as_begun(Config(), saved, "run").precision == now
    assert not as_begun(Config(), {}, "run").bf16  # from before there was a choice


def test_a_codec_s_run_records_and_keeps_it(tmp_path, monkeypatch):
    config, device = CodecConfig(device="cpu"), pick_device(CodecConfig(device="cpu"))
    monkeypatch.setattr(FAST, lambda device: True)
    begun = begun_with(config, device, tmp_path, resume=False)
    assert begun.precision == "bf16"
    (tmp_path / "config.json").write_text(json.dumps(asdict(begun)), encoding="utf-8")
    monkeypatch.setattr(FAST, lambda device: False)
    assert begun_with(config, device, tmp_path, resume=True).precision == "bf16"
    (tmp_path / "config.json").write_text('{"bf16": false}', encoding="utf-8")
    assert begun_with(config, device, tmp_path, resume=True).precision == "float32"
