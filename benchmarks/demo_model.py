"""Whether a run's music follows the dancers of real clips: beat alignment, and spectrograms.

    python benchmarks/demo_model.py CLIP… [--run demo] [--seeds 4] [--out DIR]
        [--pictures docs/results]

Each clip gets music by `model generate --video`, once for each seed. The kinematic beats of its
dancer (BlazePose's joints, as in real_beats.py) are compared with the beats that librosa tracks in
the music, and with its onsets. Controls: the music of the other clips, and a metronome of 120 BPM,
on average over 20 phases. All scores are the paper's (model/measures/align.py); beats of the same
tempo continue before and after the music. Differences have an interval over clips: a bootstrap with
few clips, so read it with care. With one clip there is no shuffled music and no interval.

Weights: `pipeline weights fetch movenet_multipose blazepose_full`.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pose_truth import NETWORKS, dancer
from real_beats import continued

from model.baselines.references import METRONOME_BPM
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.terminal import print_anything
from model.contract.wav import read_wav
from model.generation.generate import generate
from model.generation.run import Run, load_run
from model.measures.align import beat_align, kinematic_beats_s
from model.measures.beats import onsets_s
from model.measures.bootstrap import paired_difference
from model.measures.rhythm import beats_s
from model.measures.skeleton import joints_of
from pipeline.features.motion.body25 import FPS
from pipeline.media.reader import MediaError, read_audio
from pipeline.report.spectrogram import decibels

PHASES = 20
MEASURES = ("beats", "onsets")


@dataclass
class Clip:
    """A clip: its dancer's beats, and the music of each seed, from the same moment.

    `original` is the clip's own sound; empty if it has none.
    """

    path: Path
    dance_s: np.ndarray
    original: np.ndarray
    music: list[np.ndarray] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return len(self.music[0]) / SAMPLE_RATE_HZ


def read_clip(run: Run, path: Path, seeds: int, out: Path, network: str) -> Clip:
    """Generate music for a clip, and find its dancer's beats within the time of the music."""
    body, poses = dancer(path, network)
    joints, seen = joints_of(np.nan_to_num(body).reshape(len(body), -1))
    clip = Clip(path, np.zeros(0), np.zeros(0))
    for seed in range(seeds):
        (made, *_) = generate(run, out / f"seed{seed}", video=path, seed=seed)
        clip.music.append(read_wav(made.wav.read_bytes()).astype(np.float32))
    start_s = made.piece.start_s
    dance_s = kinematic_beats_s(joints, FPS, seen) + float(poses["times_s"][0]) - start_s
    clip.dance_s = dance_s[(dance_s >= 0) & (dance_s < clip.seconds)]
    try:
        sound = read_audio(path)
        first = round((start_s - float(sound.start_s)) * SAMPLE_RATE_HZ)
        clip.original = sound.samples[max(0, first) :][: len(clip.music[0])]
    except MediaError as error:
        print(f"{path.name}: no sound of its own ({error})")
    return clip


def times_of(measure: str, music: np.ndarray, stop_s: float) -> np.ndarray:
    """Return the beats or onsets of music; beats continue until `stop_s`."""
    if measure == "onsets":
        return onsets_s(music)
    found = beats_s(music)
    return continued(found, stop_s) if len(found) > 1 else found


def scores(clips: list[Clip], measure: str) -> dict[str, np.ndarray]:
    """Return the alignment of each clip, on average over seeds, by the name of the music (C,)."""
    longest_s = max(clip.seconds for clip in clips)
    times = [[times_of(measure, sound, longest_s) for sound in clip.music] for clip in clips]
    beats = np.arange(0, longest_s + 1, 60 / METRONOME_BPM)
    shifts = np.arange(PHASES) / PHASES * 60 / METRONOME_BPM
    found: dict[str, list[float]] = {"its own music": [], "other clips' music": []}
    found[f"metronome, {METRONOME_BPM} BPM"] = []
    for i, clip in enumerate(clips):
        others = [music for j, each in enumerate(times) if j != i for music in each]
        for column, music in zip(
            found.values(), (times[i], others, [beats - shift for shift in shifts]), strict=True
        ):
            column.append(float(np.mean([beat_align(clip.dance_s, t) for t in music] or [np.nan])))
    return {name: np.array(column) for name, column in found.items()}


def table(clips: list[Clip], measure: str) -> None:
    """Print the scores of each clip and their means, and the differences with intervals."""
    found = scores(clips, measure)
    print(f"\nkinematic beats to {measure} of the music | " + " | ".join(found))
    for i, clip in enumerate(clips):
        row = " | ".join(f"{column[i]:.3f}" for column in found.values())
        print(f"{clip.path.stem}, {clip.seconds:.1f} s, {len(clip.dance_s)} beats | {row}")
    print("mean | " + " | ".join(f"{np.nanmean(column):.3f}" for column in found.values()))
    (_, own), *controls = found.items()
    names = [clip.path.stem for clip in clips]
    for name, column in controls if len(clips) > 1 else []:
        off = paired_difference(own, column, names)
        print(
            f"own minus {name}: {off.mean:+.3f} [{off.low:+.3f}, {off.high:+.3f}], "
            f"higher in {off.groups_won} of {off.groups} clips"
        )


def draw(clip: Clip, path: Path) -> None:
    """Draw the clip's own sound above its new music, with the dancer's beats as lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = {"its own sound": clip.original, "generated, seed 0": clip.music[0]}
    figure, axes = plt.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
    for axis, (name, sound) in zip(axes, shown.items(), strict=True):
        axis.set(title=f"{clip.path.stem}: {name}", ylabel="mel band")
        if len(sound) >= SAMPLE_RATE_HZ / 2 and np.abs(sound).max() > 0:
            extent = (0, len(sound) / SAMPLE_RATE_HZ, 0, 64)
            axis.imshow(decibels(sound).T, origin="lower", aspect="auto", extent=extent)
        else:
            axis.text(0.5, 0.5, "no sound", transform=axis.transAxes, ha="center")
        axis.vlines(clip.dance_s, 0, 64, "white", "dashed", linewidth=1)
    axes[-1].set_xlabel("s; dashed: the dancer's kinematic beats")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80, pil_kwargs={"quality": 82})
    plt.close(figure)
    print(path)


def main() -> None:
    """Generate, print both tables, and draw the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="+", type=Path, help="videos, or folders of .mp4 files")
    parser.add_argument("--run", default="demo")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--network", default="blazepose full", choices=sorted(NETWORKS))
    parser.add_argument("--out", type=Path, help="keep the music and the mp4 files here")
    parser.add_argument("--pictures", type=Path, help="draw demo-CLIP.jpg into this folder")
    options = parser.parse_args()
    paths = [
        path
        for given in options.clips
        for path in (sorted(given.glob("*.mp4")) if given.is_dir() else [given])
    ]
    run = load_run(options.run)
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or Path(folder)
        clips = [
            read_clip(run, path, options.seeds, out / path.stem, options.network) for path in paths
        ]
    for measure in MEASURES:
        table(clips, measure)
    for clip in clips if options.pictures else []:
        draw(clip, options.pictures / f"demo-{clip.path.stem}.jpg")


if __name__ == "__main__":
    print_anything()
    main()
