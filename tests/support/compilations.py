"""Small compilations, clips of them, and a curation of a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.curate.run import CurateOptions, Curation, curate
from pipeline.curate.scores import Clip
from pipeline.sources.synthetic.compilations import ClipSpec, CompilationSpec


def dance(**changes: object) -> ClipSpec:
    """Return a small clip of one dancer in blurred bars."""
    clip = ClipSpec(
        kind="dance", song="mBR0", song_start_s=4.0, tempo=1.0, keeps_pitch=True, gain_db=-3.0,
        speech_db=None, dancers=("d01",), duration_s=2.4, look=1, on_beat=False, bars="blurred",
        box=(100, 0, 100, 180),
    )  # fmt: skip
    return replace(clip, **changes)


def compilation(name: str, *clips: ClipSpec) -> CompilationSpec:
    return CompilationSpec(name, 0, 25, 300, 180, 23, "@mark", clips)


def run(source: Path, out: Path, /, **changes: object) -> Curation:
    options = CurateOptions("tiktok", out, source / "videos", engine="local", shots="adaptive")
    return curate(replace(options, **changes))


def clip(name: str, **changes: object) -> Clip:
    scores = Clip(
        clip_id=name, video_id="v", source="v.mp4", sha256="0", start_s=0.0, end_s=5.0,
        start_frame=0, end_frame=125, box=(0, 0, 10, 10), box_share=0.5, certainty=1.0, motion=5.0,
        jump_db=9.0, loud_dbfs=-15.0, silent=0.0, bass_db=-3.0, pulse=0.8, whole_body=1.0,
        energy=0.4,
    )  # fmt: skip
    return replace(scores, **changes)
