"""The codec computes JukeBox's function, reads its checkpoints and refuses others with reasons."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from model.codecs.base import load_codec
from model.codecs.jukebox import JUKEBOX_5B, TINY, VQVAE, random_codec, write_weights
from model.codecs.jukebox.weights import read_weights
from model.codecs.quantise import full_float32, nearest

DATA = Path(os.environ.get("D2M_TEST_DATA", "absent")) / "jukebox_conformance"
LEVELS = {"bottom": 0, "low": 1, "high": 2}
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="D2M_TEST_DATA has no conformance data")


def load(name: str) -> torch.Tensor:
    return torch.from_numpy(np.load(DATA / name))


@pytest.fixture(scope="module")
def reference():
    return load_codec(DATA / "vqvae_random_5b.pth.tar", levels=tuple(LEVELS))


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tone():
    time = torch.arange(22050 * 2 + 77) / 22050
    noise = torch.randn(2, len(time), generator=torch.Generator().manual_seed(3))
    return 0.4 * torch.sin(2 * torch.pi * 220 * time * (1 + time)) + 0.1 * noise


@pytest.mark.long
@needs_data
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("clip", "suffix"), [("2s", ""), ("6s", "_6s")])
def test_reproduces_the_original(reference, threads, level, clip, suffix):
    index, audio = LEVELS[level], load(f"audio_22k_{clip}.npy")[None]
    latents, codes = reference.latents(audio, level), reference.encode(audio, level)
    expected = load(f"latents_level{index}{suffix}.npy")
    assert (latents - expected).abs().max() <= 3e-5 * expected.std()
    expected, margin = (
        load(f"codes_level{index}{suffix}.npy"),
        load(f"margin_level{index}{suffix}.npy"),
    )
    wrong = codes != expected
    assert not (wrong & (margin >= 1e-4)).any() and wrong.sum() <= 3
    decoded = load(f"decoded_level{index}{suffix}.npy")[..., 0]
    ours = reference.decode(expected.long(), level)
    assert ours.shape == decoded.shape and (ours - decoded).abs().max() <= 1e-5


@needs_data
@pytest.mark.parametrize("level", LEVELS)
def test_decodes_random_codes_like_the_original(reference, threads, level):
    ours = reference.decode(load(f"random_codes_level{LEVELS[level]}.npy").long(), level)
    decoded = load(f"random_decoded_level{LEVELS[level]}.npy")[..., 0]
    assert ours.shape == decoded.shape and (ours - decoded).abs().max() <= 1e-5


@needs_data
def test_keys_are_the_checkpoints_in_order():
    lines = (DATA / "state_dict_keys.tsv").read_text(encoding="utf-8").split("\n")
    with torch.device("meta"):
        state = VQVAE(JUKEBOX_5B).state_dict()
    ours = [f"{key}\t{'x'.join(map(str, value.shape))}" for key, value in state.items()]
    assert (
        ours == [line for line in lines if line and not line.startswith("#")] and len(ours) == 669
    )


def test_5b_has_the_published_number_of_weights():
    with torch.device("meta"):
        model = VQVAE(JUKEBOX_5B)
    assert sum(p.numel() for p in model.parameters()) == 1_485_763
    assert sum(b.numel() for b in model.buffers()) == 393_216
    assert [JUKEBOX_5B.context(index) for index in (0, 1, 2)] == [5742, 80, 82]


@pytest.mark.long
@needs_data
def test_layouts_give_one_codec(reference, tmp_path):
    state = torch.load(DATA / "vqvae_random_5b.pth.tar", weights_only=True)["model"]
    prefixed = OrderedDict((f"module.{key}", value) for key, value in state.items())
    torch.save({"model": prefixed, "step": 3}, tmp_path / "zip.pth.tar")
    legacy = {"_use_new_zipfile_serialization": False}
    torch.save(state, tmp_path / "bare.pt", **legacy)
    torch.save({"model": prefixed, "step": 3}, tmp_path / "legacy.pth.tar", **legacy)
    ids = {load_codec(path, levels=["high"]).id for path in tmp_path.iterdir()}
    assert ids == {reference.id}
    subset = load_codec(tmp_path / "bare.pt", levels=["high"])
    audio = load("audio_22k_2s.npy")[None]
    assert torch.equal(subset.encode(audio, "high"), reference.encode(audio, "high"))


@needs_data
def test_published_weights_come_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"weights/vqvae\.pth\.tar.*noncommercial"):
        load_codec("jukebox-5b")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "vqvae.pth.tar").symlink_to(DATA / "vqvae_random_5b.pth.tar")
    codec = load_codec("jukebox-5b")
    assert codec.note == "" and codec.id.startswith("jukebox-5b-")


def test_truncated_pickles_are_refused(tmp_path):
    state = VQVAE(JUKEBOX_5B).state_dict()
    for zipped in (True, False):
        whole = tmp_path / "whole.pt"
        torch.save({"model": state}, whole, _use_new_zipfile_serialization=zipped)
        data = whole.read_bytes()
        for share in (0, 0.001, 0.3, 0.99):
            path = tmp_path / f"cut-{zipped}-{share}.pt"
            path.write_bytes(data[: int(len(data) * share)])
            with pytest.raises(ValueError, match=f"{path.name}: truncated or invalid checkpoint"):
                load_codec(path)


class Attack:
    def __reduce__(self):
        return (os.mkdir, (os.environ["ATTACK_DIR"],))


@pytest.mark.parametrize("container", ["zip", "legacy", "bare pickle"])
def test_checkpoint_that_runs_code_is_refused(tmp_path, monkeypatch, container):
    target, path = tmp_path / "attacked", tmp_path / "attack.pt"
    monkeypatch.setenv("ATTACK_DIR", str(target))
    if container == "bare pickle":
        path.write_bytes(pickle.dumps({"model": Attack()}, protocol=2))
    else:
        zipped = container == "zip"
        torch.save({"model": Attack()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"refused.*could run code"):
        load_codec(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"out\.bias: expected shape \(1,\), got no such key"),
        ("extra", r"decoders\.9\.odd \(3,\): expected no such key among the"),
        ("shape", r"level_blocks\.2\.k: expected shape \(64, 64\), got \(5, 64\)"),
        ("nan", r"level_blocks\.2\.k: expected finite real numbers"),
        ("level", r"requested levels \['bottom'\], but the file has low, high"),
        ("hparams", r"invalid metadata: hyper-parameters"),
        ("cut", r"truncated or invalid safetensors file"),
        ("foreign", r"metadata lacks hparams"),
    ],
)
def test_wrong_safetensors_are_named(tmp_path, change, message):
    from safetensors.torch import load as loads
    from safetensors.torch import save_file

    path, codec = tmp_path / "codec.safetensors", random_codec()
    write_weights(path, codec.model, "random", codec.note)
    state = loads(path.read_bytes())
    metadata = {"hparams": TINY.dumps(), "levels": "1,2", "name": "random", "note": ""}
    if change == "missing":
        del state["decoders.2.out.bias"]
    elif change == "extra":
        state["decoders.9.odd"] = torch.zeros(3)
    elif change == "shape":
        state["bottleneck.level_blocks.2.k"] = torch.zeros(5, 64)
    elif change == "nan":
        state["bottleneck.level_blocks.2.k"][3, 3] = torch.nan
    elif change == "hparams":
        metadata["hparams"] = '{"width":8}'
    elif change == "foreign":
        metadata = {}
    save_file(state, path, metadata=metadata)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=message):
        load_codec(path, levels=["bottom"] if change == "level" else ["high", "low"])


def test_safetensors_round_trip_keeps_identity_and_note(tmp_path, tone):
    codec = random_codec(seed=5)
    write_weights(tmp_path / "a.safetensors", codec.model, "random", codec.note)
    again = load_codec(tmp_path / "a.safetensors", levels=["low"])
    assert (again.id, again.note, again.levels) == (codec.id, codec.note, ("low",))
    assert torch.equal(again.encode(tone, "low"), codec.encode(tone, "low"))
    with pytest.raises(ValueError, match="was loaded with"):
        again.encode(tone, "high")


def test_identity_covers_every_weight_and_the_hyper_parameters(tmp_path):
    codec = random_codec(seed=5)
    assert codec.id == random_codec(seed=5).id != random_codec(seed=6).id
    path = tmp_path / "a.safetensors"
    codec.model.decoder(1).out.bias.data[0] += 1e-6
    write_weights(path, codec.model, "random", "")
    changed = read_weights(path)
    assert changed.id != codec.id
    from dataclasses import replace

    other = replace(changed, hparams=replace(changed.hparams, dilation_growth=2))
    assert other.id != changed.id


def test_public_shapes_and_lengths(tone):
    codec = random_codec()
    for level, hop in (("high", 128), ("low", 32)):
        codes = codec.encode(tone, level)
        steps = tone.shape[1] // hop
        assert codec.level(level).hop == hop and codec.level(level).size == 64
        assert codes.dtype == torch.int64 and codes.shape == (2, steps)
        assert len(codes.unique()) > 4
        assert codec.latents(tone, level).shape == (2, 64, steps)
        assert codec.decode(codes, level).shape == (2, steps * hop)
        assert torch.equal(codec.quantise(codec.embed(codes, level), level), codes)
    with pytest.raises(ValueError, match=r"N >= 128 samples"):
        codec.encode(tone[:, :127], "high")


def test_decoding_latents_has_gradients():
    codec = random_codec()
    latents = codec.embed(codec.encode(torch.randn(1, 4096), "high"), "high").requires_grad_()
    codec.decode_latents(latents, "high").square().sum().backward()
    assert latents.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in codec.model.parameters())


@pytest.mark.long
@pytest.mark.parametrize("level", ["high", "low"])
def test_long_audio_in_chunks_gives_the_codes_of_one_pass(level):
    codec = random_codec(hparams=JUKEBOX_5B)
    audio = torch.randn(1, 22050 * 5 + 101, generator=torch.Generator().manual_seed(1)) * 0.3
    whole = codec.encode(audio, level)
    for chunk_s in (1.3, 2.0, 60.0):
        assert torch.equal(codec.encode_long(audio, level, chunk_s), whole)


@pytest.mark.long
@pytest.mark.parametrize("level", ["high", "low"])
def test_long_codes_in_chunks_give_the_audio_of_one_pass(level):
    codec = load_codec("demo", (level,))
    steps = codec.steps(22050 * 5, level)
    codes = torch.randint(1024, (2, steps), generator=torch.Generator().manual_seed(1))
    whole = codec.decode(codes, level)
    for chunk_s in (0.7, 2.0, 60.0):
        torch.testing.assert_close(codec.decode_long(codes, level, chunk_s), whole)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["high", "low"])
def test_three_minutes_in_chunks_give_the_codes_of_one_pass(level):
    codec = load_codec("demo", (level,))
    audio = torch.randn(1, 22050 * 180, generator=torch.Generator().manual_seed(2)) * 0.2
    chunks, whole = codec.encode_long(audio, level)[0], codec.encode(audio, level)[0]
    # Convolutions of another length round otherwise on some processors: two entries of the
    # codebook that are equally near (to 1 in 10,000) may then change places.
    apart = torch.nonzero(chunks != whole)[:, 0]
    assert len(apart) <= 3
    rows = codec.latents(audio, level)[0].T[apart]
    near, far = (
        (rows - codec.codebook(level)[codes[apart]]).norm(dim=1) for codes in (whole, chunks)
    )
    torch.testing.assert_close(near, far, rtol=1e-4, atol=0)


@needs_data
def test_long_audio_in_chunks_with_the_reference_weights(reference):
    audio = load("audio_22k_6s.npy")[None]
    for level, suffix in (("high", "level2_6s"), ("low", "level1_6s")):
        expected = load(f"codes_{suffix}.npy")
        assert torch.equal(reference.encode_long(audio, level, 1.1), expected.long())


def test_quantiser_ignores_autocast_and_takes_any_scale():
    generator = torch.Generator().manual_seed(0)
    entries = torch.randn(300, 64, generator=generator) * 100
    rows = entries[torch.arange(5000) % 300] + torch.randn(5000, 64, generator=generator)
    exact = torch.cdist(rows.double(), entries.double()).argmin(1)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(nearest(rows, entries), exact)
        assert torch.get_float32_matmul_precision() == "medium"
        with full_float32(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_importing_the_package_is_light():
    code = "import sys, model.codecs.jukebox; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_demo_codec_keeps_a_beat():
    from model.codecs.jukebox.codec import DEMO

    codec = load_codec("demo")
    assert DEMO.stat().st_size <= 8 * 2**20
    assert codec.levels == ("high", "low") and "synthetic music" in codec.note
    assert codec.id == load_codec("demo", ["low"]).id
    time = torch.arange(44100) / 22050
    kicks = torch.exp(-12 * (time % 0.5)) * torch.sin(2 * torch.pi * 60 * (time % 0.5))
    audio = 0.95 * kicks[None] / kicks.abs().max()
    for level, least_db in (("high", 10), ("low", 18)):
        decoded = codec.decode(codec.encode(audio, level), level)
        error = (audio[:, : decoded.shape[1]] - decoded).square().mean()
        assert 10 * torch.log10(audio.square().mean() / error) > least_db
