"""EnCodec as a codec: transformers' own codes, at the shards' rate, from folders of every form."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from model.codecs.base import (
    decode_in_chunks,
    encode_in_chunks,
    load_codec,
    recorded_source,
    streams_of,
)
from model.codecs.encodec.codec import LEVEL, EncodecCodec, random_encodec
from model.codecs.encodec.resample import resample, resampled_length
from model.codecs.encodec.weights import config_of, write_encodec

transformers = pytest.importorskip("transformers")

MUSICGEN_RATE = {"sampling_rate": 32_000, "upsampling_ratios": [8, 5, 4, 4]}
FIVE_S, TWO_S = 112_896, 44_100


def music(samples: int = TWO_S, items: int = 2) -> torch.Tensor:
    time_s = torch.arange(samples) / 22_050
    noise = torch.randn(items, samples, generator=torch.Generator().manual_seed(1))
    tone = torch.sin(2 * torch.pi * 330 * time_s) * torch.exp(-(time_s % 0.5) * 6)
    return 0.5 * tone + noise / 20


@pytest.fixture(scope="module")
def wide() -> EncodecCodec:
    """An EnCodec with the rate, the hop and the number of codebooks of MusicGen's."""
    return random_encodec(**MUSICGEN_RATE)


@pytest.fixture
def folder(tmp_path) -> Path:
    write_encodec(tmp_path / "small", random_encodec(1).model, "small codec, for tests")
    return tmp_path / "small"


def test_5_12_s_are_256_steps_of_four_codebooks_and_come_back_exactly(wide):
    audio = music(FIVE_S, 1)
    codes = wide.encode(audio, LEVEL)
    assert wide.steps(FIVE_S, LEVEL) == 256 and wide.steps(TWO_S, LEVEL) == 100
    assert codes.shape == (1, 4, 256) and codes.dtype == torch.int64
    assert wide.decode_native(codes).shape == (1, 163_840)
    assert wide.decode(codes, LEVEL).shape == (1, FIVE_S)
    assert wide.embed(codes, LEVEL).shape == (1, 8, 256)
    assert (wide.sample_rate_hz, wide.level(LEVEL).hop, wide.levels) == (32_000, 640, ("encodec",))
    assert streams_of(wide, [LEVEL], FIVE_S)[LEVEL].shape == [4, 256]


def test_codes_are_those_of_transformers_and_use_every_codebook(wide):
    native = resample(music(), 22_050, 32_000)
    assert native.shape == (2, 64_000)
    ours = wide.encode(music(), LEVEL)
    theirs = wide.model.encode(native[:, None]).audio_codes
    assert theirs.shape == (1, 2, 4, 100) and torch.equal(ours, theirs[0])
    assert all(len(ours[:, q].unique()) > 4 for q in range(4))
    decoded = wide.model.decode(theirs, [None]).audio_values[:, 0]
    assert torch.allclose(wide.decode_native(ours), decoded, atol=1e-6)


def test_an_item_does_not_depend_on_its_batch(wide):
    audio = music(30_001, 5)
    codes = wide.encode(audio, LEVEL)
    decoded = wide.decode(codes, LEVEL)
    for i in range(len(audio)):
        assert torch.equal(wide.encode(audio[i : i + 1], LEVEL)[0], codes[i])
        assert torch.equal(wide.decode(codes[i : i + 1], LEVEL)[0], decoded[i])


@pytest.mark.parametrize("samples", [1, 440, 441, 442, 9_999, TWO_S + 1])
def test_steps_are_those_of_encode_for_every_length(wide, samples):
    small = random_encodec()
    for codec in (wide, small):
        codes = codec.encode(music(samples, 1), LEVEL)
        assert codes.shape[-1] == codec.steps(samples, LEVEL)
        assert codec.decode(codes, LEVEL).shape[1] == 441 * codes.shape[-1]


def test_one_codebook_has_codes_without_an_axis_for_it():
    codec = random_encodec(codebooks=1)
    codes = codec.encode(music(), LEVEL)
    assert codes.shape == (2, 100) and codec.level(LEVEL).codebooks == 1
    assert codec.decode(codes, LEVEL).shape == (2, TWO_S)


def test_fewer_codebooks_are_the_first_ones_and_have_codes_of_their_own_kind(wide):
    two = EncodecCodec.from_module(wide.model, codebooks=2)
    assert torch.equal(two.encode(music(), LEVEL), wide.encode(music(), LEVEL)[:, :2])
    assert two.codes_id != wide.codes_id
    with pytest.raises(ValueError, match="has 4 codebooks, not 5"):
        EncodecCodec.from_module(wide.model, codebooks=5)
    with pytest.raises(ValueError, match=r"expected codes \(B, 2, L\), got shape \(2, 4, 3\)"):
        two.decode(torch.zeros(2, 4, 3, dtype=torch.int64), LEVEL)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(22_050, 32_000), (32_000, 22_050)])
def test_resampling_keeps_pitch_time_and_loudness(from_hz, to_hz):
    def tone(hz, rate_hz):
        phase = 2 * torch.pi * hz * torch.arange(2 * rate_hz, dtype=torch.float64) / rate_hz
        return torch.sin(phase)[None]

    for hz in (60, 1000, 9000):
        found = resample(tone(hz, from_hz), from_hz, to_hz)
        assert found.shape == (1, resampled_length(2 * from_hz, from_hz, to_hz))
        middle = slice(to_hz // 2, -(to_hz // 2))
        assert (found - tone(hz, to_hz))[0, middle].abs().max() < 1e-3


@pytest.mark.parametrize("causal", [False, True])
def test_long_audio_in_chunks_gives_the_same_codes_and_sound(causal):
    codec = random_encodec(**MUSICGEN_RATE, use_causal_conv=causal)
    audio = music(7 * 22_050 + 123, 2)
    codes = codec.encode(audio, LEVEL)
    assert torch.equal(codec.encode_long(audio, LEVEL, chunk_s=0.5), codes)
    assert torch.equal(encode_in_chunks(codec, audio, LEVEL), codes)
    decoded = codec.decode(codes, LEVEL)
    for found in (codec.decode_long(codes, LEVEL, 0.5), decode_in_chunks(codec, codes, LEVEL)):
        assert found.shape == decoded.shape
        assert torch.allclose(found, decoded, atol=1e-5 * decoded.abs().max().item())


def test_a_folder_is_loaded_with_its_note_and_its_path_is_recorded_whole(folder, monkeypatch):
    codec = load_codec(f"encodec:{folder}")
    assert isinstance(codec, EncodecCodec) and codec.note == "small codec, for tests"
    assert codec.source == f"encodec:{folder}"
    assert codec.id == random_encodec(1).id and codec.codes_id == random_encodec(1).codes_id
    assert codec.codes_id.startswith("encodec-") and len(codec.codes_id) == len("encodec-") + 8
    assert torch.equal(codec.encode(music(), LEVEL), random_encodec(1).encode(music(), LEVEL))
    monkeypatch.chdir(folder.parent)
    assert recorded_source("encodec:small") == f"encodec:{folder}"
    assert recorded_source("encodec-32khz") == "encodec-32khz"


def test_codes_are_named_after_what_makes_them_and_the_codec_after_all():
    first, other = random_encodec(0), random_encodec(1)
    assert first.id != first.codes_id and first.codes_id != other.codes_id
    with torch.no_grad():
        next(first.model.decoder.parameters()).add_(1)
    tuned = EncodecCodec.from_module(first.model)
    assert tuned.codes_id == first.codes_id and tuned.id != first.id
    with torch.no_grad():
        first.model.quantizer.layers[3].codebook.embed[2, 2] += 1
        first.model.quantizer.layers[0].codebook.cluster_size.add_(1)
    assert EncodecCodec.from_module(first.model).codes_id != tuned.codes_id


def with_earlier_names(folder: Path, out: Path) -> Path:
    from safetensors.torch import load_file, save_file

    out.mkdir()
    shutil.copy(folder / "config.json", out)
    names = {"parametrizations.weight.original0": "weight_g",
             "parametrizations.weight.original1": "weight_v"}  # fmt: skip
    state = {}
    for name, value in load_file(folder / "model.safetensors").items():
        for today, earlier in names.items():
            name = name.replace(today, earlier)
        state[name] = value
    assert any(name.endswith("weight_g") for name in state)
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    return out


def musicgen(codec: EncodecCodec, out: Path) -> Path:
    """Write a MusicGen with this codec, small and random."""
    text = transformers.T5Config(
        vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2
    )
    decoder = transformers.MusicgenDecoderConfig(
        vocab_size=16, num_hidden_layers=1, ffn_dim=8, num_attention_heads=2, hidden_size=8,
        pad_token_id=None, bos_token_id=None,
    )  # fmt: skip
    config = transformers.MusicgenConfig(
        text_encoder=text.to_dict(), audio_encoder=codec.model.config.to_dict(),
        decoder=decoder.to_dict(),
    )  # fmt: skip
    model = transformers.MusicgenForConditionalGeneration(config)
    model.audio_encoder.load_state_dict(codec.model.state_dict())
    model.save_pretrained(out)
    return out


def test_the_codec_in_a_musicgen_is_the_same_codec_in_either_form_of_names(tmp_path, capfd):
    codec = random_encodec(3)
    whole = musicgen(codec, tmp_path / "musicgen")
    write_encodec(tmp_path / "alone", codec.model, "")
    capfd.readouterr()
    folders = [whole, tmp_path / "alone"]
    folders += [with_earlier_names(path, tmp_path / f"{path.name}-old") for path in folders]
    for path in folders:
        found = load_codec(f"encodec:{path}")
        assert (found.id, found.codes_id) == (codec.id, codec.codes_id), path
        assert torch.equal(found.encode(music(), LEVEL), codec.encode(music(), LEVEL))
    assert capfd.readouterr() == ("", "")  # no bars and no load reports of transformers


def test_an_encodec_that_is_not_like_musicgens_is_refused_with_what_was_found(tmp_path):
    for name, value in (("normalize", True), ("chunk_length_s", 1.0), ("audio_channels", 2)):
        config = config_of()
        setattr(config, name, value)
        with pytest.raises(ValueError, match=rf"{name} is {value}, expected .*only mono EnCodecs"):
            EncodecCodec.from_module(transformers.EncodecModel(config))
    half = random_encodec().model.half()
    with pytest.raises(ValueError, match=r"weights are torch\.float16, expected float32"):
        EncodecCodec.from_module(half)


@pytest.mark.parametrize("damage", ["gone", "empty", "other", "text", "cut", "partial", "zero"])
def test_a_folder_that_is_no_encodec_is_one_clear_error(folder, damage):
    from safetensors.torch import load_file, save_file

    weights, config = folder / "model.safetensors", folder / "config.json"
    expected = "expected a folder of transformers with an EnCodec or a MusicGen"
    if damage == "gone":
        shutil.rmtree(folder)
    elif damage == "empty":
        weights.unlink()
    elif damage == "other":
        config.write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
        expected = f"config.json: is of a model 'bert'; {expected}"
    elif damage == "text":
        config.write_text("no JSON", encoding="utf-8")
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "partial":
        state = load_file(weights)
        state.pop("encoder.layers.0.conv.bias")
        save_file(state, weights, metadata={"format": "pt"})
        expected = f"1 weights of the EnCodec are missing .*encoder.layers.0.conv.bias.*{expected}"
    else:
        model = transformers.EncodecModel(random_encodec().model.config)
        write_encodec(folder, model, "")
        expected = "all codebooks are zero: this EnCodec was never trained"
    with pytest.raises((ValueError, FileNotFoundError), match=expected):
        load_codec(f"encodec:{folder}")


def test_a_name_without_its_folder_and_a_folder_without_its_name_say_what_to_give(folder):
    with pytest.raises(ValueError, match="give encodec:FOLDER, or encodec-32khz"):
        load_codec("encodec")
    with pytest.raises(FileNotFoundError, match=rf"is a folder, .*give encodec:{folder}"):
        load_codec(folder)
    with pytest.raises(ValueError, match=r"requested levels \['high'\], but EnCodec has 'encodec'"):
        load_codec(f"encodec:{folder}", ["high"])
    with pytest.raises(ValueError, match="has the level 'encodec', not 'high'"):
        load_codec(f"encodec:{folder}").encode(music(), "high")


def test_the_published_codec_comes_from_the_weights_folder_or_a_local_cache(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(FileNotFoundError, match="run `pipeline weights fetch encodec-32khz`"):
        load_codec("encodec-32khz")
    repository = tmp_path / "hub" / "models--facebook--encodec_32khz"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40, encoding="utf-8")
    shutil.copytree(folder, repository / "snapshots" / ("a" * 40))
    cached = load_codec("encodec-32khz")
    assert cached.note == "" and cached.source == "encodec-32khz"
    own = tmp_path / "cache" / "weights" / "encodec_32khz"
    write_encodec(own, random_encodec(2).model, "")
    found = load_codec("encodec-32khz")
    assert found.id == random_encodec(2).id != cached.id
    (own / "model.safetensors.sha256").write_text("0" * 64 + "  x\n", encoding="ascii")
    with pytest.raises(ValueError, match="0000 was fetched; delete the file and fetch it again"):
        load_codec("encodec-32khz")


def test_without_transformers_one_error_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    for source in ("encodec-32khz", f"encodec:{folder}"):
        with pytest.raises(ValueError, match=r"pip install 'dance2music\[text\]'"):
            load_codec(source)
