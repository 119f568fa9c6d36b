"""Weights by name: the table, what is checked of a file, the loaders and the command."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from weight_server import BODY, Script, get, sha256

import pipeline.weights.table
from model.codecs.base import load_codec
from model.codecs.jukebox.codec import find_weights
from model.contract.weights_folder import weights_folder
from pipeline.cli import main
from pipeline.features.pose import detector_torchvision as detect
from pipeline.features.pose import estimator_mmpose as pose
from pipeline.features.visual import inception
from pipeline.features.visual.i3d_r50 import I3D, weights_path
from pipeline.features.visual.optical_flow import Flow
from pipeline.weights.table import TABLE, Weight, check, find, git_blob_of, lookup, verify


def test_a_hash_of_a_single_source_is_a_hint(script, weight, monkeypatch):
    hint = replace(weight, doubt="single source")
    assert get(hint)[-1].endswith("SHA-256 is as stated (unverified: single source)")
    told = check(replace(hint, sha256="0" * 64), script.target)
    assert told == f"DIFFERS: SHA-256 is {sha256(BODY)}, the single source known states {'0' * 64}"
    monkeypatch.setattr(pipeline.weights.table, "TABLE", (replace(hint, sha256="0" * 64),))
    with pytest.warns(UserWarning, match="DIFFERS"):
        assert find("toy") == script.target
    lines, right = verify()
    assert "DIFFERS" in lines[0] and not right


def test_a_hash_may_be_known_by_its_beginning_by_git_or_not_at_all(script, weight, tmp_path):
    get(weight)
    told = check(replace(weight, sha256=sha256(BODY)[:8]), script.target)
    assert told == f"SHA-256 begins {sha256(BODY)[:8]}, as the file's name says"
    with pytest.raises(ValueError, match="expected beginning 00000000"):
        check(replace(weight, sha256="00000000"), script.target)
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert git_blob_of(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"
    blob = replace(weight, sha256="", git_blob=git_blob_of(script.target))
    assert check(blob, script.target) == "git's blob id is right"
    with pytest.raises(ValueError, match=r"git's blob id is .* expected 0000"):
        check(replace(blob, git_blob="0" * 40), script.target)
    assert check(replace(weight, sha256=""), script.target).startswith("unverified: no hash")


def test_wrong_bytes_put_there_by_hand_are_not_used(script, weight):
    script.target.parent.mkdir()
    script.target.write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match=rf"{sha256(BODY[:-1])}, expected {sha256(BODY)}"):
        find("toy")
    assert verify() == ([f"toy: WRONG {reason(weight, script)}"], False)


def reason(weight: Weight, script: Script) -> str:
    with pytest.raises(ValueError) as caught:
        check(weight, script.target)
    return str(caught.value)


def test_a_file_that_changed_since_it_was_fetched_is_refused(script, weight, tmp_path):
    codec = replace(weight, name="jukebox-5b", file="vqvae.pth.tar", sha256="")
    get(codec)
    assert find_weights("jukebox-5b") == (tmp_path / "weights" / "vqvae.pth.tar", True)
    codec.path.write_bytes(BODY[:-1])
    assert check(replace(codec, sha256=sha256(BODY[:-1])), codec.path) == "SHA-256 is right"
    changed = rf"{sha256(BODY[:-1])}, but {sha256(BODY)} was fetched"
    for use in (lambda: find_weights("jukebox-5b"), lambda: check(codec, codec.path)):
        with pytest.raises(ValueError, match=changed):
            use()
    assert find_weights(codec.path) == (codec.path, False)


def test_a_folder_of_safetensors_and_its_configuration_is_fetched_by_one_name(script, tmp_path):
    pytest.importorskip("transformers")
    from model.codecs.encodec.codec import random_encodec
    from model.codecs.encodec.weights import write_encodec

    write_encodec(tmp_path / "published", random_encodec().model, "")
    published = lookup("encodec-32khz")
    made = []
    for one in published.files:  # the configuration comes first
        body = (tmp_path / "published" / one.path.name).read_bytes()
        script.body, url = body, script.url.replace("w.pth", one.path.name)
        script.target = one.path
        known = replace(one, url="", sha256=sha256(body), size_bytes=len(body), companion=None)
        assert get(known, url)[0].startswith("LICENCE encodec-32khz: CC-BY-NC 4.0")
        made.append(known)
    assert load_codec("encodec-32khz").codes_id == random_encodec().codes_id
    weights = made[-1]
    weights.path.write_bytes(b"<html>not what was asked for")
    with pytest.raises(ValueError, match=r"is no safetensors file .*fetch it again"):
        check(weights, weights.path)


def test_terms_are_shown_before_the_file_is_fetched(script, weight):
    told = get(replace(weight, restricted="noncommercial: not for sale"))
    assert told[0] == "LICENCE toy: none; noncommercial: not for sale" and len(told) == 2


def test_smpl_is_not_fetched_and_the_page_is_named(capsys):
    with pytest.raises(SystemExit) as end:
        main(["weights", "fetch", "smpl"])
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert "https://smpl.is.tue.mpg.de" in error and "name their path" in error
    with pytest.raises(ValueError, match="did you mean 'i3d_rgb'"):
        lookup("i3d_rbg")


def test_the_table_is_consistent():
    assert len({weight.name for weight in TABLE}) == len({weight.file for weight in TABLE}) == 17
    for weight in TABLE:
        assert weight.url or weight.package
        if weight.url:
            assert weight.url.startswith("https://") and weight.url.endswith("/" + weight.path.name)
        assert re.fullmatch(r"([0-9a-f]{8}|[0-9a-f]{64})?", weight.sha256)
        assert bool(weight.sha256) != bool(weight.git_blob)
        assert weight.licence and weight.purpose
        named = re.search(r"[-_]([0-9a-f]{8})(_\d{8})?\.pth$", weight.file)
        assert named is None or weight.sha256.startswith(named[1])
    restricted = {weight.name for weight in TABLE if weight.restricted}
    assert restricted == {"jukebox-5b", "encodec-32khz", "hrnet_w32_wholebody"}


def test_loaders_and_the_table_agree_on_the_place(tmp_path, monkeypatch):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path))
    assert weights_folder() == tmp_path / "weights"
    for name, load in {
        "jukebox-5b": lambda: find_weights("jukebox-5b"),
        "i3d_r50": lambda: weights_path("kinetics"),
    }.items():
        expected = rf"{lookup(name).path}.*pipeline weights fetch {name}.*by hand"
        with pytest.raises(FileNotFoundError, match=expected):
            load()
    monkeypatch.setenv("D2M_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() == tmp_path / ".cache" / "dance2music" / "weights"


class Call:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (print, ("owned",))


LOADERS = {
    "i3d_r50": lambda path: I3D(str(path), device="cpu").setup(),
    "i3d_rgb": lambda path: inception.load(3, path),
    "raft_small": lambda path: Flow("raft_small", path).setup(),
    "fasterrcnn_mobilenet": lambda path: detect.load(str(path)),
    "hrnet_w32_wholebody": lambda path: pose.load(str(path)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", LOADERS)
def test_a_file_that_is_no_weights_is_refused_in_our_words(name, tmp_path, capfd):
    contents = {
        "call.pth": {"state": Call()},
        "list.pth": [1, 2],
        "other.pth": {"a": torch.ones(1)},
    }
    for file, content in contents.items():
        torch.save(content, tmp_path / file)
    (tmp_path / "text.pth").write_text("no weights", encoding="utf-8")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:200])
    for path in sorted(tmp_path.glob("*.pth")):
        with pytest.raises(ValueError, match="fetch them: pipeline weights fetch") as refused:
            LOADERS[name](path)
        words = str(refused.value)
        assert words.startswith(f"{path}: not ") and words.endswith(f"fetch {name}")
        assert "weights_only" not in words and "Error(s)" not in words and "\n" not in words
        assert ("could run code" in words) == (path.name == "call.pth")
    assert "owned" not in capfd.readouterr().out


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "file"))
    with pytest.raises(SystemExit) as end:
        main(["weights", "fetch", "vggish_pca"])
    assert end.value.code == 1
    assert f"{tmp_path}/file/weights: Not a directory; check the path" in capsys.readouterr().err


def test_the_command_lists_fetches_and_verifies(script, weight, capsys):
    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as end:
            main(["weights", *arguments])
        return end.value.code

    assert run() == run("list") == 0
    text = capsys.readouterr().out
    assert sha256(BODY) in text and "smpl.is.tue.mpg.de" in text and str(weights_folder()) in text
    assert run("verify") == 0 and run("verify", "toy") == 1
    assert "pipeline weights fetch toy" in capsys.readouterr().err
    assert run("fetch", "toy", "--url", script.url) == run("verify", "toy") == 0
    assert "toy: SHA-256 is right" in capsys.readouterr().out
    script.target.write_bytes(BODY[:-1])
    assert run("verify") == 1 and "WRONG" in capsys.readouterr().out
    assert run("fetch", "toy") == 1 and "expected" in capsys.readouterr().err
