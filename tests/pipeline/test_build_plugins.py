"""What another installed package adds to a build: a source, a feature, networks, all by name."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builds import clip, refuse_work, run, shards
from drills import results
from packages import forgotten, write_package
from places import ROOT

from model.contract.dataset import load_dataset, save_dataset
from model.contract.shards import read_npy, read_shard
from model.generation.video_features import build_features
from pipeline.build import BuildOptions, build
from pipeline.engine.base import LocalEngine
from pipeline.features.motion.base import Motion
from pipeline.features.plan import Settings
from pipeline.features.visual.base import Visual
from pipeline.output.verify import verify
from pipeline.sources.aist import Aist
from pipeline.sources.folder import Folder
from pipeline.sources.manifest import Row

PLUGINS = ROOT / "tests" / "plugins"
FEATURE, SOURCE, COLOURS, CENTRE, MIDDLE = (
    (PLUGINS / f"{name}.py").read_text(encoding="utf-8")
    for name in (
        *("bright_feature", "listed_source", "colour_extractor", "centre_estimator"),
        "middle_detector",
    )
)
PACKAGES = {
    "bright_feature": (FEATURE, "[dance2music.features]\nbrightness=bright_feature:Brightness"),
    "listed_source": (SOURCE, "[dance2music.sources]\nlisted=listed_source:Listed"),
    "colour_extractor": (COLOURS, "[dance2music.visual]\ncolours=colour_extractor:Colours"),
    "centre_estimator": (CENTRE, "[dance2music.pose]\ncentre=centre_estimator:Centre"),
    "middle_detector": (MIDDLE, "[dance2music.detectors]\nmiddle=middle_detector:Middle"),
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that puts packages with entry points on the path, as an installer does."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}")

    def put(packages: dict[str, tuple[str, str]] = PACKAGES) -> None:
        for name, (code, points) in packages.items():
            (folder / f"{name}.py").write_text(code, encoding="utf-8")
            write_package(folder, name, points)

    with forgotten(PACKAGES):
        yield put


def command(folder: Path, *more: object) -> list[object]:
    return ["build", "--source", folder / "in", "--out", folder / "out", "--engine", "local", *more]


@pytest.fixture
def listed(install, tmp_path) -> list[object]:
    """Install all plugins, and return a command that uses each of them on two clips."""
    install()
    clip(tmp_path / "in" / "a.mp4", 4.2)
    clip(tmp_path / "in" / "b.mp4", 2.1)
    table = "file,split,song\na.mp4,train,s1\nb.mp4,test,s2\n"
    (tmp_path / "in" / "table.csv").write_text(table, encoding="utf-8")
    named = ["--dataset", "listed", "--listed-table", tmp_path / "in" / "table.csv"]
    looks = ["--feature", "brightness", "--bright-looks", 2, "--visual", "colours"]
    return command(tmp_path, *named, *looks, "--visual-windows", 3, "--detector", "middle")


def test_every_plugin_of_a_build_is_named_on_the_command_line_and_does_its_part(
    listed, tmp_path, monkeypatch, capsys
):
    assert run(*listed) == 0, capsys.readouterr().err
    out = tmp_path / "out"
    found = dict(read_shard(out / "train-000000.tar")) | dict(read_shard(out / "test-000000.tar"))
    assert sorted(found) == ["a_seg0001", "a_seg0002", "b_seg0001"]
    for members in found.values():
        assert list(members) == ["wav", "brightness.npy", "visual.npy", "motion.npy", "json"]
        mean, spread = read_npy(members["brightness.npy"])
        colours = read_npy(members["visual.npy"])
        assert colours.shape == (3, 3) and colours.min() > 0 and 0 < mean < 255 and spread > 0
        body = read_npy(members["motion.npy"]).reshape(60, 25, 3)
        np.testing.assert_allclose(body[:, 0], [[0, 0, 1]] * 60, atol=0.02)
        assert not body[:, 1:].any()
        assert json.loads(members["json"])["dancers_seen"] == 1
    dataset = load_dataset(out)
    assert dataset.name == "listed" and dataset.untrained == []
    assert dataset.fields["brightness.npy"] == {"dtype": "float32", "shape": [2]}
    assert dataset.fields["visual.npy"]["extractor"] == "colours"
    motion = dataset.fields["motion.npy"]
    assert (motion["kind"], motion["layout"]) == ("centre", "body25")
    assert (motion["weights"], motion["detector"]) == ("centre", "middle")
    wanted = {"feature": ["brightness"], "bright_looks": 2, "visual": "colours", "weights": "mean"}
    assert dataset.build.items() >= wanted.items()
    assert dataset.build.items() >= {"motion": "centre", "detector": "middle"}.items()
    assert list(verify(out))

    before = shards(out)
    monkeypatch.setattr(LocalEngine, "run", refuse_work)
    assert run(*listed) == 0
    assert shards(out) == before


def test_an_option_of_a_plugin_makes_its_results_again_and_no_others(listed, tmp_path, capsys):
    assert run(*listed) == 0
    first = results(tmp_path / "out")
    assert run(*listed, "--bright-looks", 3) == 0
    assert "--bright-looks was 2, is 3" in capsys.readouterr().out
    again = results(tmp_path / "out")
    assert again.items() >= first.items()
    assert {stage for stage, _ in again.keys() - first.keys()} == {"brightness"}


@pytest.mark.long
def test_generation_makes_the_features_of_a_plugin_again_from_the_record(listed, tmp_path):
    assert run(*listed) == 0
    dataset = load_dataset(tmp_path / "out")
    build_features(tmp_path / "in" / "b.mp4", dataset.build | {"audio_track": 1}, tmp_path / "new")
    made = load_dataset(tmp_path / "new")
    assert made.fields == {k: v for k, v in dataset.fields.items() if k != "wav"}
    assert made.build == dataset.build | {"no_sound": True}


def test_only_a_plugin_that_is_named_is_imported_and_its_options_then_have_help(
    listed, tmp_path, capsys
):
    assert run("build", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in ("listed", "brightness", "colours", "centre", "middle", "i3d_inception"):
        assert name in text
    assert "--bright-looks" not in text and "--listed-table" not in text
    assert "bright_feature" not in sys.modules and "listed_source" not in sys.modules
    assert run("build", "--dataset", "listed", "--feature=brightness", "--help") == 0
    text = capsys.readouterr().out
    assert "--bright-looks" in text and "--listed-table" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "foldr"], "unknown data set 'foldr'; there are: synthetic, folder"),
        (["--visual", "i3d_r5"], "did you mean 'i3d_r50'?"),
        (["--motion", "smlp"], "unknown kind of motion 'smlp'"),
        (["--detector", "fasterrcn_mobilenet"], "did you mean 'fasterrcnn_mobilenet'?"),
        (["--feature", "brightnes"], "unknown feature 'brightnes'; there are: motion, visual"),
    ],
)
def test_an_unknown_name_is_wrong_usage_and_lists_what_there_is(arguments, words, tmp_path, capsys):
    assert run(*command(tmp_path, "--dataset", "folder", *arguments)) == 2
    assert words in capsys.readouterr().err


def test_a_plugin_that_fails_to_import_is_named_and_disturbs_no_other_build(
    install, tmp_path, capsys
):
    kinds = ("features", "sources", "visual", "pose", "detectors")
    points = "\n".join(f"[dance2music.{kind}]\nbroken=bad_package:Bad" for kind in kinds)
    install({"bad_package": ("import no_such_module", points)})
    clip(tmp_path / "in" / "a.mp4", 2.1)
    plain = ("--dataset", "folder", "--visual", "none")
    assert run(*command(tmp_path, *plain)) == 0
    for more in (
        ("--feature", "broken"),
        ("--dataset", "broken"),
        ("--visual", "broken"),
        ("--motion", "broken"),
    ):
        assert run(*command(tmp_path, *plain, *more)) == 1
        assert "'broken' of the package bad_package cannot be imp" in capsys.readouterr().err


def test_a_plugin_s_option_may_not_take_the_name_of_another(install, tmp_path, capsys):
    code = FEATURE.replace('flag="bright-looks"', 'flag="window-s"')
    install({"bright_feature": (code, PACKAGES["bright_feature"][1])})
    assert run(*command(tmp_path, "--dataset", "folder", "--feature", "brightness")) == 1
    err = capsys.readouterr().err
    assert (
        "declares the option --window-s, which is already used" in err and "bright_feature" in err
    )


def test_a_feature_that_gives_another_shape_fails_the_input_by_name(install, tmp_path, capsys):
    code = FEATURE.replace("values.std(1)], axis=1", "values.std(1)], axis=0")
    install({"bright_feature": (code, PACKAGES["bright_feature"][1])})
    clip(tmp_path / "in" / "a.mp4", 2.1)
    plain = ("--dataset", "folder", "--visual", "none", "--feature", "brightness")
    assert run(*command(tmp_path, *plain)) == 3
    assert "brightness returned an array (2, 1), expected (1, 2)" in capsys.readouterr().out


def test_python_users_give_a_list_of_features(listed, tmp_path):
    from bright_feature import Brightness

    features = [Brightness(looks=2), Visual("colours", windows=3)]
    report = build(BuildOptions(Folder(tmp_path / "in"), tmp_path / "py", features, engine="local"))
    assert report.counts == {"ok": 2}
    dataset = load_dataset(tmp_path / "py")
    assert dataset.build["motion"] == "none" and "motion.npy" not in dataset.fields
    with pytest.raises(ValueError, match="feature 'visual' is given twice"):
        BuildOptions(Folder("in"), "no", [Visual(), Visual("none")])
    mixed = [Visual("colours", precision="bf16"), Motion("centre", precision="float32")]
    with pytest.raises(ValueError, match="--precision is float32 for one feature and bf16 for"):
        BuildOptions(Folder("in"), "no", mixed)


def test_command_and_python_make_the_same_options():
    flags = {"dataset": "aist", "source": Path("v"), "motion": "smpl", "visual_windows": 2}
    made = BuildOptions.of(flags | {"window_s": "4"})
    features = [Motion("smpl"), Visual(windows=2)]
    assert made == BuildOptions(Aist("v"), "shards/aist", features, window_s="4")


def test_stored_results_are_found_under_the_keys_of_earlier_versions():
    """Keys as the version before features had classes computed them, for a video and a clip."""
    row = Row("v", "v.mp4", sha256="0" * 64, motion="v.pkl", motion_sha256="1" * 64)
    part = replace(row, start_s="1/2", stop_s="9/2", box=(0, 0, 4, 2))
    posed = Motion("mmpose", weights_id="p", detector_id="d", precision="float32")
    flow = Visual("i3d_inception", 2, flow="raft_large", precision="bf16", weights_id="w")
    known = [
        ([], {}, "cut", "134d2665425b023dad7405524224fef3", "110620487621c819f0d3bee6b25c039d"),
        (
            *([], {"no_sound": True, "audio_track": 3, "window_s": "4"}, "cut"),
            *("d8def381d380c6909f862a9d61249348", "5002e62d5ff8a9887eb4d9cfac4280c8"),
        ),
        (
            *([Motion("smpl")], {}, "motion"),
            *("638638224b006a605d462a1e98d94aef", "92a503dd48c8cda1112967ed68007b4f"),
        ),
        (
            *([Motion("smpl-joints", model_id="b")], {}, "motion"),
            *("aebcb4d70d85dcfd8a3f02803a279fb1", "aeaa01263e259498e48a327f7f1f82ff"),
        ),
        (
            *([Motion("openpose")], {"audio_track": 2, "window_s": "5/2"}, "motion"),
            *("cc86119d527c8f985a8949bd04c49cb9", "93d8c8bd539cbb03035faa43cd621251"),
        ),
        (
            *([replace(posed, precision="bf16")], {}, "pose"),
            *("e4cc890df47f79b44c16392c81a9ca26", "31c22ac4550b8906d5ddb6616ab8dbea"),
        ),
        (
            *([posed], {}, "motion"),
            *("96b3e2496e1529ebac2991abaa134868", "07ab10e1874bb2595582928e0c99e645"),
        ),
        (
            *([Visual(weights_id="w", precision="float32")], {}, "visual"),
            *("c2125d825abc941aa9c75de2c40c3c80", "03b0af0fb842a5a73527582466ae5a63"),
        ),
        (
            *([flow], {"no_sound": True}, "visual"),
            *("4fd9a6f5f260cd686cc696629b02a46f", "6d884dc7c7716918856f6925deaf3885"),
        ),
    ]
    for features, more, result, video, clip_of_it in known:
        settings = Settings(Path(), Path(), Path(), tuple(features), **more)
        assert (settings.key(result, row), settings.key(result, part)) == (video, clip_of_it)


def test_a_data_set_of_an_earlier_version_has_the_layout_of_its_kind(listed, tmp_path):
    assert run(*listed) == 0
    dataset = load_dataset(tmp_path / "out")
    for kind, stored, layout in (
        ("smpl", {}, "smpl-rotations"),
        ("smpl-joints", {}, "smpl-joints"),
        ("openpose", {}, "body25"),
        ("mmpose", {"layout": "BODY_25"}, "body25"),
    ):
        old = {"dtype": "float32", "shape": [60, 75], "kind": kind, "fps": 30, **stored}
        save_dataset(tmp_path, replace(dataset, fields={"motion.npy": old}))
        assert load_dataset(tmp_path).fields["motion.npy"] == {**old, "layout": layout}
    other = {"dtype": "float32", "shape": [60, 9], "kind": "fake", "fps": 30}
    save_dataset(tmp_path, replace(dataset, fields={"motion.npy": other}))
    assert load_dataset(tmp_path).fields["motion.npy"] == other
