"""Build N and ten times N short clips: is time in proportion, memory flat, both cores busy?

    python benchmarks/scale.py [--visual none] [--visual i3d_r50] [--clips 200] [--times 10]

Clips of 2.2 s, 64 x 48 px, equal in picture and sound and different as files, are built with
`pipeline build --engine ray`, each size from nothing, and beside it by a plain script in this
process: the same arithmetic on one clip after the other (decode, mix, resample, cut, features,
tars), without ledger, manifest or Ray. Its sound must be the build's, sample by sample. Printed per
build: seconds of the whole command; of the engine's stages, from report.json; of all inputs at the
rate that the workers have once warm; the driver's peak memory; the share of the cores that the
build's own processes used while warm. Warm is the time between two stored results: the one with
which every worker can have ended a call, and the last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import soxr

from model.contract.segment import VISUAL, WAV
from model.contract.shards import npy_bytes, read_shard, write_shard
from model.contract.terminal import print_anything
from model.contract.wav import read_wav, wav_bytes
from pipeline.engine.ledger import Ledger
from pipeline.features.visual.i3d_r50 import FRAMES, I3D
from pipeline.media.program import binary

ROOT = Path(__file__).resolve().parents[1]
CORES = len(os.sched_getaffinity(0))
WINDOW_S, RATE_HZ, SIDE_PX, CROP_PX = 2.0, 22050, 256, 224
EVERY_S = 0.25
CLIPS = {"none": 200, "i3d_r50": 24}
"""Clips of the small build: I3D takes so long that few will do."""
WARM_AFTER = {"none": 20 * CORES, "i3d_r50": I3D.VIDEOS * CORES}
"""Results after which every worker has ended its first call."""
STORED = {"none": "cut", "i3d_r50": "visual"}


@dataclass(frozen=True)
class Build:
    """What one build took. `warm_s` is what all its clips take at the warm workers' rate."""

    clips: int
    whole_s: float
    stages: str
    warm_s: float
    peak_mb: float
    busy: float
    others: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visual", action="append", choices=list(CLIPS))
    parser.add_argument("--clips", type=int, help="of the smaller build")
    parser.add_argument("--times", type=int, default=10)
    arguments = parser.parse_args()
    for visual in arguments.visual or CLIPS:
        with TemporaryDirectory() as folder:
            compare(Path(folder), visual, arguments.clips or CLIPS[visual], arguments.times)


def compare(root: Path, visual: str, clips: int, times: int) -> None:
    """Print the table of one setting."""
    print(f"\n--visual {visual}, clips of 2.2 s, {CORES} cores\n")
    print("| clips | command, s | stages by the engine | warm, s | clips/s warm | driver, MB |")
    print("|---|---|---|---|---|---|")
    builds = []
    for count in (clips, clips * times):
        source = root / f"{count}"
        make_clips(source, count)
        builds.append(build(source, root / f"out{count}", visual, count))
        b = builds[-1]
        rate = b.clips / b.warm_s
        print(
            f"| {b.clips} | {b.whole_s:.1f} | {b.stages} | {b.warm_s:.2f} | {rate:.1f} | "
            f"{b.peak_mb:.1f} |",
            flush=True,
        )
    small, large = builds
    shorter = root / f"{clips if visual != 'none' else clips * times}"
    paths = sorted(shorter.iterdir())
    plain_s = plain(paths, visual, root / "plain.tar")
    rate = len(paths) / plain_s
    print(f"\nplain script, one process, {len(paths)} clips: {plain_s:.1f} s, {rate:.1f} clips/s")
    print(f"build, warm, beside the plain script: {large.clips / large.warm_s / rate:.2f} times")
    print(f"sound, build against plain: {compare_sound(root / f'out{len(paths)}', root)}")
    print(f"time warm: x {large.warm_s / small.warm_s:.2f}; whole command: x ", end="")
    print(f"{large.whole_s / small.whole_s:.2f}")
    more = large.clips - small.clips
    grown_mb = large.peak_mb - small.peak_mb
    print(
        f"driver's peak memory: x {large.peak_mb / small.peak_mb:.3f}, "
        f"{grown_mb * 1e6 / more:.0f} bytes for each of {more} more clips"
    )
    for b in builds:
        print(
            f"cores while warm, {b.clips} clips: {b.busy:.0%} by the build, "
            f"{b.others:.0%} by other processes"
        )


def make_clips(folder: Path, count: int) -> None:
    """Write clips that differ by a number in an mp4 box that every reader skips."""
    folder.mkdir()
    first = folder / "first.mp4"
    sources = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=30:duration=2.2"]
    sources += ["-f", "lavfi", "-i", "anoisesrc=r=48000:d=2.2:c=pink:a=0.4:seed=1"]
    coding = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    quiet = [binary(), "-hide_banner", "-loglevel", "error"]
    subprocess.run([*quiet, *sources, *coding, "-ac", "2", str(first)], check=True)
    data = first.read_bytes()
    first.unlink()
    for number in range(count):
        (folder / f"clip{number:07d}.mp4").write_bytes(
            data + (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        )


def build(source: Path, out: Path, visual: str, clips: int) -> Build:
    """Run the command as a user would, watch its processes, and read what it left."""
    words = ["build", "--dataset", "folder", "--source", source, "--out", out, "--engine", "ray"]
    words += ["--visual", visual, "--weights", "untrained", "--codec", "none"]
    started_s = time.monotonic()
    with open(out.with_suffix(".log"), "w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *map(str, words)],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log,
        )  # fmt: skip
        with PersonCollector(process.pid) as watch:
            code = process.wait()
        whole_s = time.monotonic() - started_s
        if code:
            log.seek(0)
            raise RuntimeError(f"pipeline build ended with {code}: {log.read()[-2000:]}")
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    if report["counts"] != {"ok": clips} or sum(report["segments"].values()) != clips:
        raise RuntimeError(f"{clips} clips gave {report['counts']}, {report['segments']}")
    stages = "; ".join(
        f"{s['stage']} {s['wall_s']:.1f} s ({s['workers']} workers: set up {s['setup_s']:.1f}, "
        f"busy {s['busy_s']:.1f}, idle {s['idle_s']:.1f})"
        for s in report["stages"]
    )
    stored = Ledger(out / ".work" / "results").stored()
    ends_s = sorted(one.written_s for one in stored if one.stage == STORED[visual])
    warm = WARM_AFTER[visual]
    span_s = ends_s[-1] - ends_s[warm - 1]
    busy, others = watch.busy(ends_s[warm - 1], ends_s[-1])
    warm_s = span_s * clips / (clips - warm)
    return Build(clips, whole_s, stages, warm_s, watch.peak_mb, busy, others)


class PersonCollector:
    """Samples /proc: a process's peak memory, and the ticks that it and all below it have used."""

    def __init__(self, pid: int) -> None:
        self._pid, self.peak_mb = pid, 0.0
        self._rows: list[tuple[float, float, float]] = []  # time, ticks of ours, of all

    def __enter__(self) -> PersonCollector:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def busy(self, from_s: float, to_s: float) -> tuple[float, float]:
        """Return the share of the cores that the process's tree used, and that others used."""
        rows = [row for row in self._rows if from_s <= row[0] <= to_s]
        if len(rows) < 2:
            raise RuntimeError(f"{to_s - from_s:.2f} s warm: too short to be seen; give --clips")
        (began_s, ours_a, all_a), (ended_s, ours_b, all_b) = rows[0], rows[-1]
        ticks = os.sysconf("SC_CLK_TCK") * CORES * (ended_s - began_s)
        return (ours_b - ours_a) / ticks, (all_b - all_a - ours_b + ours_a) / ticks

    def _run(self) -> None:
        spent: dict[int, int] = {}
        while not self._stop.wait(EVERY_S):
            spent |= _tree_ticks(self._pid)  # who has ended keeps what it had
            words = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:9]
            busy = sum(map(int, words)) - int(words[3]) - int(words[4])
            self._rows.append((time.time(), sum(spent.values()), busy))
            try:
                status = Path(f"/proc/{self._pid}/status").read_text(encoding="utf-8")
            except OSError:
                continue  # it has just ended
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    self.peak_mb = max(self.peak_mb, int(line.split()[1]) * 1024 / 1e6)


def _tree_ticks(root: int) -> dict[int, int]:
    """Return the user and system ticks of a process and of all that it started, by pid."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents[int(path.parent.name)] = int(words[1])
        ticks[int(path.parent.name)] = int(words[11]) + int(words[12])
    found, level = {}, {root}
    while level:
        found |= {pid: ticks[pid] for pid in level if pid in ticks}
        level = {pid for pid, parent in parents.items() if parent in level}
    return found


def plain(paths: Sequence[Path], visual: str, out: Path) -> float:
    """Write one tar of the clips' segments, one after the other; return the seconds it took."""
    net = I3D("untrained", device="cpu")
    if visual != "none":
        net.setup()
        net(np.zeros((1, FRAMES, CROP_PX, CROP_PX, 3), np.uint8))
    sound(paths[0])
    started_s = time.monotonic()

    def segments() -> Iterator[tuple[str, dict[str, bytes]]]:
        for path in paths:
            members = {WAV: wav_bytes(sound(path))}
            if visual != "none":
                members[VISUAL] = npy_bytes(net(pictures(path)[None]))
            yield f"{path.stem}_seg0001", members

    write_shard(out, segments())
    return time.monotonic() - started_s


def sound(path: Path) -> np.ndarray:
    """Return the clip's first window of sound: int16 (N,), mono, at its peak."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate_hz = container.streams.audio[0].rate
    mono = np.concatenate(frames, axis=1).mean(0, dtype=np.float64).astype(np.float32)
    samples = soxr.resample(mono, rate_hz, RATE_HZ, "HQ")[: round(WINDOW_S * RATE_HZ)]
    return np.round(samples * (0.95 / np.abs(samples).max()) * 32767).astype(np.int16)


def pictures(path: Path) -> np.ndarray:
    """Return the clip's frames for I3D: uint8 (8, 224, 224, 3)."""
    wanted_s = (np.arange(FRAMES) + 0.5) * WINDOW_S / FRAMES
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times_s = np.array([frame.time for frame in frames])
    made = []
    for at_s in wanted_s:
        frame = frames[int(np.abs(times_s - at_s).argmin())]
        scale = SIDE_PX / min(frame.width, frame.height)
        width, height = round(frame.width * scale), round(frame.height * scale)
        image = frame.reformat(width, height, "rgb24").to_ndarray()
        top, left = (height - CROP_PX) // 2, (width - CROP_PX) // 2
        made.append(image[top : top + CROP_PX, left : left + CROP_PX])
    return np.stack(made)


def compare_sound(built: Path, root: Path) -> str:
    """Return how far the first segment's sound is from the plain script's."""
    (_, ours) = next(read_shard(sorted(built.glob("*.tar"))[0]))
    (_, theirs) = next(read_shard(root / "plain.tar"))
    a, b = (read_wav(members[WAV]).astype(int) for members in (ours, theirs))
    return f"at most {np.abs(a - b).max()} of 32767 apart over {len(a)} samples"


if __name__ == "__main__":
    print_anything()
    main()
