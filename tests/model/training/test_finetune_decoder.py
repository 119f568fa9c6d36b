"""Fine-tuning a decoder: what changes, what must not, and who takes the codec it gives.

One file, because nearly all of its tests take the same codec, fine-tuned once for all of them.
"""

import ast
import json
import math
import os
import shutil
import signal
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from training_runs import dataset_and_codec

from model.cli import main
from model.codecs.base import load_codec
from model.codecs.jukebox import VQVAE, random_codec, read_weights, write_weights
from model.contract.dataset import load_dataset
from model.data.source import Source, spread_batches
from model.fake_dataset import write_fake_dataset
from model.families.d2m_gan.discriminators import MultiScale
from model.generation.run import load_run
from model.runtime.checkpoint import read_checkpoint
from model.runtime.run_log import read_metrics
from model.training import finetune_decoder as synthesizer
from model.training.finetune_config import SynthesizerConfig
from model.training.finetune_decoder import CHECKPOINT, CODEC, PARTS, build, finetune, train_step

CPU = torch.device("cpu")
SMALL = SynthesizerConfig(
    steps=6, batch_size=2, lr_decoder=1e-3, lr_discriminator=1e-3, d_channels=4, d_max_channels=16,
    d_layers=2, judged_samples=4096, log_every=2, save_every=4, val_every=2, val_segments=2,
    sample_segments=1, shuffle_segments=4,
)  # fmt: skip
TINY_RUN = (
    "channels=16", "min_channels=8", "motion_channels=8", "visual_channels=8", "batch_size=2",
    "discriminators=1", "d_first_stride=16", "val_segments=2", "sample_segments=1", "max_steps=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, Path]:
    """Return a shard folder and the file of the codec that made its codes."""
    videos = {"train": 2, "val": 1, "test": 1}
    return dataset_and_codec(tmp_path_factory.mktemp("world"), videos)


@pytest.fixture(scope="module")
def tuned(world, tmp_path_factory) -> Path:
    """Return the folder of a finished fine-tuning of the high level."""
    run = tmp_path_factory.mktemp("tuned") / "run"
    finetune(world[0], run, SMALL)
    return run


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory) -> Path:
    """Return a run of `model train` with the parent codec."""
    run = tmp_path_factory.mktemp("trained") / "run"
    settings = [part for setting in TINY_RUN for part in ("--set", setting)]
    assert command("train", "--shards", world[0], "--preset", "tiny", "--out", run, *settings) == 0
    return run


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def finetune_command(root: Path, run: Path, config: SynthesizerConfig, *more: object) -> int:
    given = {f.name: getattr(config, f.name) for f in fields(config)}
    words = [f"{k}={','.join(map(str, v)) if k == 'betas' else v}" for k, v in given.items()]
    settings = [part for word in words for part in ("--set", word.replace("False", "false"))]
    return command("finetune-synthesizer", "--shards", root, "--out", run, *settings, *more)


def state_of(world: tuple[Path, Path], **changes: object) -> synthesizer.State:
    codec = load_codec(world[1], ("high",))
    dataset = load_dataset(world[0])
    return build(replace(SMALL, **changes), dataset, codec, read_weights(world[1]), CPU)


def batch_of(world: tuple[Path, Path], split: str = "train"):
    codec = load_codec(world[1], ("high",))
    dataset = load_dataset(world[0])
    source = Source(world[0], dataset, split, codec.id, {"high": codec.level("high").size}, ())
    return next(spread_batches(source, 2, 2))


@pytest.mark.long
def test_only_the_decoder_of_the_level_changes(world, tuned):
    parent, child = read_weights(world[1]), read_weights(tuned / CODEC)
    assert parent.state.keys() == child.state.keys()
    same = {key for key in parent.state if torch.equal(parent.state[key], child.state[key])}
    assert {key for key in parent.state if not key.startswith("decoders.2.")} <= same
    assert not {key for key in parent.state if key.startswith("decoders.2.")} & same
    assert (child.levels, child.hparams) == (parent.levels, parent.hparams)


@pytest.mark.long
def test_the_codec_has_an_id_of_its_own_and_its_parents_codes(world, tuned):
    parent, child = load_codec(world[1]), load_codec(tuned / CODEC)
    assert child.id != parent.id
    assert child.id.startswith("random-tuned-")
    assert child.codes_id == parent.codes_id == parent.id
    audio = batch_of(world).audio
    for level in ("high", "low"):
        codes = parent.encode(audio, level)
        assert torch.equal(codes, child.encode(audio, level))
        equal = torch.equal(parent.decode(codes, level), child.decode(codes, level))
        assert equal == (level == "low")
    step = [r["step"] for r in read_metrics(tuned) if "val/mel" in r]
    assert child.note.startswith("random codec: untrained, for tests; decoder of level high fine-")
    assert child.note.endswith(" steps on fake")
    assert int(child.note.split("fine-tuned ")[1].split()[0]) in step


@pytest.mark.long
def test_fine_tuning_the_other_level_next_keeps_the_first_and_the_codes(world, tuned, tmp_path):
    finetune(world[0], tmp_path, replace(SMALL, level="low", steps=2), str(tuned / CODEC))
    first, both = read_weights(tuned / CODEC), read_weights(tmp_path / CODEC)
    assert both.codes_id == first.codes_id == load_codec(world[1]).id
    assert len({both.id, first.id, both.codes_id}) == 3
    assert both.name == "random-tuned"
    changed = {k for k in first.state if not torch.equal(first.state[k], both.state[k])}
    assert {key.rsplit(".level_blocks")[0].removesuffix(".out.weight").removesuffix(".out.bias")
            for key in changed} == {"decoders.1"}  # fmt: skip
    assert "level high fine-tuned" in both.note
    assert "level low fine-tuned 2 steps on fake" in both.note


@pytest.mark.long
def test_the_best_decoder_on_val_is_kept(world, tuned):
    rows = [row for row in read_metrics(tuned) if "val/mel" in row]
    assert [row["step"] for row in rows] == [0, 2, 4, 6]
    state = read_checkpoint(tuned / CHECKPOINT, PARTS)
    assert state["first_mel"] == rows[0]["val/mel"]
    assert state["best_mel"] == min(row["val/mel"] for row in rows) < state["first_mel"]
    codec = load_codec(tuned / CODEC, ("high",))
    held_out = state_of(world)
    held_out.decoder.load_state_dict(codec.decoder("high").state_dict())
    source = Source(
        world[0], held_out.dataset, "val", codec.codes_id, {"high": codec.level("high").size}, ()
    )
    assert synthesizer.validate(held_out, source)["val/mel"] == pytest.approx(state["best_mel"])


@pytest.mark.long
def test_a_run_leaves_metrics_sounds_and_logs(tuned):
    rows = [row for row in read_metrics(tuned) if "loss/total" in row]
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert {"loss/adversarial", "loss/feature", "loss/wave", "loss/mel", "adversary/hinge"} <= (
        rows[0].keys()
    )
    assert all(math.isfinite(value) for row in rows for value in row.values())
    names = {path.name.split(".", 1)[1] for path in (tuned / "samples").rglob("*.wav")}
    assert names == {"truth.wav", "before.wav", "fine-tuned.wav"}
    assert list(tuned.glob("events.out.tfevents.*"))
    assert json.loads((tuned / "config.json").read_text(encoding="utf-8"))["lr_decoder"] == 1e-3
    assert not list(tuned.rglob("*.part"))


@pytest.mark.long
def test_a_signal_saves_and_the_resumed_run_gives_the_same_bits(
    world, tuned, tmp_path, monkeypatch, capsys
):
    def interrupted(state, batch):
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(state, batch)

    monkeypatch.setattr(synthesizer, "train_step", interrupted)
    assert finetune_command(world[0], tmp_path, SMALL) == 130
    assert "stopped at step 3; go on with --resume" in capsys.readouterr().err
    monkeypatch.undo()
    assert finetune_command(world[0], tmp_path, replace(SMALL, workers=1), "--resume") == 0
    whole, parts = (read_checkpoint(run / CHECKPOINT, PARTS) for run in (tuned, tmp_path))
    same(whole["decoder"], parts["decoder"])
    same(whole["adversary"], parts["adversary"])
    same(whole["optimiser"], parts["optimiser"])
    assert (whole["step"], whole["position"], whole["best_mel"]) == (
        parts["step"], parts["position"], parts["best_mel"],
    )  # fmt: skip
    first, second = (read_weights(run / CODEC) for run in (tuned, tmp_path))
    same(first.state, second.state)
    assert (first.id, first.note) == (second.id, second.note)


@pytest.mark.long
def test_a_validation_that_fails_costs_no_steps(world, tuned, tmp_path, monkeypatch):
    def fails(state, source):
        if state.step == SMALL.steps:
            raise OSError("no room for what is heard")
        return validate(state, source)

    validate = synthesizer.validate
    monkeypatch.setattr(synthesizer, "validate", fails)
    config = replace(SMALL, save_every=1000)
    assert finetune_command(world[0], tmp_path, config) == 1
    assert read_checkpoint(tmp_path / CHECKPOINT, PARTS)["step"] == SMALL.steps
    monkeypatch.undo()
    assert finetune_command(world[0], tmp_path, config, "--resume") == 0
    whole, parts = (read_checkpoint(run / CHECKPOINT, PARTS) for run in (tuned, tmp_path))
    for content in (whole, parts):
        del content["config"]["save_every"]
    same(whole, parts)
    first, second = (read_weights(run / CODEC) for run in (tuned, tmp_path))
    assert (first.id, first.note) == (second.id, second.note)


def same(a, b) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list | tuple):
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.long
def test_a_run_is_not_overwritten_nor_resumed_as_another(world, tuned, tmp_path):
    with pytest.raises(ValueError, match="--resume"):
        finetune(world[0], tuned, SMALL)
    with pytest.raises(ValueError, match="nothing to resume"):
        finetune(world[0], tmp_path, SMALL, resume=True)
    with pytest.raises(ValueError, match=r"configuration: mel was 15.0, is 1.0; .*another --out"):
        finetune(world[0], tuned, replace(SMALL, mel=1.0), resume=True)
    with pytest.raises(ValueError, match="another codec: id was 'random-"):
        finetune(world[0], tuned, SMALL, str(tuned / CODEC), resume=True)


@pytest.mark.long
def test_without_improvement_no_codec_is_written(world, tmp_path, capsys):
    (tmp_path / CODEC).write_bytes(b"of a run that was stopped before its first checkpoint")
    assert finetune_command(world[0], tmp_path, replace(SMALL, steps=2, lr_decoder=0.0)) == 1
    assert "never fell below" in capsys.readouterr().err
    assert not (tmp_path / CODEC).exists()


def test_a_loss_that_is_not_finite_names_step_and_segments(world, tmp_path):
    with pytest.raises(ValueError, match=r"step 2: a loss is not finite; .*train\d_seg000\d, tr"):
        finetune(world[0], tmp_path, replace(SMALL, lr_decoder=1e30, val_every=9))
    assert not (tmp_path / CHECKPOINT).exists()


def test_weights_that_are_not_finite_are_not_saved(world, tmp_path):
    state = state_of(world)
    state.decoder.out.bias.data.fill_(math.nan)
    with pytest.raises(ValueError, match=r"decoder\.out\.bias is not finite"):
        synthesizer.save(state, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.parametrize("loss", ["adversarial", "feature", "wave", "mel"])
def test_each_loss_moves_the_decoder_its_own_way(world, loss):
    others = {name: 0.0 for name in ("adversarial", "feature", "wave", "mel") if name != loss}
    batch = batch_of(world)
    gradients = []
    for changes in ({}, others, {loss: 0.0}):
        state = state_of(world, **changes)
        logs = train_step(state, batch)
        assert (f"loss/{loss}" in logs) == (changes != {loss: 0.0})
        gradients.append(torch.cat([p.grad.flatten() for p in state.decoder.parameters()]))
    assert gradients[1].abs().max() > 0
    torch.testing.assert_close(gradients[0], gradients[1] + gradients[2], rtol=1e-3, atol=1e-3)


def test_training_touches_neither_the_codec_nor_through_the_decoder_the_adversary(world):
    state, batch = state_of(world, lr_discriminator=0.0), batch_of(world)
    before = {k: v.clone() for k, v in state.codec.model.state_dict().items()}
    judges = [p.clone() for p in state.adversary.network.parameters()]
    train_step(state, batch)
    assert all(torch.equal(v, before[k]) for k, v in state.codec.model.state_dict().items())
    assert all(map(torch.equal, judges, state.adversary.network.parameters()))


def test_the_discriminators_hear_another_stretch_at_each_step():
    parts = [synthesizer.judged(SMALL, step, 44032) for step in range(20)]
    assert all(part.stop - part.start == 4096 and 0 <= part.start for part in parts)
    assert max(part.stop for part in parts) <= 44032
    assert len({part.start for part in parts}) == 20
    assert synthesizer.judged(SMALL, 3, 44032) == parts[3]
    assert synthesizer.judged(replace(SMALL, judged_samples=0), 3, 44032) == slice(0, 44032)


def test_the_discriminators_have_the_papers_sizes_for_sound():
    network = MultiScale(1, 3, 32, 1024, 4, 1, audio=True)
    convs = [layer.conv for layer in network.scales[0].layers]
    assert [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in convs] == [
        (32, 15, 1), (128, 41, 4), (512, 41, 4), (1024, 41, 4), (1024, 41, 4), (1024, 5, 1),
    ]  # fmt: skip
    assert network.scales[0].verdict.conv.in_channels == 1024
    outputs = network(torch.randn(1, 1, 4096))
    assert [scale[-1].shape[2] for scale in outputs] == [16, 8, 4]


@pytest.mark.long
def test_generate_takes_the_fine_tuned_codec_for_a_run_trained_with_the_parent(
    world, tuned, trained, tmp_path
):
    for name, more in {"before": (), "after": ("--codec", tuned / CODEC)}.items():
        arguments = ("--run", trained, "--shards", world[0], "--out", tmp_path / name)
        assert command("generate", *arguments, *more) == 0
    before, after = (
        json.loads((tmp_path / n / "generated.json").read_text(encoding="utf-8"))
        for n in ("before", "after")
    )
    assert (before["codec"], after["codec"]) == (
        load_codec(world[1]).id, load_codec(tuned / CODEC).id,
    )  # fmt: skip
    assert "fine-tuned" in " ".join(after["labels"])
    sounds = [(tmp_path / n / before["generated"][0]["file"]) for n in ("before", "after")]
    assert sounds[0].read_bytes() != sounds[1].read_bytes()


@pytest.mark.long
def test_generate_refuses_an_unrelated_codec_and_a_changed_one(world, tuned, trained, tmp_path):
    other = tmp_path / "other.safetensors"
    write_weights(other, random_codec(seed=1).model, "random", "another")
    with pytest.raises(ValueError, match=r"was trained with codec random-.*the codec loaded is ra"):
        load_run(trained, "last.pt", str(other))
    content = read_checkpoint(trained / "last.pt")
    content["codec"]["source"] = str(tuned / CODEC)
    shutil.copytree(trained, tmp_path / "run")
    torch.save(content, tmp_path / "run" / "last.pt")
    with pytest.raises(ValueError, match="the codec loaded is random-tuned-"):
        load_run(tmp_path / "run", "last.pt")


@pytest.mark.long
def test_train_takes_the_fine_tuned_codec_with_its_parents_codes(world, tuned, tmp_path):
    run = tmp_path / "run"
    settings = [part for setting in TINY_RUN for part in ("--set", setting)]
    arguments = ("--shards", world[0], "--preset", "tiny", "--out", run, *settings)
    assert command("train", *arguments, "--codec", tuned / CODEC) == 0
    loaded = load_run(run, "last.pt")
    assert loaded.codec.id == load_codec(tuned / CODEC).id
    assert load_run(run, "last.pt", str(world[1])).codec.id == load_codec(world[1]).id


@pytest.mark.long
def test_extracting_codes_again_with_the_fine_tuned_codec_gives_the_parents(world, tuned, tmp_path):
    from pipeline.features.codes import extract_codes

    root = shutil.copytree(world[0], tmp_path / "shards")
    parent = load_codec(world[1]).id
    tar = root / "codes" / parent / "train-000000.tar"
    before = load_dataset(root).codecs[parent].splits
    batch = batch_of(world)
    assert extract_codes(root, str(tuned / CODEC)) == parent
    assert [path.name for path in (root / "codes").iterdir()] == [parent]
    assert list(load_dataset(root).codecs) == [parent]
    assert load_dataset(root).codecs[parent].splits.keys() == before.keys()
    assert torch.equal(batch_of((root, world[1])).codes["high"], batch.codes["high"])
    assert tar.is_file()


def changed(path: Path, key: str) -> VQVAE:
    weights = read_weights(path)
    model = VQVAE(weights.hparams, weights.levels)
    model.load_state_dict(weights.state)
    with torch.no_grad():
        model.state_dict()[key].view(-1)[0] += 1e-6
    return model


@pytest.mark.long
@pytest.mark.parametrize(
    "key", ["bottleneck.level_blocks.1.k", "encoders.2.level_blocks.0.model.0.0.weight"]
)
def test_a_changed_encoder_or_codebook_does_not_pass_for_the_parents(world, tuned, tmp_path, key):
    path = tmp_path / "c.safetensors"
    model = changed(tuned / CODEC, key)
    with pytest.raises(ValueError, match="not bit-identical to those of random-"):
        write_weights(path, model, "random-tuned", "", read_weights(world[1]))
    assert not path.exists()
    write_weights(path, model, "random-tuned", "")
    claim = (tuned / CODEC).read_bytes(), path.read_bytes()
    headers = [json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]) for data in claim]
    headers[1]["__metadata__"]["encoder"] = headers[0]["__metadata__"]["encoder"]
    header = json.dumps(headers[1]).encode()
    body = claim[1][8 + int.from_bytes(claim[1][:8], "little") :]
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)
    with pytest.raises(ValueError, match="not bit-identical to those of random-"):
        load_codec(path)


@pytest.mark.long
def test_without_a_val_split_the_last_decoder_is_written(tmp_path):
    codec = random_codec()
    write_weights(tmp_path / "c.safetensors", codec.model, "random", codec.note)
    write_fake_dataset(
        tmp_path / "s", load_codec(tmp_path / "c.safetensors"), str(tmp_path / "c.safetensors"),
        videos={"train": 1}, segments=2,
    )  # fmt: skip
    state = finetune(tmp_path / "s", tmp_path / "run", replace(SMALL, steps=2))
    written = load_codec(tmp_path / "run" / CODEC, ("high",)).decoder("high").state_dict()
    same(dict(state.decoder.state_dict()), dict(written))


def test_every_setting_is_read_and_bad_ones_are_refused(capsys, world, tmp_path):
    tree = ast.parse(Path(synthesizer.__file__).read_text(encoding="utf-8"))
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    weights = {"adversarial", "feature", "wave", "mel"}
    assert {f.name for f in fields(SynthesizerConfig)} - read == weights - read
    assert SMALL.weights.keys() == weights
    for bad, told in {"mel=-1": "mel is -1.0", "betas=0.5": "two numbers", "steps=0": "at least 1",
                      "lr_decode=1": "did you mean 'lr_decoder'", "lr=1": "known: level, seed",
                      "level=top": "one of high, low"}.items():  # fmt: skip
        out = ("--out", tmp_path, "--set", bad)
        assert command("finetune-synthesizer", "--shards", world[0], *out) == 2
        assert told in capsys.readouterr().err
