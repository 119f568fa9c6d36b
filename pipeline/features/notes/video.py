"""The unit of work of `pipeline notes`."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.features.per_video import VideoSegments


@dataclass(frozen=True)
class VideoNotes(VideoSegments):
    """One video's segments in one tar, whose notes are wanted.

    `starts_s` are the starts of the segments in the video, and `gains` the factors that their sound
    was stored with. Without sound in the data set, there are no `spans`.
    """

    song: str = ""
    starts_s: tuple[float, ...] = ()
    gains: tuple[float, ...] = ()
