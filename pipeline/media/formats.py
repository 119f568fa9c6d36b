"""Which file names count as videos, and which container formats are opened."""

from __future__ import annotations

VIDEO_SUFFIXES = frozenset(
    (
        ".mp4 .m4v .mov .qt .mj2 .3gp .3gpp .3g2 .f4v .mkv .webm .gif .avi .divx .flv .wmv .asf "
        ".mpg .mpeg .mpe .mpv .m1v .m2v .vob .ts .m2t .mts .m2ts .ogv .ogm .mxf .dv .rm .rmvb .y4m"
    ).split()
)
"""Suffixes of input files. Containers that are not read are listed too, so that such a file gets a
reported outcome."""

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,wav"
"""The containers that are read. They cannot refer to other files, as hls, dash and concat can."""
