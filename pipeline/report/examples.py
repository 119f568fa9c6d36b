"""Example segments for the report: a picture, the motion in five poses, and the sound.

Everything is read from the shards alone, as a trainer reads them. Only the picture comes from the
source video, if that still exists. The number of segments per split is limited, so that large data
sets take no longer.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from model.contract.dataset import Dataset, Shard
from model.contract.segment import META, MOTION, SPLITS, WAV
from model.contract.shards import read_npy, read_shard
from model.contract.wav import read_wav
from pipeline.engine.outcome import Outcome, attempt
from pipeline.features.motion.body25 import BODY_25, BONES, MIN_CONFIDENCE
from pipeline.report.spectrogram import onsets_s, picture_of
from pipeline.sources.manifest import leaves
from pipeline.sources.synthetic.body import PARENTS, axis_angles, forward_kinematics

PER_SPLIT = 4
LIMIT_S = 20.0
"""Seconds that drawing one segment may take; after that, the page shows a message instead."""
SHORT_SIDE_PX = 180
POSES = 5

Points = tuple[np.ndarray, list[tuple[int, int]]]
"""Joints and bones of a motion.

The joints are (T, J, 2), x right and y down, NaN if not visible. A bone is a pair of joints.
"""


@dataclass(frozen=True)
class Example:
    """One segment of the shards.

    `facts` is its metadata, `pcm` (N,) its sound and `motion` (T, D) its motion; both may be None.
    """

    key: str
    facts: dict[str, Any]
    pcm: np.ndarray | None
    motion: np.ndarray | None


def figures(root: Path, dataset: Dataset) -> dict[str, list[str]]:
    """Return some segments of every split as HTML.

    If a segment cannot be drawn, the page shows the reason in its place.
    """
    drawn: dict[str, list[str]] = {}
    for split in (split for split in SPLITS if split in dataset.splits):
        shards = dataset.splits[split]
        found = attempt("page", partial(list[Example], pick(root, shards)), LIMIT_S)
        if isinstance(found, Outcome):
            drawn[split] = [_note(f"segments cannot be read: {found.message}")]
        else:
            drawn[split] = [_figure(dataset, example) for example in found]
    return drawn


def pick(root: Path, shards: Sequence[Shard], count: int = PER_SPLIT) -> Iterator[Example]:
    """Yield up to `count` segments, evenly spaced over a split.

    Raises ValueError or OSError if a shard cannot be read.
    """
    total = sum(shard.segments for shard in shards)
    count = min(count, total)
    places = {(2 * k + 1) * total // (2 * count) for k in range(count)}
    first = 0
    for shard in shards:
        wanted = {place - first for place in places if first <= place < first + shard.segments}
        first += shard.segments
        if not wanted:
            continue
        with closing(read_shard(root / shard.name)) as segments:
            for index, (key, members) in enumerate(segments):
                if index in wanted:
                    motion = read_npy(members[MOTION]) if MOTION in members else None
                    pcm = read_wav(members[WAV]) if WAV in members else None
                    yield Example(key, json.loads(members[META]), pcm, motion)
                if index == max(wanted):
                    break


def thumbnail(source: Path, facts: dict[str, Any]) -> np.ndarray:
    """Return the middle frame of a segment, uint8 (H, W, 3); for a clip, only its box.

    Raises the errors of `read_frames`, and ValueError for a path outside the source folder.
    """
    from pipeline.media.reader import FrameRequest, read_frames

    if leaves(facts["source"]):
        raise ValueError(f"{facts['source']}: is outside the source folder")
    start_s, window_s = Fraction(facts["start_s"]), Fraction(facts["window_s"])
    box = tuple(facts.get("box_px", ()))
    request = FrameRequest([start_s + window_s / 2], SHORT_SIDE_PX, box=box)
    span_s = (start_s, start_s + window_s)
    return read_frames(source / facts["source"], {"look": request}, span_s=span_s)["look"][0]


def points_of(motion: np.ndarray) -> Points:
    """Return the front view of a stored motion (T, D).

    2D joints stay where they are: their unit is the height of the picture, their origin its centre.
    SMPL joints are viewed along their z axis, without perspective. For rotations, the bone lengths
    are those of `pipeline.sources.synthetic.body`.

    Raises ValueError for any other number of values.
    """
    width = motion.shape[-1]
    if width == 3 * len(BODY_25):
        joints = motion.reshape(len(motion), -1, 3).astype(np.float64)
        points = np.where(joints[..., 2:] >= MIN_CONFIDENCE, joints[..., :2], np.nan)
        ends = (bone.split() for bone in BONES)
        return points, [(BODY_25.index(start), BODY_25.index(end)) for start, end in ends]
    bones = [(parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0]
    if width == 3 * len(PARENTS):
        joints = motion.reshape(len(motion), -1, 3)
    elif width == 3 + 9 * len(PARENTS):
        turns = motion[:, 3:].reshape(len(motion), -1, 3, 3)
        poses = axis_angles(turns).reshape(len(motion), -1)
        joints = forward_kinematics(poses, motion[:, :3])
    else:
        raise ValueError(f"motion has {width} values per frame: no layout that is known")
    return joints[..., :2] * (1, -1), bones


def lines(points: np.ndarray, bones: Sequence[tuple[int, int]]) -> str:
    """Return one pose (J, 2) as SVG lines; bones with an invisible joint are left out."""
    drawn = []
    for a, b in bones:
        (x1, y1), (x2, y2) = points[a], points[b]
        if np.isfinite([x1, y1, x2, y2]).all():
            drawn.append(f'<line x1="{x1:.3f}" y1="{y1:.3f}" x2="{x2:.3f}" y2="{y2:.3f}"/>')
    return "".join(drawn)


def strip(points: np.ndarray, bones: Sequence[tuple[int, int]]) -> str:
    """Return five poses, evenly spaced from the first to the last frame, side by side as SVG."""
    poses = points[np.linspace(0, len(points) - 1, POSES).round().astype(int)]
    seen = [pose[np.isfinite(pose).all(1)] for pose in poses]
    if not any(map(len, seen)):
        return _note("no joint is seen in this segment")
    low = min(pose[:, 1].min() for pose in seen if len(pose))
    high = max(pose[:, 1].max() for pose in seen if len(pose))
    step = 1.05 * max(np.ptp(pose[:, 0]) for pose in seen if len(pose))
    step = max(step, 0.45 * (high - low), 1e-3)
    parts = []
    for k, (pose, visible) in enumerate(zip(poses, seen, strict=True)):
        if len(visible):
            middle = (visible[:, 0].min() + visible[:, 0].max()) / 2
            parts.append(f"<g>{lines(pose - (middle - (k + 0.5) * step, 0), bones)}</g>")
    margin = 0.04 * max(high - low, 1e-3)
    box = f"0 {low - margin:.3f} {POSES * step:.3f} {high - low + 2 * margin:.3f}"
    return f'<svg class="poses" role="img" viewBox="{box}">{"".join(parts)}</svg>'


def _figure(dataset: Dataset, example: Example) -> str:
    parts = [
        attempt("page", lambda: _picture(dataset, example), LIMIT_S),
        attempt("page", lambda: _motion(dataset, example), LIMIT_S),
        attempt("page", lambda: _sound(example), LIMIT_S),
    ]
    shown = [_note(p.message) if isinstance(p, Outcome) else p for p in parts]
    text = attempt("page", lambda: _caption(example))
    text = text.message if isinstance(text, Outcome) else text
    caption = f"<b>{escape(example.key)}</b><br>{escape(text)}"
    return f'<figure class="segment">{"".join(shown)}<figcaption>{caption}</figcaption></figure>'


def _picture(dataset: Dataset, example: Example) -> str:
    import cv2

    source = Path(dataset.source)
    if not (source / example.facts["source"]).is_file():
        return _note("the source video is not here, so there is no picture")
    image = thumbnail(source, example.facts)
    high, wide = image.shape[:2]
    over = ""
    if example.motion is not None and example.motion.shape[-1] == 3 * len(BODY_25):
        points, bones = points_of(example.motion[[len(example.motion) // 2]])
        box = f"{-wide / high / 2:.4f} -0.5 {wide / high:.4f} 1"
        over = f'<svg viewBox="{box}">{lines(points[0], bones)}</svg>'
    jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    return f'<div class="look">{_image("jpeg", jpeg.tobytes(), "the middle frame")}{over}</div>'


def _motion(dataset: Dataset, example: Example) -> str:
    if example.motion is None:
        return ""
    points, bones = points_of(example.motion)
    made = dataset.fields.get(MOTION, {})
    text = f"motion ({made.get('kind', '?')}), first to last frame"
    if any("poses by" in note or "dancers found" in note for note in dataset.untrained):
        text += ": from UNTRAINED weights, so it means nothing"
    return f'<div class="motion">{strip(points, bones)}<small>{escape(text)}</small></div>'


def _sound(example: Example) -> str:
    import cv2

    if example.pcm is None:
        return ""
    sound = example.pcm.astype(np.float32) / 32768
    bands = picture_of(sound)
    colours = cv2.applyColorMap((bands[::-1] * 255).astype(np.uint8), cv2.COLORMAP_MAGMA)
    image = _image("png", cv2.imencode(".png", colours)[1].tobytes(), "spectrogram")
    window_s = float(example.facts["window_s"])
    found = onsets_s(sound)
    ticks = "".join(f'<path d="M{at:.3f} 0V1"/>' for at in found)
    over = f'<svg viewBox="0 0 {window_s:g} 1" preserveAspectRatio="none">{ticks}</svg>'
    text = f"{window_s:g} s of sound, {len(found)} onsets"
    return f'<div class="sound"><div class="bands">{image}{over}</div><small>{text}</small></div>'


def _caption(example: Example) -> str:
    facts = example.facts
    start_s = float(facts["start_s"])
    parts = [
        f"{facts['source']}, {start_s:.2f} to {start_s + float(facts['window_s']):.2f} s",
        f"song {facts['song']}" if facts["song"] else "",
        f"genre {facts['genre']}" if facts["genre"] else "",
        f"{facts['dancers_seen']} dancers seen" if "dancers_seen" in facts else "",
        f"gain {20 * np.log10(facts['gain']):+.1f} dB" if facts.get("gain", 0) > 0 else "",
    ]
    return "; ".join(part for part in parts if part)


def _image(kind: str, data: bytes, words: str) -> str:
    return f'<img alt="{words}" src="data:image/{kind};base64,{b64encode(data).decode()}">'


def _note(words: str) -> str:
    return f'<p class="missing">{escape(words)}</p>'
