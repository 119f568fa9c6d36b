"""What became of an input: ok, filtered(code) or failed(stage, code, message).

The codes are a closed list. A retryable failure is tried again by the next run of the same
command; a permanent one is remembered with the input's content hash and is not.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from pipeline.engine.time_limit import TimeLimit, time_limit

REASONS = {
    "too_short": "shorter than min_clip_s",
    "too_long": "longer than max_clip_s",
    "silent": "too quiet, or silent for too long",
    "speech": "neither bass nor pulse: a voice alone",
    "still": "the picture does not move",
    "small_picture": "the active picture takes too little of the frame",
    "no_dancer": "a detector counted fewer than min_dancers",
    "crowd": "a detector counted more than max_dancers",
    "cut_off": "the main dancer's whole body is seldom in the picture: a talking head, or too near",
    "idle": "the main dancer hardly moves",
    "duplicate": "shows and plays the same as a longer clip, or an earlier one",
    "by_hand": "rejected in the overrides",
}
"""Why curation rejects a clip; as an input of a build such a clip ends `rejected_<reason>`."""

FILTERED = {
    "too_short": "picture and sound cover less than one window",
    "not_in_split": "the data set's official split does not list it",
    "same_name": "another file of the same name is taken for the listed video",
    "ignored": "its dance is on the list of --ignore-list",
    "no_clip": "curation kept none of its clips",
    "not_curated": "curation has not seen it",
    "silent": "none of its segments has sound (--drop-silent)",
} | {f"rejected_{reason}": words for reason, words in REASONS.items()}
PERMANENT = {
    "missing_file": "the official list names it, the source folder lacks it",
    "changed": "not the file that was curated",
    "bad_name": "a file name that is not UTF-8",
    "outside_root": "a path that leaves the source folder",
    "undecodable": "the decoder refused it",
    "no_video": "no picture stream",
    "no_audio": "no sound stream, or not the track that was asked for",
    "empty": "a stream without a single frame, or a file without a byte",
    "too_large": "more pixels than the limit",
    "too_long": "longer than the limit",
    "missing_motion": "no annotation for the motion asked for",
    "bad_motion": "an annotation that cannot be read or does not fit the video",
}
RETRYABLE = {
    "out_of_memory": "the worker ran out of memory",
    "worker_lost": "the worker or its node died",
    "timeout": "one stage worked on it for longer than --item-limit-s",
    "no_room": "results cannot be written: disk full, quota reached, or read-only",
    "io": "reading or writing failed: permissions, network, a broken disk",
    "internal": "an error this program did not foresee; please report it",
}

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors that no other input would escape: a build stops at the first of them."""

Status = Literal["ok", "filtered", "failed"]
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """The end of one input. `segments` counts what it gave; `dropped_s` is the tail left over.

    `silent_segments` numbers, from 1 on, the segments without sound; `segments` counts them unless
    they were dropped. `audio_tracks` is how many sound tracks the file has.
    """

    status: Status
    stage: str = ""
    code: str = ""
    message: str = ""
    segments: int = 0
    dropped_s: float = 0.0
    silent_segments: tuple[int, ...] = ()
    audio_tracks: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "silent_segments", tuple(self.silent_segments))  # JSON has lists
        known = {"ok": {"": ""}, "filtered": FILTERED, "failed": PERMANENT | RETRYABLE}
        if self.code not in known[self.status]:
            raise ValueError(f"{self.status} with code {self.code!r}: not in the closed list")

    @property
    def retryable(self) -> bool:
        return self.code in RETRYABLE


class StageError(ValueError):
    """A foreseen end of one input inside a stage; `code` is one of the closed list."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def attempt(stage: str, call: Callable[[], T], limit_s: float = 0.0) -> T | Outcome:
    """Run `call` for one input: its result, or the outcome that an error of it stands for.

    It may take `limit_s` seconds; 0 is no limit.

    The per-item boundary: the one place that catches everything, so that one input's error ends
    that input and no other.
    """
    try:
        with time_limit(limit_s):
            return call()
    except TimeLimit:
        return Outcome("failed", stage, "timeout", timeout_words(limit_s))
    except MemoryError as error:
        return Outcome("failed", stage, "out_of_memory", _words(error))
    except OSError as error:
        code = "no_room" if error.errno in NO_ROOM else "io"
        return Outcome("failed", stage, code, _words(error))
    except Exception as error:
        named = getattr(error, "code", "")
        if named in FILTERED:
            return Outcome("filtered", stage, named, str(error))
        if named in PERMANENT:
            return Outcome("failed", stage, named, str(error))
        if "out of memory" in str(error):
            return Outcome("failed", stage, "out_of_memory", _words(error))
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
        return Outcome("failed", stage, "internal", f"{_words(error)} (at {place})")


def timeout_words(limit_s: float) -> str:
    """Return the message of an input whose time was over."""
    return f"took longer than {limit_s:g} s; for a slow machine pipeline build has --item-limit-s"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
