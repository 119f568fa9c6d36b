"""Small trainings of families of notes, and the sound font that plays them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sound_fonts import write_sound_font
from training_runs import command, equal

from model.contract.kinds import FAMILIES
from model.runtime.checkpoint import read_checkpoint

SMALL = ("max_steps=8", "batch_size=2", "val_every=4", "checkpoint_every=4", "sample_every=8",
         "val_segments=2", "sample_segments=1", "log_every=2", "shuffle_segments=4")  # fmt: skip


def small_font(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a small sound font and make it the default one; skip without the extra `midi`."""
    pytest.importorskip("tinysoundfont", reason="needs the extra `midi`")
    from model.contract.sound_font import SoundFont

    path = write_sound_font(folder / "tiny.sf2")
    monkeypatch.setattr("model.families.notes.player.default_font", lambda: SoundFont.open(path))
    return path


def train_notes(family: str, shards: Path, out: Path, *more: object, code: int = 0) -> Path:
    """Train a family for 8 steps; `more` are further words of `model train`."""
    given = [part for setting in SMALL for part in ("--set", setting)]
    words = ("train", "--family", family, "--shards", shards, "--out", out, *given, *more)
    assert command(*words) == code
    return out


def check_resumed(
    family: str, shards: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: object
) -> dict[str, object]:
    """Assert that a run broken in step 6 and resumed ends as one that was not, bit for bit.

    Return the checkpoint of the latter, whose folder is `folder`/whole.
    """
    whole = train_notes(family, shards, folder / "whole", *more)
    kind, taken = FAMILIES.get(family), []
    step = kind.step

    def stepped(model, batch):
        taken.append(batch)
        if len(taken) == 6:
            raise KeyboardInterrupt
        return step(model, batch)

    with monkeypatch.context() as broken:
        broken.setattr(kind, "step", stepped)
        train_notes(family, shards, folder / "parts", *more, code=130)
    assert read_checkpoint(folder / "parts" / "last.pt")["step"] == 4
    parts = train_notes(family, shards, folder / "parts", *more, "--resume")
    first, second = (read_checkpoint(run / "last.pt") for run in (whole, parts))
    assert first["step"] == 8
    equal(first, second)
    return first
