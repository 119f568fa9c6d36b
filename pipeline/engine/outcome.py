"""The outcome of an input: ok, filtered(code) or failed(stage, code, message).

The codes are a closed list. When the same command runs again, it tries a retryable failure again. A
permanent failure is stored with the hash of the input's content and is not tried again.
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
    "speech": "only a voice: neither bass nor a regular pulse",
    "voice_over": "a network found more speech than max_speech: alone or over music",
    "still": "the picture does not move",
    "small_picture": "the active picture takes too little of the frame",
    "no_dancer": "a detector counted fewer than min_dancers",
    "crowd": "a detector counted more than max_dancers",
    "cut_off": "the main dancer is rarely fully in the picture: a talking head, or too near",
    "idle": "the main dancer hardly moves",
    "duplicate": "the same picture and sound as a longer clip, or an earlier one",
    "by_hand": "rejected by hand, in the overrides file",
}
"""Why curation rejects a clip. In a build, such a clip has the code `rejected_<reason>`."""

FILTERED = {
    "too_short": "picture and sound cover less than one window",
    "not_in_split": "not in the data set's official split",
    "same_name": "another file with the same name is used for the listed video",
    "ignored": "the list given by --ignore-list contains its dance",
    "no_clip": "curation kept none of its clips",
    "not_curated": "curation has not processed it",
    "no_genre": "no genre is known for it: neither --genres nor a sub-folder names one",
    "silent": "none of its segments has sound (--drop-silent)",
} | {f"rejected_{reason}": meaning for reason, meaning in REASONS.items()}
PERMANENT = {
    "missing_file": "in the official list or curated table, but not in the source folder",
    "changed": "the file has changed since curation",
    "bad_name": "its file name is not UTF-8",
    "outside_root": "its path points outside the source folder",
    "undecodable": "the decoder cannot read it",
    "no_video": "no video stream",
    "no_audio": "no sound stream, or the requested sound track is missing",
    "empty": "a stream has no frames, or the file has no bytes",
    "too_large": "more pixels than the limit",
    "too_long": "longer than the limit",
    "missing_motion": "no annotation found for the requested motion",
    "bad_motion": "the annotation cannot be read, or does not fit the video",
    "missing_notes": "no file of notes found for its song",
    "bad_notes": "the file of its notes cannot be read, has no notes, or is of another song",
}
RETRYABLE = {
    "out_of_memory": "the worker ran out of memory",
    "worker_lost": "the worker or its node died",
    "timeout": "one stage worked on it for longer than --item-limit-s",
    "no_room": "results cannot be written: disk full, quota reached, or read-only",
    "io": "reading or writing failed: permissions, network, a broken disk",
    "internal": "an unexpected error in this program; please report it",
}

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors that every further input would meet too: a build stops at the first of them."""

Status = Literal["ok", "filtered", "failed"]
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one input.

    `segments` is how many segments it gave. `dropped_s` is the length of the remainder at its end,
    in seconds, which is shorter than a segment. `silent_segments` lists the numbers (from 1) of the
    segments without sound; `segments` includes them unless they were dropped. `unlisted_segments`
    is how many more could be cut, but are not in the published list. `audio_tracks` is how
    many sound tracks the file has. `dancers_seen` is how many dancers each segment shows, if they
    were counted.
    """

    status: Status
    stage: str = ""
    code: str = ""
    message: str = ""
    segments: int = 0
    dropped_s: float = 0.0
    silent_segments: tuple[int, ...] = ()
    audio_tracks: int = 1
    dancers_seen: tuple[int, ...] = ()
    unlisted_segments: int = 0

    def __post_init__(self) -> None:
        for name in ("silent_segments", "dancers_seen"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON gives lists
        known = {"ok": {"": ""}, "filtered": FILTERED, "failed": PERMANENT | RETRYABLE}
        if self.code not in known[self.status]:
            raise ValueError(f"{self.status} with code {self.code!r}: not in the closed list")

    @property
    def retryable(self) -> bool:
        return self.code in RETRYABLE


class StageError(ValueError):
    """An expected failure of one input inside a stage; `code` is one of the closed list."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def attempt(stage: str, call: Callable[[], T], limit_s: float = 0.0) -> T | Outcome:
    """Run `call` for one input. Return its result, or an outcome that describes its exception.

    `call` may take `limit_s` seconds; 0 means no limit.

    This is the only place that catches every exception, so that an error in one input does not stop
    the other inputs.
    """
    try:
        with time_limit(limit_s):
            return call()
    except TimeLimit:
        return Outcome("failed", stage, "timeout", timeout_words(limit_s))
    except MemoryError as error:
        return Outcome("failed", stage, "out_of_memory", _with_type(error))
    except OSError as error:
        code = "no_room" if error.errno in NO_ROOM else "io"
        return Outcome("failed", stage, code, _with_type(error))
    except Exception as error:
        named = getattr(error, "code", "")
        if named in FILTERED:
            return Outcome("filtered", stage, named, str(error))
        if named in PERMANENT:
            return Outcome("failed", stage, named, str(error))
        if "out of memory" in str(error):
            return Outcome("failed", stage, "out_of_memory", _with_type(error))
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
        return Outcome("failed", stage, "internal", f"{_with_type(error)} (at {place})")


def timeout_words(limit_s: float) -> str:
    """Return the message for an input that exceeded the time limit."""
    return f"took longer than {limit_s:g} s; on a slow machine, raise pipeline build --item-limit-s"


def _with_type(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
