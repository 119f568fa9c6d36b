"""Write videos, motions, ground truth and splits in the layout of AIST++."""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from model.contract.files import write_atomic
from model.contract.notes import midi_bytes
from model.contract.segment import SPLITS
from pipeline.sources.synthetic.body import JOINTS
from pipeline.sources.synthetic.dance import MOTION_FPS, Motion, choreograph, other_pace
from pipeline.sources.synthetic.music import SONG_S, Song, compose, tempo_of
from pipeline.sources.synthetic.plan import VideoSpec
from pipeline.sources.synthetic.song_files import note_truth, npz_bytes, recorded, wav_bytes

if TYPE_CHECKING:
    from pipeline.sources.synthetic.render import Camera

RENDER_VERSION = 2
"""Raise this if the same spec now gives other files: older files are then written again."""

SCALING = 100.0
"""AIST++ stores translations in units of its scene; this many units are one metre of SMPL."""

Medium = Literal["video", "blank", "sound"]
MEDIA: dict[Medium, tuple[str, str]] = {
    "video": ("videos", ".mp4"),
    "blank": ("blank", ".mp4"),
    "sound": ("wav", ".wav"),
}
"""Folder and suffix of a performance: with drawn pictures, with black ones, or sound alone."""
BLANK_PX = 16


@dataclass(frozen=True)
class Performance:
    """One video before it is drawn: the sound excerpt, its beats and notes, and one motion per
    dancer. `notes` (N, 7) has the columns of NOTE_COLUMNS; times are from the excerpt's start.
    """

    song: Song
    audio: np.ndarray
    beat_times_s: np.ndarray
    notes: np.ndarray
    motions: tuple[Motion, ...]


def perform(spec: VideoSpec) -> Performance:
    """Choose the excerpt of the song and choreograph every dancer; depends only on the spec."""
    rng = _rng(spec)
    song = compose(spec.song_id, spec.seed, instruments=spec.instruments)
    start_s = float(rng.uniform(1.5, SONG_S - spec.duration_s - 1.5))
    audio, beats = song.excerpt(start_s, spec.duration_s)
    notes = song.notes_in(start_s, spec.duration_s)
    start_s = round(start_s * song.sample_rate_hz) / song.sample_rate_hz
    frames = round(spec.duration_s * MOTION_FPS)
    around = song.beat_times_s - start_s
    around = around[(around > -1.5) & (around < spec.duration_s + 1.5)]
    if spec.vary_pace:
        around = other_pace(around, np.random.default_rng([2, *_seed(spec)]))
    motions = tuple(
        choreograph(spec.genre, around, frames, np.random.default_rng(seed), place)
        for seed, place in zip(
            rng.integers(2**32, size=len(spec.dancers)), _places(len(spec.dancers)), strict=True
        )
    )
    return Performance(song, audio, beats, notes, motions)


def is_written(spec: VideoSpec, root: Path, medium: Medium = "video") -> bool:
    """Return whether all files of `spec` exist and were made from the same spec."""
    files = _paths(spec, root)
    wanted = (files[medium], files["motion"], files["midi"])
    found, complete = _made_from(files["truth"])
    return complete and found == spec_hash(spec) and all(path.is_file() for path in wanted)


def write_video(spec: VideoSpec, root: Path, medium: Medium = "video") -> None:
    """Write a video, or its sound without pictures, with its motion and ground truth.

    The files are `videos/<id>.mp4` (`blank/<id>.mp4` with black pictures, or `wav/<id>.wav` with
    mono PCM16 at 22 050 Hz), `motions/<id, cAll for c01>.pkl`, `truth/<id>.mid` and
    `truth/<id>.npz`. Each is written atomically, the last one when the others are there. Nothing is
    done if `is_written`.
    """
    from pipeline.sources.synthetic.render import place_camera

    if is_written(spec, root, medium):
        return
    files = _paths(spec, root)
    if _made_from(files["truth"])[0] != spec_hash(spec):
        for other in MEDIA:
            files[other].unlink(missing_ok=True)
    files["truth"].unlink(missing_ok=True)
    show = perform(spec)
    look = np.random.default_rng([1, *_seed(spec)])
    camera = place_camera(look, spec.width_px, spec.height_px, len(spec.dancers))
    if not files[medium].is_file():
        _write_medium(files[medium], medium, spec, show, camera, look)
    smpl = _smpl(show.motions[0])
    write_atomic(files["motion"], pickle.dumps(smpl | {"smpl_loss": 0.0}, protocol=4))
    write_atomic(files["midi"], midi_bytes(show.notes, show.song.tempo_bpm, spec.video_id))
    write_atomic(files["truth"], npz_bytes(_truth(spec, show, camera, smpl)))


def _write_medium(
    path: Path,
    medium: Medium,
    spec: VideoSpec,
    show: Performance,
    camera: Camera,
    look: np.random.Generator,
) -> None:
    from pipeline.media.ffmpeg import encode
    from pipeline.sources.synthetic.render import dress, render, stage

    if medium == "sound":
        write_atomic(path, wav_bytes(show.audio, show.song.sample_rate_hz))
        return
    if medium == "blank":
        size_px = (BLANK_PX, BLANK_PX)
        black = np.zeros((BLANK_PX, BLANK_PX, 3), np.uint8)
        frames: Iterator[np.ndarray] = (black for _ in _motion_frames(spec))
    else:
        size_px = (spec.width_px, spec.height_px)
        outfits = [dress(dancer) for dancer in spec.dancers]
        frames = render(_seen(spec, show), outfits, camera, stage(look, camera))
    path.parent.mkdir(parents=True, exist_ok=True)
    encode(frames, spec.fps, size_px, show.audio, show.song.sample_rate_hz, path)


def _smpl(motion: Motion) -> dict[str, np.ndarray]:
    """Return a motion under the names that AIST++ gives it."""
    return {
        "smpl_poses": motion.poses,
        "smpl_scaling": np.array([SCALING], np.float32),
        "smpl_trans": (SCALING * motion.trans_m).astype(np.float32),
    }


def _seen(spec: VideoSpec, show: Performance) -> np.ndarray:
    """Return the joints of all dancers in the video's frames, (T, P, 24, 3) metres."""
    joints = np.stack([motion.joints_m for motion in show.motions], axis=1)
    return joints[_motion_frames(spec)]


def _truth(
    spec: VideoSpec, show: Performance, camera: Camera, smpl: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Return the arrays of `truth/<id>.npz`."""
    points, _ = camera.project(_seen(spec, show))
    inside = ((points >= 0) & (points < np.array([spec.width_px, spec.height_px]))).all(-1)
    return smpl | {
        "spec_sha256": np.array(spec_hash(spec)),
        "beat_times_s": show.beat_times_s,
        "kinematic_beat_times_s": show.motions[0].rest_times_s,
        "keypoints2d": points.astype(np.float32),
        "visible": inside,
        "joint_names": np.array(JOINTS),
        "fps": np.array(spec.fps),
        "motion_fps": np.array(MOTION_FPS),
        "genre": np.array(spec.genre),
        "song": np.array(spec.song_id),
        "dancers": np.array(spec.dancers),
        "split": np.array(spec.split),
        "tempo_bpm": np.array(show.song.tempo_bpm),
        **note_truth(show.notes, spec.instruments),
    }


def write_annotations(specs: Sequence[VideoSpec], root: Path) -> None:
    """Write `splits/crossmodal_{train,val,test}.txt`, with cAll names, and `truth.json`."""
    for split in SPLITS:
        names = [f"{spec.motion_id}\n" for spec in specs if spec.split == split]
        write_atomic(root / "splits" / f"crossmodal_{split}.txt", "".join(names).encode())
    facts = {
        spec.video_id: {
            "genre": spec.genre,
            "song": spec.song_id,
            "split": spec.split,
            "dancers": list(spec.dancers),
            "tempo_bpm": tempo_of(spec.genre, int(spec.song_id[3:])),
            **recorded(spec.instruments),
        }
        for spec in specs
    }
    write_atomic(root / "truth.json", (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode())


def spec_hash(spec: VideoSpec) -> str:
    """Return the SHA-256 of everything that determines a video's files."""
    facts = asdict(spec)
    del facts["instruments"]  # the built-in synthesis has no entry, as before there was a choice
    if not spec.vary_pace:
        del facts["vary_pace"]
    text = json.dumps(
        {"made_by": RENDER_VERSION, **facts, **recorded(spec.instruments)}, sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _paths(spec: VideoSpec, root: Path) -> dict[str, Path]:
    media = {
        name: root / folder / f"{spec.video_id}{suffix}" for name, (folder, suffix) in MEDIA.items()
    }
    return media | {
        "motion": root / "motions" / f"{spec.motion_id}.pkl",
        "midi": root / "truth" / f"{spec.video_id}.mid",
        "truth": root / "truth" / f"{spec.video_id}.npz",
    }


def _made_from(truth: Path) -> tuple[str, bool]:
    """Return the hash of the spec that a truth file was made from, and whether it has notes.

    Files that earlier versions wrote have no notes; their pictures and sound stay valid.
    """
    if not truth.is_file():
        return "", False
    try:
        with np.load(truth, allow_pickle=False) as arrays:
            return str(arrays["spec_sha256"]), "notes" in arrays
    except (ValueError, KeyError, zipfile.BadZipFile):
        return "", False  # not a truth file of this program: write it again


def _seed(spec: VideoSpec) -> list[int]:
    return [spec.seed, *spec.video_id.encode()]


def _rng(spec: VideoSpec) -> np.random.Generator:
    return np.random.default_rng(_seed(spec))


def _places(dancers: int) -> list[tuple[float, float]]:
    """Return floor points (x, z) around 0: the first in front, the others beside and behind it."""
    row = [1.15 * ((p + 1) // 2) * (-1) ** p for p in range(dancers)]
    centre = (max(row) + min(row)) / 2
    return [(x - centre, -0.3 * (x != 0)) for x in row]


def _motion_frames(spec: VideoSpec) -> np.ndarray:
    """Return for every video frame the index of the motion frame nearest in time."""
    times_s = np.arange(round(spec.duration_s * spec.fps)) / spec.fps
    frames = np.round(times_s * MOTION_FPS).astype(int)
    return np.minimum(frames, round(spec.duration_s * MOTION_FPS) - 1)
