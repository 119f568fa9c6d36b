"""The rows of an evaluation: the music of the baselines and of a run.

Symbols: a list has one entry per clip; N samples at 22 050 Hz, S segments, L codes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from model.baselines.base import Given, Music, play
from model.baselines.references import exchanged, partners
from model.contract.wav import decode_wav, encode_wav
from model.data.clips import Clip
from model.evaluation.music_folder import hear
from model.evaluation.subject import MusicFolder, Subject
from model.generation.batches import batches, inputs_of_piece, music_of_each
from model.generation.denoise import denoise, removed_share
from model.generation.run import Run


def rows(
    subject: Subject,
    folders: Sequence[MusicFolder],
    given: Given,
    baselines: Sequence[str],
    denoised: bool,
    others: bool,
) -> Iterator[Music]:
    """Yield the baselines' rows, those of the run, if there is one, and one for each folder.

    With `denoised`, a row of the run's denoised music follows. With `others`, a row of the music
    for other songs follows that of the run, or of a folder that is the subject and complete, if
    every clip can get one of another song.
    """
    for name in baselines:
        yield from play(name, given)
    if subject.run is not None:
        yield from rows_of_run(subject.run, given, denoised, others, subject.generation)
    for folder in folders:
        heard = hear(folder.folder, given.clips)
        for error in heard.failed:
            print(f"error: {error}", file=sys.stderr)
        if not heard.scored:
            raise ValueError(
                f"{folder.folder}: has music for none of {len(given.clips)} clips of the split "
                f"({len(heard.failed)} failed); name the files after the videos, such as "
                f"{given.clips[0].piece.video_id}.wav"
            )
        sounds = [audio for audio in heard.audio if audio is not None]
        complete = len(sounds) == len(given.clips)
        note = "; ".join(heard.notes(folder.name))
        yield Music(folder.name, sounds, note=note, of=None if complete else heard.scored)
        if others and complete and subject.run is None and folder == folders[0]:
            yield from of_other_songs(folder.name, sounds, given)


def rows_of_run(
    run: Run, given: Given, denoised: bool, others: bool, options: Any = None
) -> Iterator[Music]:
    """Yield the run's music, named `run.name`; denoised, and for other songs, if asked.

    It is that of the files that `model generate` writes, with samples of 16 bits.
    """
    pieces = [clip.piece for clip in given.clips]
    sounds = [made.audio.numpy() for made in music_of_each(run, pieces, options)]
    if not all(np.isfinite(audio).all() for audio in sounds):
        raise ValueError(f"{run.name}: audio with NaN or infinity; use an earlier checkpoint")
    sounds = [decode_wav(encode_wav(audio)[0], run.name) for audio in sounds]
    codes = codes_of_each(run, given.clips, options) if run.model.levels else None
    yield Music(run.name, sounds, codes, note="; ".join(run.model.remarks(run.step)))
    if denoised:
        clean = [denoise(audio) for audio in sounds]
        share = np.mean([removed_share(a, b) for a, b in zip(sounds, clean, strict=True)])
        note = f"denoising removed {share:.1%} of the energy of {run.name}"
        yield Music(f"{run.name}, denoised", clean, note=note)
    if others:
        yield from of_other_songs(run.name, sounds, given)


def of_other_songs(name: str, sounds: Sequence[np.ndarray], given: Given) -> Iterator[Music]:
    """Yield the music for other songs; nothing if not every clip can get another song."""
    partner = partners(given.clips, given.seed)
    if partner is not None:
        yield Music(f"{name}, other songs", exchanged(sounds, partner, given.clips))


@torch.no_grad()
def codes_of_each(run: Run, clips: Sequence[Clip], options: Any = None) -> list[np.ndarray]:
    """Return the codes (S, L) that the run generates for each segment of each clip, separately."""
    samples, found = run.dataset.samples, []
    steps = {level: run.codec.steps(samples, level) for level in run.model.levels}
    for batch in batches([clip.piece for clip in clips], run.model.pieces_at_once):
        each = [inputs_of_piece(run, piece, piece.segments) for piece in batch]
        inputs = {name: torch.cat([one[name] for one in each]) for name in each[0]}
        codes = run.model.generate(inputs, steps, options)[run.level].cpu().numpy()
        found += [*codes.reshape(len(batch), batch[0].segments, *codes.shape[1:])]
    return found
