"""Which files are taken for videos, and which containers are opened at all."""

from __future__ import annotations

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .flv .wmv .mpg .mpeg .ts .gif .3gp .3g2".split()
)
"""Names of inputs: also of containers that are not read, so that their end is told."""

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,wav"
"""The containers that are read (those of no hls, dash or concat): none can name another file."""
