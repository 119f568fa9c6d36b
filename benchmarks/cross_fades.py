"""Join real clips of one shot each by cuts and fades, and count what the detectors of shots find.

    python benchmarks/cross_fades.py CLIP.mp4 CLIP.mp4 ... [--films 4] [--per-film 5]
        [--fade-s 0.5 1.0] [--kinds fade fadeblack] [--fps 30]

A film joins clips in a seeded order (tests/support/joined_clips.py); the kinds of fades are those
of ffmpeg's xfade. Printed for each detector and kind: joins found within two frames of the middle,
everything else that was found, frames of a fade that stay in a shot, CPU time. The single clips
come first; whatever is found in them is wrong.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

from model.contract.terminal import print_anything
from pipeline.curate.frames import LIMITS, tiny_frames
from pipeline.curate.shots import ShotSettings, find_shots
from pipeline.curate.transnet import TransNetV2, load_published
from pipeline.media.reader import Video

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
from joined_clips import Join, edges, join

NEAR_FRAMES = 2


@dataclass
class Count:
    """What one detector did with one kind of film."""

    true: int = 0
    hit: int = 0
    wrong: list[str] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    cpu_s: float = 0.0
    video_s: float = 0.0

    def add(self, name: str, found: Sequence[Join], true: Sequence[Join]) -> None:
        near = {
            one: [other for other in found if abs(one.middle - other.middle) <= NEAR_FRAMES]
            for one in true
        }
        self.true += len(true)
        self.hit += sum(map(bool, near.values()))
        matched = {other for others in near.values() for other in others}
        self.wrong += [f"{name} {j.start}-{j.stop}" for j in found if j not in matched]
        for one, others in near.items():
            for other in others:
                self.left.append(max(0, other.start - one.start) + max(0, one.stop - other.stop))

    def __str__(self) -> str:
        wrong = f"; also found: {', '.join(self.wrong)}" if self.wrong else ""
        left = f"; mixed frames left in shots: {max(self.left)} at most" if any(self.left) else ""
        cost = f"{self.cpu_s / self.video_s:.3f} CPU-s per s of video"
        return f"{self.hit} of {self.true} found; {cost}{left}{wrong}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--films", type=int, default=4)
    parser.add_argument("--per-film", type=int, help="clips of a film (default: all)")
    parser.add_argument("--fade-s", type=float, nargs="+", default=[0.5])
    parser.add_argument("--kinds", nargs="+", default=["fade"])
    parser.add_argument("--fps", type=int, default=30)
    options = parser.parse_args()
    net = load_published()
    with tempfile.TemporaryDirectory() as folder:
        measure(options.clips[0], [], {"transnet": Count()}, net)  # libraries compile at first use
        for name, films in material(options, Path(folder)):
            counts = {"adaptive": Count(), "transnet": Count()}
            for path, true in films:
                measure(path, true, counts, net)
            for detector, count in counts.items():
                print(f"{name}, {detector}: {count}", flush=True)


def material(
    options: argparse.Namespace, folder: Path
) -> Iterator[tuple[str, list[tuple[Path, list[Join]]]]]:
    """Yield each kind of film: its name, and files with their joins."""
    yield "single clips", [(clip, []) for clip in options.clips]
    size = options.per_film or len(options.clips)
    orders = list(permutations(options.clips, size))
    orders = random.Random(0).sample(orders, min(options.films, len(orders)))
    kinds = [("cuts", 0.0, "fade")]
    kinds += [(f"{kind} of {s:g} s", s, kind) for kind in options.kinds for s in options.fade_s]
    for name, fade_s, kind in kinds:
        films = []
        for number, order in enumerate(orders):
            film = folder / f"{kind}-{fade_s:g}-{number}.mp4"
            films.append((film, join(order, film, fade_s, kind, options.fps)))
        yield name, films


def measure(
    path: Path, true: Sequence[Join], counts: dict[str, Count], net: TransNetV2 | None
) -> None:
    """Add what both detectors find in a film."""
    video = Video(path, LIMITS)
    shown_s, tiny = tiny_frames(video)
    times_s = list(map(float, shown_s))
    audio = video.read_audio()
    for detector, count in counts.items():
        started = time.process_time()
        used = net if detector == "transnet" else None
        sound = (audio.samples, float(audio.start_s))
        shots = find_shots(tiny, times_s, *sound, ShotSettings(), used)
        count.cpu_s += time.process_time() - started
        count.video_s += times_s[-1] - times_s[0]
        count.add(path.stem, edges(shots), true)


if __name__ == "__main__":
    print_anything()
    main()
