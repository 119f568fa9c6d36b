"""Diversity: 0 for a model with one answer, above 0 for one that draws."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model.codecs.base import load_codec
from model.contract.segment import MOTION
from model.data.inputs import InputSpec
from model.evaluation.diversity import SAMPLES, diversity
from model.families.base import Model


class Answers:
    """A model with fixed codes, or with drawn ones, and what it was asked."""

    levels, sound_level, flat_memory = ("high",), "high", False
    sound = Model.sound

    def __init__(self, draws: bool) -> None:
        self.draws, self.batches = draws, []
        self.codec = load_codec("demo", ("high",))
        self.inputs = SimpleNamespace(specs={MOTION: InputSpec(3, 1 / 60, 120)})
        self.optional = frozenset()

    def generate(self, inputs, steps, options=None):
        motion = inputs[MOTION]
        self.batches.append(motion)
        shape = (len(motion), steps["high"])
        codes = torch.randint(1024, shape) if self.draws else torch.zeros(shape, dtype=torch.int64)
        return {"high": codes}


def found(draws: bool, clips: int = 2) -> tuple[np.ndarray, Answers]:
    torch.manual_seed(0)
    model = Answers(draws)
    run = SimpleNamespace(
        model=model, codec=model.codec, level="high", device="cpu",
        dataset=SimpleNamespace(samples=44100),
    )  # fmt: skip
    motions = [np.full((240, 3), i, np.float32) for i in range(clips)]
    pieces = [
        SimpleNamespace(inputs={MOTION: m}, genre="", video_id="v", segments=2) for m in motions
    ]
    given = [SimpleNamespace(piece=piece, segments=np.zeros((2, 44100))) for piece in pieces]
    return diversity(run, given), model


@pytest.mark.long
def test_one_answer_has_no_diversity_and_drawn_codes_have():
    assert found(False)[0].tolist() == [0, 0]
    assert (found(True)[0] > 1).all()


def test_each_clip_is_sampled_for_its_first_window():
    _, model = found(True)
    (motion,) = model.batches
    assert motion.shape == (2 * SAMPLES, 120, 3)
    assert motion[:, 0, 0].tolist() == [0.0] * SAMPLES + [1.0] * SAMPLES
