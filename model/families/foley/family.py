"""Foley Music as a family: its batches, its loss, and music of any length.

A piece longer than a clip of the training is generated clip by clip. Each begins with the last half
of the music so far, and goes on from there.

Symbols: B batch, T frames, J joints, L events, N notes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.contract.notes import DRUM_PROGRAM, NOTE_COLUMNS, TRACKS
from model.contract.segment import MOTION, SAMPLE_RATE_HZ
from model.families.foley.config import PITCHED, PRESETS, Options
from model.families.foley.config import Config as FoleyConfig
from model.families.foley.events import END, NOTE_FIELDS, PAD, START, at_least, to_events, to_notes
from model.families.foley.network import FoleyNetwork
from model.families.foley.sampling import beam, draw
from model.families.notes.base import NoteModel
from model.families.notes.clips import NoteClip
from model.families.notes.poses import BODY_JOINTS, POSE_FPS, SMPL_JOINTS, poses_of
from model.measures.skeleton import BODY_25


class Foley(NoteModel[FoleyConfig]):
    """A graph network over the joints, and a decoder that writes MIDI events."""

    title = "Foley Music"
    Config = FoleyConfig
    PRESETS = PRESETS
    Options = Options
    deviations = (
        "30 frames a second, no hands; x and y of the joints and whether they are seen; time "
        "carried over between shifts; nucleus sampling up to the end event; one program"
    )

    network: FoleyNetwork

    def build(self) -> FoleyNetwork:
        config = self.config
        joints = BODY_JOINTS if self.inputs.specs[MOTION].features == BODY_25 else SMPL_JOINTS
        return FoleyNetwork(
            joints, config.graph_widths, config.graph_strides, config.width, config.layers,
            config.heads, config.inner, config.most_events, config.dropout,
        )  # fmt: skip

    # --- training --------------------------------------------------------------------------------

    def prepare(self, clips: Sequence[NoteClip]) -> None:
        validation = self.validation.clips if self.validation else []
        self.whole = {clip.name: clip for clip in (*clips, *validation)}
        """The clips that batches are drawn from, by name."""
        if not any(len(self.wanted(clip)) for clip in clips):
            raise ValueError(
                f"the notes {self.config.notes} have none of the tracks "
                f"{', '.join(self.config.tracks)}; choose others with --set tracks={PITCHED}"
            )

    def wanted(self, clip: NoteClip) -> np.ndarray:
        """Return the notes (N, 4) of a clip that are learnt."""
        assert clip.notes is not None, "training reads notes"
        rows = clip.notes[clip.notes[:, 4] != DRUM_PROGRAM]
        if PITCHED not in self.config.tracks:
            rows = rows[np.isin(rows[:, 5], [TRACKS.index(name) for name in self.config.tracks])]
        return rows[:, :NOTE_FIELDS]

    def batch_of(self, clips: Sequence[NoteClip], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a window that begins in each clip's first segment, where there is one."""
        config, segment_s = self.config, self.inputs.samples / SAMPLE_RATE_HZ
        poses, sequences = list[Tensor](), list[Tensor]()
        for clip in clips:
            whole = self.whole[clip.name]
            start_s = whole.seconds - clip.seconds + rng.uniform(0, segment_s)
            start_s = max(0.0, min(start_s, whole.seconds - config.clip_s))
            window = whole.since(round(start_s * POSE_FPS) / POSE_FPS)
            poses.append(window_of(window, config.clip_s))
            music = [START, *to_events(self.wanted(window), config.clip_s), END]
            sequences.append(torch.tensor(music[: config.most_events + 1]))
        events = nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=PAD)
        return {"poses": torch.stack(poses), "events": events}

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        poses, events = batch["poses"], batch["events"]
        if network.training:
            poses = self.moved(poses)
        logits = network(poses, events[:, :-1]).float()
        nats = F.cross_entropy(logits.transpose(1, 2), events[:, 1:], ignore_index=PAD)
        return {"total": nats}

    def moved(self, poses: Tensor) -> Tensor:
        """Return poses (B, 3, T, J) turned, resized and shifted, by amounts that drift."""
        config = self.config
        along = torch.linspace(0, 1, poses.shape[2], device=poses.device)

        def drift(most: float) -> Tensor:  # (B, T, 1)
            ends = (torch.rand(2, len(poses), 1, device=poses.device) * 2 - 1) * most
            return torch.lerp(ends[0], ends[1], along)[..., None]

        turn, size = drift(config.turn_degrees).deg2rad(), 1 + drift(config.resize)
        x, y, seen = poses.unbind(1)
        turned = x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos()
        points = [each * size + drift(config.shift) for each in turned]
        return torch.stack([*points, seen], 1)

    def update_average(self) -> None:
        """Move the averaged weights; the statistics of batch norms are those of the last steps."""
        super().update_average()
        for held, new in zip(self.network.buffers(), self.trained.buffers(), strict=True):
            held.copy_(new)

    # --- generation ------------------------------------------------------------------------------

    def notes_for(self, dance: NoteClip, options: Any, rng: np.random.Generator) -> np.ndarray:
        clip_s = self.config.clip_s
        notes = np.zeros((0, NOTE_FIELDS))
        known_s = 0.0
        for start_s in starts(dance.seconds, clip_s):
            poses = window_of(dance.since(start_s), clip_s)[None].to(self.device)
            held = later(notes[notes[:, 0] >= start_s], -start_s)
            begin = to_events(held, known_s - start_s)
            if options.beam:
                events = beam(self.network, poses, begin, options.beam)
            else:
                events = draw(self.network, poses, begin, options.top_p, options.temperature, rng)
            known_s = min(start_s + clip_s, dance.seconds)
            new = later(to_notes(events, known_s - start_s), start_s)
            notes = np.concatenate([notes[notes[:, 0] < start_s], new])
        notes = at_least(notes, options.min_note_s)
        rows = np.zeros((len(notes), len(NOTE_COLUMNS)))
        rows[:, :NOTE_FIELDS] = notes
        names = [name for name in self.config.tracks if name != PITCHED] or ["chords"]
        rows[:, NOTE_FIELDS:] = options.program, TRACKS.index(names[0]), -1
        return rows


def later(notes: np.ndarray, seconds: float) -> np.ndarray:
    """Return notes (N, 4) moved by a time in seconds."""
    return notes + np.array([seconds, 0, 0, 0])


def window_of(dance: NoteClip, seconds: float) -> Tensor:
    """Return x, y and whether it is seen, of each joint: (3, T, J) float32, T = 30 a second.

    Frames after the end of the dance repeat its last pose, not seen.
    """
    if dance.joints is None:
        raise ValueError(f"{dance.name}: no joints; build the shards with --motion")
    frames = round(seconds * dance.fps)
    seen = None if dance.seen is None else dance.seen[:frames]
    points, visible = poses_of(dance.joints[:frames], seen, dance.fps)
    picture = np.concatenate([points.transpose(2, 0, 1), visible[None]]).astype(np.float32)
    wanted = round(seconds * POSE_FPS)
    after = max(0, wanted - picture.shape[1])
    picture = np.pad(picture[:, :wanted], ((0, 0), (0, after), (0, 0)), mode="edge")
    picture[2, wanted - after :] = 0
    return torch.from_numpy(picture)


def starts(seconds: float, clip_s: float) -> Iterator[float]:
    """Yield where the windows of a piece begin: half a window apart, the last ends with it."""
    start_s = 0.0
    yield start_s
    while start_s + clip_s < seconds - 0.5 / POSE_FPS:
        start_s = min(start_s + clip_s / 2, seconds - clip_s)
        yield start_s
