"""Words of times, and the heads that find their places in the music."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra `text`")

from text_models import ENTRIES, HOP, TINY, TinyEncodec

from model.contract.segment import SAMPLE_RATE_HZ
from model.text_to_music.build import CODEC_PART, frames_of, loss_of
from model.text_to_music.captions import Caption, beats_at, sentence
from model.text_to_music.config import TextConfig
from model.text_to_music.pointing import LOUD, OFFSETS, TEXT_PARTS
from model.text_to_music.songs import Song, Songs
from model.text_to_music.tokenizer import tokens
from model.text_to_music.train import batches, bits_of, build, train_step

STEP_S = HOP / SAMPLE_RATE_HZ
LAYER = "decoder.model.decoder.layers.0.encoder_attn."


def songs_of_strokes(count: int, frames: int, seed: int) -> list[Song]:
    """Return songs that strike at random places, of which only their times tell."""
    rng, songs = np.random.default_rng(seed), []
    for number in range(count):
        places = np.flatnonzero(rng.random(frames // 8) < 0.5) * 8 + rng.integers(0, 4)
        codes = np.full((4, frames), 2)
        codes[:, places] = 1
        beats = (places * STEP_S).tolist()
        songs.append(Song(str(number), codes.astype(np.uint16), Caption.of("house music", beats)))
    return songs


def said_by(model, embedded: torch.Tensor, codes: torch.Tensor, head: int) -> np.ndarray:
    """Return what a head of the first layer says at each place, given embedded words (1, L, E)."""
    attention, found = model.decoder.model.decoder.layers[0].encoder_attn, {}
    wide = attention.head_dim
    hooks = [
        getattr(attention, name).register_forward_hook(
            lambda _, __, out, name=name: found.update({name: out[0]})
        )
        for name in ("q_proj", "k_proj", "v_proj")
    ]
    with torch.no_grad():
        words = model.text_encoder(inputs_embeds=embedded)
        mask = torch.ones(embedded.shape[:2], dtype=torch.long)
        labels = codes.transpose(1, 2)
        model(encoder_outputs=words, attention_mask=mask, labels=labels)
    for hook in hooks:
        hook.remove()
    own = slice(head * wide, (head + 1) * wide)
    q, k, v = (found[name][:, own] for name in ("q_proj", "k_proj", "v_proj"))
    return ((q @ k.T / wide**0.5).softmax(-1) @ v)[:, 0].numpy()


@pytest.mark.parametrize("as_one_word", [False, True])
def test_heads_say_where_beats_are_before_anything_is_learnt(as_one_word):
    codec, config = TinyEncodec(), TextConfig(window_s=5.12)
    frames = frames_of(config, codec)
    songs = Songs(songs_of_strokes(2, frames, 0), songs_of_strokes(1, frames, 1), STEP_S)
    state = build(config, codec, songs)
    model, period = state.model.eval(), round(0.52 / STEP_S)
    places = np.arange(6, frames - 12, period)
    text = sentence("house", ["fast", beats_at(places * STEP_S)])
    ids, _ = tokens(state.tokenizer, [text])
    embedded = model.text_encoder.shared(ids).detach()
    if as_one_word:
        names = state.tokenizer.convert_ids_to_tokens(ids[0].tolist())
        times = torch.tensor([name.endswith("ms") for name in names])
        one, size = embedded[0, times].sum(0), embedded[0, times][0]
        turns = config.width // config.heads - 2
        one[:turns] *= size[:turns].norm() / one[:turns].norm()
        one[turns:] = 0
        one[turns + 1] = size[turns + 1]
        embedded = torch.cat([embedded[0, ~times], one[None]])[None]
    codes = torch.randint(ENTRIES, (1, 4, frames), generator=torch.Generator().manual_seed(0))
    for head, offset in enumerate(OFFSETS[: config.beat_heads]):
        said = said_by(model, embedded, codes, head)
        here = places - offset
        here = here[(here >= 0) & (here < frames)]
        between = here[:-1] + period // 2
        assert np.mean(said[here]) > (0.3 if as_one_word else 0.8) * LOUD
        assert np.abs(said[between]).mean() < 0.2 * np.mean(said[here])


@pytest.fixture(scope="module")
def taught():
    """Return a model that was taught strokes whose times are told, what it was, and its songs."""
    codec = TinyEncodec()
    config = replace(
        TINY, steps=300, batch=8, lr=3e-3, warmup_steps=10, drop_phrase=0.0, drop_caption=0.2,
        weight_decay=0.1,
    )  # fmt: skip
    frames = frames_of(config, codec)
    songs = Songs(songs_of_strokes(40, frames, 0), songs_of_strokes(8, frames, 1), STEP_S)
    state = build(config, codec, songs)
    before = {name: weight.clone() for name, weight in state.model.named_parameters()}
    stream = batches(config, songs, frames, 0)
    for _ in range(config.steps):
        train_step(state, config, *next(stream))
    return state, before, songs, frames


@pytest.mark.long
def test_strokes_of_unseen_songs_are_likelier_when_their_times_are_told(taught):
    state, _, songs, frames = taught
    codes, captions = songs.windows(frames, 8)
    state.model.eval()
    told, untold, wrong = (
        bits_of(state.model, state.tokenizer, codes, texts)
        for texts in (
            [caption.sentence for caption in captions],
            [caption.untimed.sentence for caption in captions],
            [captions[i - 1].sentence for i in range(len(captions))],
        )
    )
    assert told < 0.4 * untold
    assert told < 0.4 * wrong


@pytest.mark.long
def test_training_leaves_the_text_encoder_and_the_heads_for_times_as_they_began(taught):
    state, before, _, _ = taught
    rows = TINY.width // TINY.heads * TINY.beat_heads
    for name, weight in state.model.named_parameters():
        same = torch.equal(weight, before[name])
        assert same == name.startswith((CODEC_PART, *TEXT_PARTS)), name
        if name.startswith(LAYER) and "out_proj" not in name:
            assert torch.equal(weight[:rows], before[name][:rows])
            assert (weight[rows:] != before[name][rows:]).any(1).all()
    assert state.average.keys() == {
        name for name in before if not name.startswith((CODEC_PART, *TEXT_PARTS))
    }


@pytest.mark.parametrize("heads", [0, 1])
def test_without_times_or_without_heads_for_them_all_is_learnt(heads):
    codec, config = TinyEncodec(), replace(TINY, beat_heads=heads)
    frames = frames_of(config, codec)
    timed = songs_of_strokes(3, frames, 0)
    plain = [replace(song, caption=replace(song.caption, beats=())) for song in timed]
    state = build(config, codec, Songs(plain if heads else timed, plain, STEP_S))
    assert not state.kept
    loss_of(state.model, state.tokenizer, torch.zeros(1, 4, frames).long(), ["house"]).backward()
    assert state.model.text_encoder.shared.weight.grad is not None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"beat_heads": 2}, "beat_heads is 2; expected fewer than heads, 2"),
        ({"text_width": 16}, "text_width is 16; expected 32 to 64"),
        ({"text_width": 128}, "text_width is 128; expected 32 to 64"),
        ({"beat_heads": 6, "heads": 8}, "beat_heads"),
    ],
)
def test_settings_that_leave_no_room_for_times_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **wrong)
    if "beat_heads" not in wrong:
        replace(TINY, beat_heads=0, **wrong)
