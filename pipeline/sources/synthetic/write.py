"""Write videos, motions, ground truth, splits and music in the layout of AIST++."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.contract.files import write_atomic
from model.contract.segment import SAMPLE_RATE_HZ, SPLITS
from pipeline.sources.synthetic.body import JOINTS
from pipeline.sources.synthetic.dance import MOTION_FPS, Motion, choreograph
from pipeline.sources.synthetic.music import SONG_S, Song, compose, tempo_of
from pipeline.sources.synthetic.plan import VideoSpec

RENDER_VERSION = 2
"""Raise this if the same spec now gives other files: older files are then written again."""

SCALING = 100.0
"""AIST++ stores translations in units of its scene; this many units are one metre of SMPL."""


@dataclass(frozen=True)
class Performance:
    """One video before it is drawn: the sound excerpt, its beats, and one motion per dancer."""

    song: Song
    audio: np.ndarray
    beat_times_s: np.ndarray
    motions: tuple[Motion, ...]


def perform(spec: VideoSpec) -> Performance:
    """Choose the excerpt of the song and choreograph every dancer; depends only on the spec."""
    rng = _rng(spec)
    song = compose(spec.song_id, spec.seed)
    start_s = float(rng.uniform(1.5, SONG_S - spec.duration_s - 1.5))
    audio, beats = song.excerpt(start_s, spec.duration_s)
    start_s = round(start_s * song.sample_rate_hz) / song.sample_rate_hz
    frames = round(spec.duration_s * MOTION_FPS)
    around = song.beat_times_s - start_s
    around = around[(around > -1.5) & (around < spec.duration_s + 1.5)]
    motions = tuple(
        choreograph(spec.genre, around, frames, np.random.default_rng(seed), place)
        for seed, place in zip(
            rng.integers(2**32, size=len(spec.dancers)), _places(len(spec.dancers)), strict=True
        )
    )
    return Performance(song, audio, beats, motions)


def is_written(spec: VideoSpec, root: Path) -> bool:
    """Return whether all three files of `spec` exist and were made from the same spec."""
    video, motion, truth = _paths(spec, root)
    return video.is_file() and motion.is_file() and _made_from(truth) == spec_hash(spec)


def write_video(spec: VideoSpec, root: Path) -> None:
    """Write `videos/<id>.mp4`, `motions/<id, cAll for c01>.pkl` and `truth/<id>.npz`.

    Each file is written atomically, the ground truth last. If `is_written`, nothing is done.
    """
    from pipeline.media.ffmpeg import encode
    from pipeline.sources.synthetic.render import dress, place_camera, render, stage

    if is_written(spec, root):
        return
    video, motion, truth = _paths(spec, root)
    truth.unlink(missing_ok=True)
    show = perform(spec)
    joints = np.stack([m.joints_m for m in show.motions], axis=1)
    look = np.random.default_rng([1, *_seed(spec)])
    camera = place_camera(look, spec.width_px, spec.height_px, len(spec.dancers))
    seen = joints[_motion_frames(spec)]
    frames = render(seen, [dress(d) for d in spec.dancers], camera, stage(look, camera))
    size_px = (spec.width_px, spec.height_px)
    video.parent.mkdir(parents=True, exist_ok=True)
    encode(frames, spec.fps, size_px, show.audio, show.song.sample_rate_hz, video)
    first = show.motions[0]
    smpl = {
        "smpl_poses": first.poses,
        "smpl_scaling": np.array([SCALING], np.float32),
        "smpl_trans": (SCALING * first.trans_m).astype(np.float32),
    }
    write_atomic(motion, pickle.dumps(smpl | {"smpl_loss": 0.0}, protocol=4))
    points, _ = camera.project(seen)
    inside = ((points >= 0) & (points < np.array(size_px))).all(-1)
    arrays: dict[str, Any] = smpl | {  # Any: savez_compressed has an option beside them
        "spec_sha256": np.array(spec_hash(spec)),
        "beat_times_s": show.beat_times_s,
        "kinematic_beat_times_s": first.rest_times_s,
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
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(truth, buffer.getvalue())


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
        }
        for spec in specs
    }
    write_atomic(root / "truth.json", (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode())


def write_music(specs: Sequence[VideoSpec], root: Path) -> None:
    """Write `wav/<song>.wav`: every complete song of `specs`, mono PCM16 at 22 050 Hz."""
    import soundfile
    import soxr

    for song_id, seed in sorted({(spec.song_id, spec.seed) for spec in specs}):
        song = compose(song_id, seed)
        samples = soxr.resample(song.samples, song.sample_rate_hz, SAMPLE_RATE_HZ)
        buffer = io.BytesIO()
        soundfile.write(buffer, np.clip(samples, -1, 1), SAMPLE_RATE_HZ, "PCM_16", format="WAV")
        write_atomic(root / "wav" / f"{song_id}.wav", buffer.getvalue())


def spec_hash(spec: VideoSpec) -> str:
    """Return the SHA-256 of everything that determines a video's files."""
    text = json.dumps({"made_by": RENDER_VERSION, **asdict(spec)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _paths(spec: VideoSpec, root: Path) -> tuple[Path, Path, Path]:
    return (
        root / "videos" / f"{spec.video_id}.mp4",
        root / "motions" / f"{spec.motion_id}.pkl",
        root / "truth" / f"{spec.video_id}.npz",
    )


def _made_from(truth: Path) -> str:
    if not truth.is_file():
        return ""
    try:
        with np.load(truth, allow_pickle=False) as arrays:
            return str(arrays["spec_sha256"])
    except (ValueError, KeyError, zipfile.BadZipFile):
        return ""  # not a truth file of this program: write it again


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
