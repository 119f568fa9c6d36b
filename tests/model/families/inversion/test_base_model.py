"""The frozen text-to-music model: its loss, its words, and how codes are drawn from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from music_models import ENTRIES, WORDS, small_musicgen, tokenizer, write_musicgen

from model.families.inversion.base_model import TextToMusic, load_base
from model.families.inversion.prompt import PROMPT, read_prompt
from model.families.inversion.sampling import choose, draw
from model.text_to_music.delay import IGNORED, delayed, straightened

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base() -> TextToMusic:
    return TextToMusic(small_musicgen(), tokenizer(), "small")


def two_dances(base: TextToMusic) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the words of two dances, the embeddings they come from, a mask, and true codes."""
    torch.manual_seed(1)
    prompt = read_prompt(base.tokenizer, PROMPT)
    rhythm, genre = torch.randn(2, 1, base.width), torch.randn(2, 1, base.width)
    embedded = base.model.text_encoder.get_input_embeddings()(prompt.ids)[None].repeat(2, 1, 1)
    embedded[:, prompt.rhythm], embedded[:, prompt.genre] = rhythm, genre
    codes = torch.randint(ENTRIES, (2, 4, 40))
    mask = torch.ones(embedded.shape[:2], dtype=torch.long)
    return base.words(prompt, rhythm, genre), embedded, mask, codes


def test_the_loss_is_that_of_transformers_and_that_of_a_delayed_cross_entropy_made_by_hand(base):
    words, embedded, mask, codes = two_dances(base)
    ours = base.nats(words, torch.ones(2, dtype=torch.bool), codes)
    assert ours.shape == (2, 4)

    labels = delayed(codes, IGNORED).transpose(1, 2)
    theirs = base.model(inputs_embeds=embedded, attention_mask=mask, labels=labels)
    torch.testing.assert_close(ours.mean(), theirs.loss)

    logits = theirs.logits.view(2, 4, 43, ENTRIES).log_softmax(-1)
    by_hand = torch.stack(
        [
            -logits[:, k, k : k + 40].gather(2, codes[:, k, :, None]).mean((1, 2))
            for k in range(4)
        ],
        1,
    )  # fmt: skip
    torch.testing.assert_close(ours, by_hand)
    undelayed = base.model(
        inputs_embeds=embedded, attention_mask=mask, labels=codes.transpose(1, 2)
    )
    assert not torch.allclose(undelayed.loss, theirs.loss, atol=1e-3)


def test_a_batch_has_the_losses_of_its_members(base):
    words, _, _, codes = two_dances(base)
    heard = torch.tensor([True, False])
    together = base.nats(words, heard, codes)
    alone = [base.nats(words[i : i + 1], heard[i : i + 1], codes[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_gradients_reach_the_words_and_no_weight_of_the_model(base):
    prompt = read_prompt(base.tokenizer, PROMPT)
    rhythm = torch.randn(2, 1, base.width, requires_grad=True)
    words = base.words(prompt, rhythm, torch.randn(2, 1, base.width))
    codes = torch.randint(ENTRIES, (2, 4, 12))
    base.nats(words, torch.ones(2, dtype=torch.bool), codes).mean().backward()
    assert rhythm.grad is not None and rhythm.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in base.model.parameters())
    assert not base.model.training


def generated(base: TextToMusic, **arguments: Any) -> torch.Tensor:
    """Return the codes that transformers' own `generate` makes before it decodes them."""
    held, decode = [], base.model.audio_encoder.decode

    def heard(codes: torch.Tensor, **more: Any) -> Any:
        held.append(codes[0].clone())
        return decode(codes, **more)

    base.model.audio_encoder.decode = heard
    try:
        base.model.generate(do_sample=False, guidance_scale=3.0, **arguments)
    finally:
        base.model.audio_encoder.decode = decode
    return held[0]


@pytest.mark.parametrize("known", [0, 7])
def test_codes_are_drawn_as_by_transformers_with_guidance_and_from_earlier_codes_on(base, known):
    words, embedded, mask, codes = two_dances(base)
    prompt = codes[..., :known]
    ours = draw(base.model.decoder, words, mask, prompt, 20, 3.0, 1, 1.0)
    more = {"decoder_input_ids": prompt.reshape(8, known)} if known else {}
    theirs = generated(
        base, inputs_embeds=embedded, attention_mask=mask, max_new_tokens=20 - known + 3, **more
    )
    assert ours.shape == (2, 4, 20)
    assert torch.equal(ours, theirs)
    assert torch.equal(ours[..., :known], prompt)


def test_guidance_and_other_words_change_what_is_drawn(base):
    words, _, mask, _ = two_dances(base)
    nothing = torch.zeros(2, 4, 0, dtype=torch.long)
    plain = draw(base.model.decoder, words, mask, nothing, 30, 1.0, 1, 1.0)
    guided = draw(base.model.decoder, words, mask, nothing, 30, 3.0, 1, 1.0)
    others = draw(base.model.decoder, words.roll(1, 0), mask, nothing, 30, 1.0, 1, 1.0)
    assert (plain != guided).float().mean() > 0.1
    assert torch.equal(plain.roll(1, 0), others) and not torch.equal(plain, others)


def test_codes_are_drawn_among_the_likeliest_and_again_with_the_same_seed():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).repeat(4000, 1)
    torch.manual_seed(0)
    drawn = choose(logits, 2, 1.0)
    assert set(drawn.tolist()) == {2, 3}
    share = (drawn == 3).float().mean().item()
    assert share == pytest.approx(torch.tensor(1.0).sigmoid().item(), abs=0.03)
    torch.manual_seed(0)
    assert torch.equal(choose(logits, 2, 1.0), drawn)
    assert set(choose(logits, 0, 1.0).tolist()) == {0, 1, 2, 3}
    assert (choose(logits, 0, 0.01) == 3).all()


def test_delayed_codes_become_straight_again():
    codes = torch.randint(9, (2, 4, 11))
    rows = delayed(codes, -1)
    assert rows.shape == (2, 4, 14)
    assert (rows[:, 2, :2] == -1).all() and torch.equal(rows[:, 2, 2:13], codes[:, 2])
    assert torch.equal(straightened(rows), codes)


@pytest.mark.long
def test_a_saved_model_is_loaded_again_with_the_same_id(tmp_path):
    folder = write_musicgen(tmp_path / "small")
    one, again = load_base(str(folder), CPU), load_base(str(folder), CPU)
    assert one.id == again.id == TextToMusic(small_musicgen(), None, "").id
    assert one.id != load_base(str(write_musicgen(tmp_path / "other", seed=1)), CPU).id
    assert one.codebooks == 4 and one.width == 32 and one.note == ""


def test_what_is_no_musicgen_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither a folder nor in .* hf download"):
        load_base("nobody/no-such-model", CPU)
    with pytest.raises(ValueError, match=r"no config\.json: is no model"):
        load_base(str(tmp_path), CPU)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}), encoding="utf-8")
    with pytest.raises(ValueError, match="a model of type 't5'; expected a MusicGen"):
        load_base(str(tmp_path), CPU)
    folder = write_musicgen(tmp_path / "small")
    (folder / "model.safetensors").write_bytes(b"\x08" * 40)
    with pytest.raises(ValueError, match=r"cannot be loaded: .* fetch it again"):
        load_base(str(folder), CPU)


def test_a_folder_without_its_tokenizer_is_refused(tmp_path):
    folder = write_musicgen(tmp_path / "small")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ValueError, match="small: no tokenizer beside the weights"):
        load_base(str(folder), CPU)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the prompt is empty"),
        ("music with * and * as the rhythm", r"has '\*' more than once"),
        ("music with*as the rhythm", r"'\*' stands inside another word"),
    ],
)
def test_prompts_that_cannot_be_meant_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read_prompt(tokenizer(), text)


def test_a_tokenizer_that_does_not_know_the_placeholders_is_refused():
    without = tuple(word for word in WORDS if word != "*")
    with pytest.raises(ValueError, match=r"small: its tokenizer makes 1 tokens of '\*'"):
        read_prompt(tokenizer(without), PROMPT, source="small")


def test_a_prompts_placeholders_are_found_and_may_be_left_out():
    prompt = read_prompt(tokenizer(), PROMPT, rhythm_words=3)
    assert prompt.rhythm.tolist() == [4, 5, 6] and prompt.genre.tolist() == [1]
    plain = read_prompt(tokenizer(), "funky music")
    assert not len(plain.rhythm) and not len(plain.genre)


def test_the_words_of_a_folder_are_the_models_own(tmp_path: Path):
    base = load_base(str(write_musicgen(tmp_path / "small")), CPU)
    plain = base.words(read_prompt(base.tokenizer, "fast music"), None, None)
    slow = base.words(read_prompt(base.tokenizer, "slow music"), None, None)
    assert plain.shape == (1, 3, 64) and not torch.equal(plain, slow)
