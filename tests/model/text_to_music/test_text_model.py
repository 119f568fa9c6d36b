"""The model itself: its loss, that text steers it, and its folder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("transformers", reason="needs the extra `text`")

from dataclasses import replace

from text_models import BOOKS, ENTRIES, HOP, TINY, TinyEncodec

from model.codecs.jukebox.codec import random_codec
from model.contract.segment import SAMPLE_RATE_HZ
from model.text_to_music.build import CODEC_PART, build_model, frames_of, loss_of
from model.text_to_music.captions import Caption
from model.text_to_music.card import write_folder
from model.text_to_music.config import TextConfig
from model.text_to_music.delay import IGNORED, delayed
from model.text_to_music.generate import TextOptions, draw, generate_text, load_text_model
from model.text_to_music.songs import Song, Songs
from model.text_to_music.tokenizer import build_tokenizer, tokens
from model.text_to_music.train import batches, bits_of, build, train_step

TEMPI = {"60 bpm": 12, "80 bpm": 10, "100 bpm": 8, "120 bpm": 6, "140 bpm": 4}


@pytest.fixture(scope="module")
def codec() -> TinyEncodec:
    return TinyEncodec()


def random_codes(count: int, steps: int) -> torch.Tensor:
    return torch.randint(ENTRIES, (count, BOOKS, steps), generator=torch.Generator().manual_seed(1))


def test_delayed_labels_hold_each_codebook_k_steps_late():
    codes = random_codes(2, 5)
    labels = delayed(codes, IGNORED).transpose(1, 2)
    assert labels.shape == (2, 5 + BOOKS - 1, BOOKS)
    for k in range(BOOKS):
        assert torch.equal(labels[:, k : k + 5, k], codes[:, k])
    assert (labels == IGNORED).sum() == 2 * BOOKS * (BOOKS - 1)


def test_the_loss_is_a_delayed_cross_entropy_made_by_hand(codec):
    tokenizer = build_tokenizer(["house music, fast"])
    model = build_model(TINY, codec, len(tokenizer)).eval()
    codes, texts = random_codes(3, 11), ["fast", "", "a house music"]
    steps, start = 11 + BOOKS - 1, ENTRIES
    late = torch.full((3, BOOKS, steps), start)
    for k in range(BOOKS):
        late[:, k, k : k + 11] = codes[:, k]
    fed = torch.cat([torch.full((3, BOOKS, 1), start), late[..., :-1]], 2)
    ids, mask = tokens(tokenizer, texts)
    with torch.no_grad():
        words = model.enc_to_dec_proj(model.text_encoder(ids, attention_mask=mask)[0])
        seen = mask * torch.tensor([1, 0, 1])[:, None]
        logits = model.decoder(
            fed.reshape(3 * BOOKS, steps),
            encoder_hidden_states=words * seen[..., None],
            encoder_attention_mask=seen,
        ).logits.view(3, BOOKS, steps, ENTRIES)
        ours = loss_of(model, tokenizer, codes, texts)
    by_hand = [
        F.cross_entropy(logits[:, k, k : k + 11].reshape(-1, ENTRIES), codes[:, k].reshape(-1))
        for k in range(BOOKS)
    ]
    torch.testing.assert_close(ours, torch.stack(by_hand).mean(), rtol=1e-5, atol=1e-5)
    assert float(ours) == pytest.approx(np.log(ENTRIES), abs=0.1)


def test_no_text_is_what_the_guidance_of_transformers_compares_with(codec):
    tokenizer = build_tokenizer(["house music, fast"])
    model = build_model(TINY, codec, len(tokenizer)).eval()
    codes = random_codes(2, 9)
    with torch.no_grad():
        ours = loss_of(model, tokenizer, codes, ["", ""])
        null = model.get_unconditional_inputs(2)
        theirs = model(
            encoder_outputs=null.encoder_outputs, attention_mask=null.attention_mask,
            labels=delayed(codes, IGNORED).transpose(1, 2),
        ).loss  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def toy(frames: int) -> Songs:
    """Return songs of a beat each: the first codebook strikes on it, the others count its steps."""
    songs, steps = [], np.arange(frames)
    for text, beat in TEMPI.items():
        rows = [np.where(steps % beat == 0, 1, 0), *((steps + k) % beat for k in range(3))]
        codes = np.stack(rows).astype(np.uint16)
        songs.append(Song(text, codes, Caption.of(f"house music, {text}")))
    return Songs(songs, songs, HOP / SAMPLE_RATE_HZ)


@pytest.fixture(scope="module")
def taught(codec, tmp_path_factory):
    """Return the folder of a model that has learnt the five songs, the run, and its songs."""
    config = replace(
        TINY, window_s=0.64, steps=160, batch=8, lr=5e-3, warmup_steps=10, drop_phrase=0.0,
        drop_caption=0.1,
    )  # fmt: skip
    frames, folder = frames_of(config, codec), tmp_path_factory.mktemp("model")
    songs = toy(frames)
    state = build(config, codec, songs)
    before = {name: weight.clone() for name, weight in state.model.named_parameters()}
    stream = batches(config, songs, frames, 0)
    first = float(train_step(state, config, *next(stream))["loss/bits"])
    for _ in range(config.steps - 1):
        train_step(state, config, *next(stream))
    assert first > 4.5
    for name, weight in state.model.named_parameters():
        assert torch.equal(weight, before[name]) == name.startswith(CODEC_PART), name
    write_folder(state.model.eval(), state.tokenizer, folder)
    return folder, state, songs


@pytest.mark.long
def test_a_tiny_model_learns_five_tempo_words_and_plays_the_codes_of_each(codec, taught):
    folder, state, songs = taught
    codes = torch.from_numpy(np.stack([s.codes for s in songs.train]).astype(np.int64))
    texts = [song.caption.sentence for song in songs.train]
    right, wrong = (
        bits_of(state.model, state.tokenizer, codes, given)
        for given in (texts, texts[1:] + texts[:1])
    )
    assert right < 0.02 and wrong > 5 * right  # after a beat, the codes themselves tell the tempo
    loaded, tokenizer = load_text_model(folder)
    assert (loaded.config.note, loaded.config.window_s) == ("for tests", 0.64)
    for part, weight in codec.model.state_dict().items():
        assert torch.equal(loaded.audio_encoder.state_dict()[part], weight)
    greedy = TextOptions(greedy=True, guidance=1.0)
    drawn = codes_of(loaded, tokenizer, texts, codes.shape[2], greedy)
    assert (drawn == codes).float().mean(dim=(1, 2)).min() > 0.99


def codes_of(model, tokenizer, texts, frames, options) -> torch.Tensor:
    """Return the codes (B, Q, T) that `draw` decodes."""
    seen = []
    decode = model.audio_encoder.decode

    def listen(codes, *rest, **more):
        seen.append(codes[0])
        return decode(codes, *rest, **more)

    model.audio_encoder.decode = listen
    try:
        draw(model, tokenizer, texts, frames, 0, options)
    finally:
        del model.audio_encoder.decode
    return seen[0]


@pytest.mark.long
def test_music_from_text_is_as_long_as_asked_for_and_depends_on_text_and_seed(taught):
    folder, _, songs = taught
    texts = [song.caption.sentence for song in songs.train][::4]
    plain = TextOptions(guidance=1.0, temperature=2.0)
    first = generate_text(folder, texts, 0.5, 1, plain)
    assert first.shape == (2, 25 * 441) and first.dtype == torch.float32
    assert torch.equal(generate_text(folder, texts, 0.5, 1, plain), first)
    assert not torch.equal(generate_text(folder, texts, 0.5, 2, plain), first)
    assert not torch.equal(generate_text(folder, texts[::-1], 0.5, 1, plain), first)
    guided = generate_text(folder, texts, 0.5, 1, replace(plain, guidance=3.0))
    assert guided.shape == first.shape and not torch.equal(guided, first)


@pytest.mark.long
def test_what_cannot_be_generated_is_refused(taught, tmp_path):
    folder = taught[0]
    with pytest.raises(FileNotFoundError, match="train one: model train-text"):
        generate_text(tmp_path, ["fast"], 0.5)
    with pytest.raises(ValueError, match=r"up to 0\.64 s"):
        generate_text(folder, ["fast"], 30.0)
    for none in ([], ["fast", " "]):
        with pytest.raises(ValueError, match="expected at least one text"):
            generate_text(folder, none, 0.5)


def test_a_codec_that_is_no_encodec_and_a_window_too_short_are_refused(codec):
    with pytest.raises(ValueError, match="not an EnCodec"):
        build_model(TINY, random_codec(), 9)
    with pytest.raises(ValueError, match="5 code steps, expected at least 8"):
        frames_of(replace(TINY, window_s=0.1), codec)
    with pytest.raises(ValueError, match="expected a multiple of heads"):
        replace(TINY, heads=3)


def test_the_defaults_have_about_two_million_weights(codec):
    model = build_model(TextConfig(), codec, 120)
    state = {n: p.numel() for n, p in model.named_parameters() if not n.startswith(CODEC_PART)}
    assert 1.5e6 < sum(state.values()) < 2.5e6
    assert model.generation_config.guidance_scale == 3.0
