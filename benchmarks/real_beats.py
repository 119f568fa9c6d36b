"""Whether real dancers move on the beats of their music: the beat alignment of each clip.

    python benchmarks/real_beats.py CLIP… [--network "blazepose full"]

Kinematic beats of the main dancer's poses against the beats that librosa tracks in the clip's own
music: as it is, shifted by half a beat, and on average over shifts from 0 to 1 beat in 20 steps
(what a dancer who knows nothing of the music would have). Beats of the same tempo continue before
and after the clip, so that a shift leaves no gap. Weights: `pipeline weights fetch
movenet_multipose blazepose_full`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from pose_truth import NETWORKS, dancer

from model.contract.terminal import print_anything
from model.measures.align import beat_align, kinematic_beats_s
from model.measures.rhythm import beats_s, tempo_bpm
from model.measures.skeleton import joints_of
from pipeline.features.motion.body25 import FPS
from pipeline.media.reader import read_audio


def continued(beats: np.ndarray, stop_s: float) -> np.ndarray:
    """Return beats, with as many more at their median distance as reach from 0 to `stop_s`."""
    step = float(np.median(np.diff(beats)))
    before = np.arange(beats[0] - step, -step, -step)[::-1]
    return np.concatenate([before, beats, np.arange(beats[-1] + step, stop_s + step, step)])


def scores(path: Path, network: str) -> list[float]:
    """Return own, half a beat late, and mean over shifts; print them with what they are from."""
    body, poses = dancer(path, network)
    start_s = float(poses["times_s"][0])
    joints, seen = joints_of(np.nan_to_num(body).reshape(len(body), -1))
    dance_s = kinematic_beats_s(joints, FPS, seen)
    sound = read_audio(path)
    music_s = beats_s(sound.samples) + float(sound.start_s) - start_s
    music_s = continued(music_s, len(body) / FPS)
    step_s = 60 / tempo_bpm(music_s)
    shifts = np.arange(20) / 20 * step_s
    found = [
        beat_align(dance_s, music_s),
        float(np.mean([beat_align(dance_s, music_s + s) for s in (-step_s / 2, step_s / 2)])),
        float(np.mean([beat_align(dance_s, music_s + shift) for shift in shifts])),
    ]
    print(
        f"{path.stem}: {len(body) / FPS:.1f} s, {60 / step_s:.0f} bpm, {len(dance_s)} kinematic "
        f"beats: own {found[0]:.3f}, half a beat off {found[1]:.3f}, any shift {found[2]:.3f}"
    )
    return found


def main() -> None:
    """Score each clip, and print the means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--network", default="blazepose full", choices=sorted(NETWORKS))
    options = parser.parse_args()
    means = np.nanmean([scores(path, options.network) for path in options.clips], axis=0)
    print("mean: own {:.3f}, half a beat off {:.3f}, any shift {:.3f}".format(*means))


if __name__ == "__main__":
    print_anything()
    main()
