"""Measure one video: its shots; for each shot picture, sound, fingerprint, hashes, thumbnail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ
from pipeline.curate.duplicates import RATE_HZ, frame_hashes
from pipeline.curate.frames import LIMITS, some_frames, tiny_frames
from pipeline.curate.music import sound_scores
from pipeline.curate.picture import FRAMES, PictureSettings, find_picture
from pipeline.curate.scores import Clip, ClipData
from pipeline.curate.shots import Shot, ShotSettings, find_shots
from pipeline.curate.songs import fingerprint
from pipeline.engine.ledger import Ledger, Result, result_key
from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.time_limit import ITEM_LIMIT_S
from pipeline.media.reader import Audio, Video
from pipeline.sources.manifest import Row

if TYPE_CHECKING:
    from pipeline.curate.transnet import TransNetV2

SHORT_SIDE_PX = 360
HASHED = 40 * RATE_HZ
"""The first 40 s of a shot are hashed: enough to recognise it, and few enough frames for memory."""
THUMB_PX = 128
NAME = "curate"


@dataclass(frozen=True)
class Work:
    """An input row on its way through the stage, with its outcome."""

    row: Row
    outcome: Outcome | None = None


@dataclass
class Measure:
    """Writes the scores and the data of every clip of one video to the ledger.

    `transnet` is the hash of TransNetV2's weights; "" if it is not used.
    """

    root: Path
    ledger: Ledger
    shots: ShotSettings
    picture: PictureSettings
    audio_track: int = 0
    transnet: str = ""
    name: str = NAME
    batch: int = 1
    gpus: float = 0.0
    limit_s: float = 3 * ITEM_LIMIT_S
    _net: TransNetV2 | None = field(default=None, repr=False)

    def setup(self) -> None:
        """Load TransNetV2, if it is used."""
        if self.transnet:
            from pipeline.curate.transnet import load_published

            self._net = load_published()

    def __call__(self, items: list[Work]) -> list[Work]:
        return [self._one(item) for item in items]

    def key(self, row: Row) -> str:
        """Return the key of a video's result, from its content and the settings of this stage."""
        config: dict[str, Any] = {"shots": asdict(self.shots), "picture": asdict(self.picture)}
        config |= {"audio_track": self.audio_track} if self.audio_track else {}
        return result_key(row.sha256, NAME, config, self.transnet)

    def stored(self, row: Row) -> Outcome | None:
        """Return the stored outcome of one input; None if the ledger has none."""
        result = self.ledger.facts(NAME, self.key(row))
        if result is None:
            return None
        if result.outcome is not None:
            return replace(result.outcome, message=f"{row.path}: {result.outcome.message}")
        tracks = result.facts.get("audio_tracks", 1)
        return Outcome("ok", segments=len(result.facts["clips"]), audio_tracks=tracks)

    def clips(self, row: Row) -> list[tuple[Clip, ClipData]]:
        """Return the clips of one video and their data, named by the current input row."""
        result = self.ledger.read(NAME, self.key(row))
        if result is None or result.outcome is not None:
            return []
        names = ("print", "hashes", "thumb")
        arrays = [
            [result.arrays[f"{n}_{k}"] for n in names] for k in range(len(result.facts["clips"]))
        ]
        return [
            (clip, ClipData(print_, hashes, thumb.tobytes()))
            for clip, (print_, hashes, thumb) in zip(_clips(row, result), arrays, strict=True)
        ]

    def bare_clips(self, row: Row) -> list[Clip]:
        """Return the clips of one video without their data, named by the current input row."""
        result = self.ledger.facts(NAME, self.key(row))
        return [] if result is None or result.outcome is not None else _clips(row, result)

    def _one(self, work: Work) -> Work:
        row = work.row
        path = self.root / row.path
        made = attempt(
            NAME,
            lambda: measure(path, self.shots, self.picture, self.audio_track, self._net),
            self.limit_s,
        )
        if isinstance(made, Outcome):
            kept = replace(made, message=made.message.replace(f"{path}: ", ""))
            error = attempt(
                NAME, lambda: self.ledger.write(NAME, self.key(row), {}, {"clips": []}, kept)
            )
            return Work(row, error or made)
        facts, arrays = made
        error = attempt(NAME, lambda: self.ledger.write(NAME, self.key(row), arrays, facts))
        return Work(row, error or self.stored(row))


def measure(
    path: Path,
    shot_settings: ShotSettings,
    picture_settings: PictureSettings,
    audio_track: int = 0,
    net: TransNetV2 | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the facts (`clips`, `audio_tracks`) and the arrays of a video.

    Each clip k has the arrays `print_<k>`, `hashes_<k>` and `thumb_<k>`.

    `audio_track` is that of `pipeline.media.container.audio_stream`. Without `net` no fades are
    found.

    Raises MediaError.
    """
    video = Video(path, LIMITS)
    info = video.probe(audio_track)
    audio = video.read_audio(audio_track)
    times_s, tiny = tiny_frames(video)
    start_s = float(audio.start_s)
    times = list(map(float, times_s))
    shots = find_shots(tiny, times, audio.samples, start_s, shot_settings, net)
    del tiny
    clips, arrays = [], {}
    for k, (shot, picked, frames) in enumerate(_frames_of(video, shots, times_s)):
        end_s = times_s[shot.stop] if shot.stop < len(times_s) else info.video_stop_s
        sound = clip_sound(audio, times_s[shot.start], end_s)
        picture = find_picture(frames[_spread(len(frames))], picture_settings)
        x, y, w, h = picture.box
        inside = frames[:, y : y + h, x : x + w]
        hashed = np.isin(picked, _hash_indices(shot, times_s))
        box = _scaled(picture.box, frames.shape[1:3], (info.height, info.width))
        clips.append(
            {
                "start_s": float(times_s[shot.start]),
                "end_s": float(end_s),
                "start_frame": shot.start,
                "end_frame": shot.stop,
                "box": box,
                "box_share": box[2] * box[3] / (info.width * info.height),
                "certainty": picture.certainty,
                "motion": picture.motion,
                "jump_db": shot.jump_db,
                **asdict(sound_scores(sound)),
            }
        )
        arrays[f"print_{k}"] = fingerprint(sound)
        arrays[f"hashes_{k}"] = np.stack([frame_hashes(p) for p in inside[hashed]])
        arrays[f"thumb_{k}"] = thumbnail(inside)
    return {"clips": clips, "audio_tracks": info.audio_tracks}, arrays


def _frames_of(
    video: Video, shots: list[Shot], times_s: list[Fraction]
) -> Iterator[tuple[Shot, np.ndarray, np.ndarray]]:
    """Yield each shot with the indices of some of its frames, and these frames (n, H, W, 3)."""
    picks = [np.union1d(_hash_indices(s, times_s), _picture_indices(s)) for s in shots]
    frames = some_frames(video, np.concatenate(picks).tolist(), SHORT_SIDE_PX)
    for shot, picked in zip(shots, picks, strict=True):
        yield shot, picked, np.stack([next(frames) for _ in picked])


def _hash_indices(shot: Shot, times_s: list[Fraction]) -> np.ndarray:
    """Return the indices of frames every quarter of a second from the shot's start, up to 160."""
    times = np.array([float(t) for t in times_s[shot.start : shot.stop]])
    wanted = np.arange(times[0], times[-1] + 1e-6, 1 / RATE_HZ)[:HASHED]
    return shot.start + np.unique(np.minimum(np.searchsorted(times, wanted - 1e-6), len(times) - 1))


def _picture_indices(shot: Shot) -> np.ndarray:
    """Return the indices of up to twelve frames, spread over a shot.

    A long shot is sampled away from its ends, where compression often blurs the picture.
    """
    away = 2 if shot.stop - shot.start > 2 * FRAMES else 0
    spread = np.linspace(shot.start + away, shot.stop - 1 - away, FRAMES)
    return np.unique(spread.round().astype(int))


def _spread(count: int) -> np.ndarray:
    """Return up to twelve spread indices below `count`; the first and last of many are left out."""
    away = 1 if count > FRAMES + 2 else 0
    return np.unique(np.linspace(away, count - 1 - away, FRAMES).round().astype(int))


def clip_sound(audio: Audio, start_s: Fraction | float, end_s: Fraction | float) -> np.ndarray:
    """Return the samples (N,) from `start_s` to `end_s`, times on the video's own clock."""
    first, last = (
        max(0, round((at_s - audio.start_s) * SAMPLE_RATE_HZ)) for at_s in (start_s, end_s)
    )
    return audio.samples[first:last]


def _scaled(
    box: tuple[int, int, int, int], seen: tuple[int, int], whole: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Convert a box from frames of size `seen` to frames of size `whole`; both are (h, w)."""
    x, y, w, h = box
    xs = [round(v * whole[1] / seen[1]) for v in (x, x + w)]
    ys = [round(v * whole[0] / seen[0]) for v in (y, y + h)]
    return xs[0], ys[0], xs[1] - xs[0], ys[1] - ys[0]


def thumbnail(pictures: np.ndarray) -> np.ndarray:
    """Return three of the pictures side by side, 128 px high: the bytes of a JPEG, uint8 (n,)."""
    import cv2

    height, width = pictures.shape[1:3]
    size = (max(1, round(THUMB_PX * width / height)), THUMB_PX)
    shown = pictures[shown_places(len(pictures))]
    row = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in shown]
    strip = np.concatenate(row, axis=1)[..., ::-1]
    return cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].ravel()


def shown_places(count: int) -> list[int]:
    """Return the indices of the three pictures, out of `count`, that a thumbnail shows."""
    return [round(share * (count - 1)) for share in (0.25, 0.5, 0.75)]


def _clips(row: Row, result: Result) -> list[Clip]:
    return [
        Clip(
            clip_id=f"{row.video_id}_c{k + 1:03d}",
            video_id=row.video_id,
            source=row.path,
            sha256=row.sha256,
            genre=row.genre,
            **facts | {"box": tuple(facts["box"])},
        )
        for k, facts in enumerate(result.facts["clips"])
    ]
