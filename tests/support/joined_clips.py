"""Real clips of one shot each, joined by hard cuts or by xfade of ffmpeg, and the joins."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pipeline.media.program import BITEXACT, binary
from pipeline.media.reader import frame_times

SIZE_PX = (640, 360)


@dataclass(frozen=True)
class Join:
    """Where two clips meet: frames [start, stop) show both; start is stop for a hard cut."""

    start: int
    stop: int

    @property
    def middle(self) -> float:
        """The frame in the middle, or the border of the frames at a hard cut."""
        return (self.start + self.stop - 1) / 2


def join(
    clips: Sequence[Path],
    out: Path,
    fade_s: float = 0.0,
    kind: str = "fade",
    fps: int = 30,
) -> list[Join]:
    """Write the clips one after another, and return where they are joined.

    With `fade_s` (a whole number of frames) the end of each clip is mixed with the beginning of the
    next one as `kind` of ffmpeg's xfade says. The sound changes at once, in the middle of the fade.
    """
    fade = round(fade_s * fps)
    counts = [int(len(frame_times(clip)) / _rate(clip) * fps) - 1 for clip in clips]
    size = f"{SIZE_PX[0]}:{SIZE_PX[1]}"
    graph, inputs, joins = [], [], []
    for k, (clip, count) in enumerate(zip(clips, counts, strict=True)):
        inputs += ["-i", str(clip)]
        graph.append(
            f"[{k}:v]fps={fps},scale={size},setsar=1,format=yuv420p,setpts=PTS-STARTPTS,"
            f"trim=end_frame={count},settb=1/{fps}[v{k}]"
        )
        first, last = fade / 2 * (k > 0), count - fade / 2 * (k < len(clips) - 1)
        graph.append(
            f"[{k}:a]aresample=44100,aformat=channel_layouts=mono,apad,"
            f"atrim={first / fps:.5f}:{last / fps:.5f},asetpts=PTS-STARTPTS[a{k}]"
        )
    names = range(len(clips))
    if fade:
        shown, before = counts[0], "v0"
        for k in range(1, len(clips)):
            at = shown - fade
            joins.append(Join(at + 1, at + fade))  # the frames at both ends show one clip alone
            graph.append(f"[{before}][v{k}]xfade={kind}:{fade / fps:.5f}:{at / fps:.5f}[x{k}]")
            shown, before = shown + counts[k] - fade, f"x{k}"
    else:
        graph.append(f"{''.join(f'[v{k}]' for k in names)}concat=n={len(clips)}[x]")
        before = "x"
        ends = [sum(counts[: k + 1]) for k in range(len(clips) - 1)]
        joins += [Join(end, end) for end in ends]
    graph.append(f"{''.join(f'[a{k}]' for k in names)}concat=n={len(clips)}:v=0:a=1[sound]")
    flags = [word for name, value in BITEXACT.items() for word in (f"-{name}", value)]
    command = [binary(), "-v", "error", "-y", *inputs, "-filter_complex", ";".join(graph),
               "-map", f"[{before}]", "-map", "[sound]", "-c:v", "libx264", "-crf", "23",
               "-preset", "veryfast", "-threads", "1", *flags, "-c:a", "aac", str(out)]  # fmt: skip
    subprocess.run(command, check=True)
    total = sum(counts) - fade * (len(clips) - 1)
    assert len(frame_times(out)) == total, (len(frame_times(out)), total)
    return joins


def _rate(clip: Path) -> float:
    times_s = frame_times(clip)
    return float((len(times_s) - 1) / (times_s[-1] - times_s[0]))


def edges(shots: Sequence) -> list[Join]:
    """Return where found shots (with `start` and `stop`) are joined."""
    return [Join(a.stop, b.start) for a, b in pairwise(shots)]
