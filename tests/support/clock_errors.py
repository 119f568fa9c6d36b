"""What a build makes of the files of the clock list.

The errors are of what the build stores: the segments' sound, and the frames as the visual stage
gets them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from clips import peaks
from clock_films import Film, number
from clock_list import Case

from model.contract.segment import SAMPLE_RATE_HZ, segment_key
from model.contract.shards import read_shard
from model.contract.wav import read_wav
from pipeline.build import BuildOptions, build, list_inputs, make_settings, ready
from pipeline.features.extract import Extract
from pipeline.features.motion.base import Motion
from pipeline.features.plan import Work
from pipeline.features.visual.base import Visual
from pipeline.features.visual.stage import clip_request
from pipeline.media.reader import FrameRequest, read_frames
from pipeline.report.report import Report
from pipeline.sources.folder import Folder
from pipeline.sources.hashing import hash_inputs

WINDOWS = 8
"""Clips of 8 frames in each segment: 32 looks a second."""


@dataclass(frozen=True)
class Row:
    """What a build made of one film: the code of its end or, where it is ok, the largest errors.

    `sound_error` is in samples at 22 050 Hz, `picture_error` in parts of the gap between the two
    frames around the wanted time, `beyond` what of it a nearer frame would have spared.
    `unread` counts frames that were not upright, or of another brightness.
    """

    case: Case
    outcome: str = ""
    message: str = ""
    segments: int = 0
    clicks: int = 0
    looks: int = 0
    unread: int = 0
    sound_error: float = np.inf
    picture_error: float = np.inf
    beyond: float = np.inf

    @property
    def good(self) -> bool:
        """Whether all was read and is within a sample and half a frame, or ended as it should."""
        heard = self.sound_error <= 1 if not self.case.outcome else not self.clicks
        ended = self.outcome == self.case.outcome
        return ended and heard and not self.unread and self.picture_error <= 0.5


def measure(films: Sequence[Film], folder: Path) -> list[Row]:
    """Build all films in one command and compare what it stores with the truth."""
    source = Folder(films[0].path.parent)
    plain = BuildOptions(source, folder / "out", [Motion()], engine="local")
    report = build(replace(plain, max_failed=1.0))
    return list(_rows(films, plain, report))


def _rows(films: Sequence[Film], plain: BuildOptions, report: Report) -> Iterator[Row]:
    looking = replace(plain, features=[Visual(weights="untrained", windows=WINDOWS)])
    listing = list_inputs(looking)
    settings = make_settings(looking, listing, ready(looking))
    extract = Extract(settings)
    extract.setup()
    inputs = {r.path: r for r in hash_inputs(listing.root, listing.motion_root, listing.rows)}
    sounds = {
        key: read_wav(members["wav"])
        for tar in sorted(plain.out.glob("train-*.tar"))
        for key, members in read_shard(tar)
    }
    ends = {row["path"]: row for row in report.rows}
    for film in films:
        end, row = ends[film.path.name], inputs[film.path.name]
        if end["status"] != "ok":
            end = Row(film.case, end["code"], end["message"])
            yield _silent(film, end) if end.outcome == "no_audio" else end
            continue
        (work,) = extract([Work(row)])
        if work.clips is None:
            yield Row(film.case, work.outcome.code, work.outcome.message)
            continue
        cut = settings.ledger.read("cut", settings.key("cut", row))
        starts_s = [Fraction(start) for start in cut.facts["starts_s"]]
        pcm = [sounds[segment_key(row.video_id, k + 1)] for k in range(len(starts_s))]
        looks_s = list(clip_request(settings, row, cut).times_s)
        frames = work.clips.reshape(-1, *work.clips.shape[2:])
        yield compare(film, starts_s, pcm, looks_s, frames)


def _silent(film: Film, end: Row) -> Row:
    """Return the row of a film that cannot become segments, with its picture's part."""
    looks_s = [film.times_s[0] + Fraction(k, 32) for k in range(64)]
    wanted = FrameRequest(looks_s, short_side_px=256, crop_px=224)
    row = compare(film, [], [], looks_s, read_frames(film.path, {"all": wanted})["all"])
    return replace(row, outcome=end.outcome, message=end.message)


def compare(
    film: Film,
    starts_s: Sequence[Fraction],
    pcm: Sequence[np.ndarray],
    looks_s: Sequence[Fraction],
    frames: np.ndarray,
) -> Row:
    """Compare segments (int16 (N,) from `starts_s` on) and frames (as of `looks_s`) with truth."""
    sound_errors, picture_errors, beyond, unread = [], [], [], 0
    for start_s, samples in zip(starts_s, pcm, strict=True):
        stop_s = start_s + Fraction(len(samples), SAMPLE_RATE_HZ)
        truth = [t for t in film.clicks_s if start_s <= t < stop_s]
        for k, t in zip(peaks(samples / 32768, len(truth)), truth, strict=True):
            sound_errors.append(top(samples, k) - float((t - start_s) * SAMPLE_RATE_HZ))
    for at_s, frame in zip(looks_s, frames, strict=True):
        shown_s = film.frames_s.get(number(frame))
        if shown_s is None:
            unread += 1
        else:
            error_s, gap_s = abs(shown_s - at_s), gap(film.times_s, at_s)
            nearest_s = min(abs(t - at_s) for t in film.frames_s.values())
            picture_errors.append(float(error_s / gap_s))
            beyond.append(float((error_s - nearest_s) / gap_s))
    return Row(
        film.case,
        segments=len(pcm),
        clicks=len(sound_errors),
        looks=len(frames),
        unread=unread,
        sound_error=max(map(abs, sound_errors), default=np.inf),
        picture_error=max(picture_errors, default=np.inf),
        beyond=max(beyond, default=np.inf),
    )


def gap(times_s: Sequence[Fraction], at_s: Fraction) -> Fraction:
    """Return the time between the two frames around `at_s` (at an end: the first or last two)."""
    k = min(max(bisect_right(times_s, at_s), 1), len(times_s) - 1)
    return times_s[k] - times_s[k - 1]


def top(samples: np.ndarray, near: int, reach: int = 48) -> float:
    """Return where the signal that the samples stand for is largest, within one of `near`."""
    around = np.arange(max(near - reach, 0), min(near + reach, len(samples)))
    at = near + np.linspace(-1, 1, 81)
    wave = np.sinc(at[:, None] - around) @ samples[around].astype(np.float64)
    return float(at[np.abs(wave).argmax()])
