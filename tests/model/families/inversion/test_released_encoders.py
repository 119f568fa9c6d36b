"""The released encoders of textual inversion, from files laid out as theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from music_models import write_musicgen
from training_runs import command

from model.codecs.base import load_codec
from model.fake_dataset import write_fake_dataset
from model.families.inversion.config import Config
from model.families.inversion.family import WordEncoders
from model.families.inversion.released_weights import GENRE, PREFIX, RHYTHM, load_released
from model.generation.run import load_run


def published(network: WordEncoders) -> dict[str, dict[str, torch.Tensor]]:
    """Return encoders as the authors' training code saves them."""
    assert network.genre is not None
    parts = {RHYTHM: network.rhythm, GENRE: network.genre.projector}
    return {
        key: {PREFIX + begins + name: p.detach().clone() for name, p in part.named_parameters()}
        for (key, begins), part in parts.items()
    }


def released(path: Path, width: int = 768, out: int = 768) -> tuple[Path, WordEncoders]:
    torch.manual_seed(5)
    network = WordEncoders(Config(width=width), 303, out)
    torch.save(published(network), path)
    return path, network


def test_the_published_layout_loads_into_encoders_of_the_published_sizes(tmp_path):
    path, network = released(tmp_path / "encoders.pt")
    names = [*published(network)["poseEncoder"]]
    own = [name.removeprefix(f"{PREFIX}poseEncoder.") for name in names]
    assert "pos_emb" in own and "input_projection.1.weight" in own
    assert {"rembed.attn1.to_q.weight", "rembed.attn2.to_out.0.bias"} <= {*own}
    loaded = WordEncoders(Config(), 303, 768)
    load_released(loaded, path)
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_files_of_another_layout_are_refused_by_the_first_tensor_that_differs(tmp_path):
    network = WordEncoders(Config(), 303, 768)
    with pytest.raises(FileNotFoundError, match="no such file; the authors' repository links"):
        load_released(network, tmp_path / "none.pt")
    path, _ = released(tmp_path / "other.pt", width=64)
    with pytest.raises(ValueError, match=r"poseEncoder: input_projection\.1\.bias is \(64,\)"):
        load_released(network, path)
    torch.save({"poseEncoder": {}}, path)
    with pytest.raises(ValueError, match=r"poseEncoder: input_projection.* is nothing"):
        load_released(network, path)
    torch.save({"model": 1}, path)
    with pytest.raises(ValueError, match=r"no state dict 'poseEncoder' \(found: model\)"):
        load_released(network, path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="cannot be read"):
        load_released(network, path)


def test_the_command_makes_a_run_of_the_released_encoders(tmp_path):
    base = write_musicgen(tmp_path / "small")
    source = f"encodec:{base}"
    write_fake_dataset(
        tmp_path / "shards", load_codec(source), source, {"train": 1}, segments=1, window_s="5.12",
        motion=(60, 75), visual_windows=None,
    )  # fmt: skip
    path, network = released(tmp_path / "encoders.pt", width=48, out=32)
    arguments = ["import-released", "--shards", tmp_path / "shards", "--out", tmp_path / "run"]
    more = ["--base", base, "--set", "width=48"]
    assert command(*arguments, "--encoders", path, *more) == 0
    run = load_run(tmp_path / "run")
    assert run.family == "inversion" and run.step == 0
    weight = run.model.network.state_dict()["rhythm.rembed.net.1.weight"]
    assert torch.equal(weight, network.state_dict()["rhythm.rembed.net.1.weight"])
    assert command(*arguments, "--encoders", path, *more) == 1, "the folder holds a run"


def test_options_of_the_other_model_are_refused(tmp_path, capsys):
    arguments = ["import-released", "--shards", tmp_path, "--out", tmp_path / "run"]
    assert command(*arguments, "--generator", "x.pt", "--base", "y") == 2
    assert "D2M-GAN has no text-to-music model" in capsys.readouterr().err
    assert command(*arguments, "--encoders", "x.pt", "--level", "low") == 2
    assert "go with --generator" in capsys.readouterr().err
