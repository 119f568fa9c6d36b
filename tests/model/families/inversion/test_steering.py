"""A word learnt from beats steers a frozen model as its own words do, and nothing else does."""

from __future__ import annotations

import pytest
import torch
from music_models import small_musicgen, tokenizer

from model.families.inversion.base_model import TextToMusic
from model.families.inversion.encoders import RhythmEncoder
from model.families.inversion.prompt import Prompt, read_prompt
from model.families.inversion.sampling import draw

TEMPI = (6, 7, 8, 9, 10)
"""Codes between two beats."""
NAMES = ("slow", "calm", "medium", "fast", "rapid")
LENGTH, VALUES = 48, 118


def music(tempo: int) -> torch.Tensor:
    """Return codes (4, LENGTH) with a beat every `tempo` codes, different in each codebook."""
    beats = torch.arange(LENGTH) % tempo == 0
    return torch.stack([torch.where(beats, 20 + k, 3 * k) for k in range(4)])


def rhythm(tempo: int) -> torch.Tensor:
    """Return the rhythm (VALUES,) of a dance whose beats are those of the music."""
    frames = torch.arange(VALUES)
    return ((frames * LENGTH // VALUES) % tempo == 0).float() * (frames % 2 == 0)


def prompts(base: TextToMusic) -> list[Prompt]:
    return [read_prompt(base.tokenizer, f"a {name} music") for name in NAMES]


def pretrained() -> TextToMusic:
    """Return a model that has learnt what the five words mean."""
    torch.manual_seed(0)
    words = ("a", "@", "music", "with", "*", "as", "the", "rhythm", *NAMES)
    base = TextToMusic(small_musicgen(), tokenizer(words), "small")
    base.model.requires_grad_(True)
    base.model.audio_encoder.requires_grad_(False)
    optimiser = torch.optim.Adam([p for p in base.model.parameters() if p.requires_grad], 2e-3)
    codes, heard = torch.stack([music(tempo) for tempo in TEMPI]), torch.ones(5, dtype=torch.bool)
    for _ in range(300):
        loss = base.nats(
            torch.cat([base.words(p, None, None) for p in prompts(base)]), heard, codes
        )
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    base.model.requires_grad_(False)
    assert loss.mean() < 0.02
    return base


@pytest.mark.slow
def test_an_encoder_of_beats_steers_a_frozen_model_and_its_controls_do_not():
    base = pretrained()
    before = base.id
    codes, heard = torch.stack([music(tempo) for tempo in TEMPI]), torch.ones(5, dtype=torch.bool)
    beats = torch.stack([rhythm(tempo) for tempo in TEMPI])
    prompt = read_prompt(base.tokenizer, "a * music")
    encoder = RhythmEncoder(VALUES, 64, base.width)

    def loss(word: torch.Tensor) -> torch.Tensor:
        return base.nats(base.words(prompt, word, None), heard, codes).mean()

    untrained = loss(encoder.eval()(beats)).item()
    encoder.train()
    optimiser = torch.optim.AdamW(encoder.parameters(), 2e-3)
    for _ in range(300):
        optimiser.zero_grad()
        loss(encoder(beats)).backward()
        optimiser.step()
    encoder.eval()
    with torch.no_grad():
        learnt = loss(encoder(beats)).item()
        zeroed = loss(torch.zeros(5, 1, base.width)).item()
        others = loss(encoder(beats.roll(1, 0))).item()
        words = base.words(prompt, encoder(beats), None)
    assert learnt < 0.02
    assert min(untrained, zeroed, others) > 4 * learnt
    assert base.id == before, "the model is frozen"

    mask = torch.ones(words.shape[:2], dtype=torch.long)
    nothing = torch.zeros(5, 4, 0, dtype=torch.long)
    assert torch.equal(draw(base.model.decoder, words, mask, nothing, LENGTH, 1.0, 1, 1.0), codes)
    wrong = draw(base.model.decoder, words.roll(1, 0), mask, nothing, LENGTH, 1.0, 1, 1.0)
    assert torch.equal(wrong, codes.roll(1, 0)), "each plays its own tempo"
