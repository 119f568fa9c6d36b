"""Which files are taken for videos, and which containers are opened at all."""

from __future__ import annotations

VIDEO_SUFFIXES = frozenset(
    (
        ".mp4 .m4v .mov .qt .mj2 .3gp .3gpp .3g2 .f4v .mkv .webm .gif .avi .divx .flv .wmv .asf "
        ".mpg .mpeg .mpe .mpv .m1v .m2v .vob .ts .m2t .mts .m2ts .ogv .ogm .mxf .dv .rm .rmvb .y4m"
    ).split()
)
"""Names of inputs: also of containers that are not read, so that their end is told."""

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,wav"
"""The containers that are read (those of no hls, dash or concat): none can name another file."""
