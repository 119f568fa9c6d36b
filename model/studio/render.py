"""The commands behind a result's pictures: `python -m model.studio.render look|music|segment|clip`.

Each runs in a process of its own, as a step of a job, and writes `facts.json`, which names its
files. Symbols: T motion frames, D features, K times in seconds, N samples at 22 050 Hz.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.contract.dataset import load_dataset
from model.contract.exit_codes import exits
from model.contract.files import write_atomic
from model.contract.segment import MOTION, SAMPLE_RATE_HZ, WAV
from model.contract.terminal import print_anything
from model.contract.wav import decode_wav, write_wav
from model.data.reader import member, meta_of, read_tar
from model.evaluation.page import draw
from model.generation.pipeline_process import find_video, run_pipeline, take_sounds
from model.measures.align import dance_beats_s
from model.studio.scores import scores_of
from model.studio.uploads import FACTS

PREVIEW, PICTURE = "preview.mp4", "picture.png"
SILENT = 1e-3
"""Sound whose loudest sample is below this is not drawn or compared."""


@dataclass(frozen=True)
class Dance:
    """The motion (T, D) of consecutive segments, or None, and its kinematic beats (K,)."""

    start_s: float
    stop_s: float
    motion: np.ndarray | None
    fps: float
    beats_s: np.ndarray


def read_dance(shards: Path, segments: tuple[int, int] | None = None) -> Dance:
    """Return the dance of the only video of `shards`, or that of its segments first to last."""
    dataset = load_dataset(shards)
    rows = []
    for name in (shard.name for split in dataset.splits.values() for shard in split):
        for raw in read_tar(shards / name):
            meta = meta_of(raw, name)
            if segments is None or segments[0] <= meta["segment"] <= segments[1]:
                has = MOTION in dataset.fields
                array = member(raw, MOTION, dataset.fields, name) if has else None
                rows.append((meta, array))
    if not rows:
        raise ValueError(f"{shards}: no segment of the video; look at its features again")
    rows.sort(key=lambda row: row[0]["segment"])
    start_s = float(rows[0][0]["start_s"])
    stop_s = float(rows[-1][0]["start_s"]) + dataset.seconds
    arrays = [array for _, array in rows if array is not None]
    return _dance(start_s, stop_s, np.concatenate(arrays) if arrays else None, dataset.fields)


def look(run: str, video: Path, features: Path, out: Path) -> None:
    """Compute the features of a video as a run needs them, and draw its dancer."""
    from model.generation.run import load_run
    from model.generation.video_features import keep_features

    loaded = load_run(run)
    print(f"features of {video.name}: computing", flush=True)
    keep_features(video, loaded, features)
    dance = read_dance(features)
    own = own_sound(video, dance.start_s, dance.stop_s)
    _preview(out, dance, ["--video", str(video)])
    facts = _facts(dance, own, own)
    if own is not None:
        draw(own, dance.beats_s, out / PICTURE)
    _save(out, facts)


def music(video: Path, features: Path, out: Path) -> None:
    """Draw and measure what `model generate` wrote into `out`: the first piece of a video."""
    summary = json.loads((out / "generated.json").read_bytes())
    row = summary["generated"][0]
    wav = out / Path(row["file"]).name
    audio = decode_wav(wav.read_bytes(), wav.name)
    first, last = row["segments"]
    found = read_dance(features, (first, last))
    stop_s = found.start_s + len(audio) / SAMPLE_RATE_HZ
    dance = Dance(found.start_s, stop_s, found.motion, found.fps, found.beats_s)
    _preview(out, dance, ["--video", str(video), "--audio", str(wav)])
    draw(audio, dance.beats_s, out / PICTURE)
    facts = _facts(dance, audio, own_sound(video, dance.start_s, stop_s))
    names = {"wav": wav, "mp4": wav.with_suffix(".mp4"), "mid": wav.with_suffix(".mid")}
    facts["files"] |= {key: path.name for key, path in names.items() if path.is_file()}
    facts["labels"], pieces = summary["labels"], len(summary["generated"])
    if pieces > 1:
        facts["labels"].append(f"the video has {pieces} pieces with gaps; this is the first")
    _save(out, facts)


def segment(shards: str, split: str, key: str, out: Path) -> None:
    """Draw one segment of a data set: its picture if the video is there, skeleton and sound."""
    from model.contract.storage import to_location

    root = to_location(shards)
    dataset = load_dataset(root)
    raws = (
        (name, raw)
        for name in (shard.name for shard in dataset.splits.get(split, []))
        for raw in read_tar(root / name)
    )
    found = next(((name, raw) for name, raw in raws if raw["__key__"] == key), None)
    if found is None:
        raise ValueError(f"{key}: not a segment of the split {split}")
    name, raw = found
    meta = meta_of(raw, name)
    motion = member(raw, MOTION, dataset.fields, name) if MOTION in dataset.fields else None
    start_s = float(meta["start_s"])
    dance = _dance(start_s, start_s + dataset.seconds, motion, dataset.fields)
    video = find_video(dataset.source, str(meta.get("source", "")))
    sound = decode_wav(raw[WAV], name) if raw.get(WAV) else None
    more = []
    if video is not None:
        more += ["--video", str(video)]
        more += ["--box", *map(str, meta["box_px"])] if meta.get("box_px") else []
    with tempfile.TemporaryDirectory() as folder:
        if sound is not None:
            write_wav(Path(folder) / "sound.wav", sound)
            more += ["--audio", str(Path(folder) / "sound.wav")]
        _preview(out, dance, more)
    facts = _facts(dance, sound, None)
    facts["labels"] = [] if video else ["the source video is not here: skeleton and sound alone"]
    facts["labels"] += [f"UNTRAINED {text}" for text in dataset.untrained]
    if sound is not None:
        draw(sound, dance.beats_s, out / PICTURE)
    _save(out, facts)


def clip(video: Path, span_s: tuple[float, float], box: list[int], out: Path) -> None:
    """Cut a curated clip, with its own sound."""
    dance = Dance(*span_s, None, 30.0, np.zeros(0))
    _preview(out, dance, ["--video", str(video), "--box", *map(str, box)])
    _save(out, _facts(dance, None, None))


def own_sound(video: Path, start_s: float, stop_s: float) -> np.ndarray | None:
    """Return the video's own sound (N,) in a span of its clock, or None if it has none."""
    import soundfile

    folder = video.parent / "own"
    wav = folder / f"{video.stem}.wav"
    if not folder.is_dir():
        folder.mkdir()
        take_sounds([video], folder)
    if not wav.is_file():
        return None
    first, stop = round(start_s * SAMPLE_RATE_HZ), round(stop_s * SAMPLE_RATE_HZ)
    sound = soundfile.read(wav, dtype="float32")[0][first:stop]
    if not len(sound) or np.abs(sound).max() < SILENT:
        return None
    return np.pad(sound, (0, stop - first - len(sound)))


def _dance(
    start_s: float, stop_s: float, motion: np.ndarray | None, fields: dict[str, dict[str, Any]]
) -> Dance:
    fps = float(fields.get(MOTION, {}).get("fps", 30))
    beats = np.zeros(0) if motion is None else dance_beats_s(motion, fps)
    return Dance(start_s, stop_s, motion, fps, beats[beats < stop_s - start_s])


def _preview(out: Path, dance: Dance, more: list[str]) -> None:
    print("drawing the skeleton", flush=True)
    arguments = ["preview", *more, "--out", str(out / PREVIEW)]
    arguments += ["--start-s", f"{dance.start_s:.6f}", "--stop-s", f"{dance.stop_s:.6f}"]
    with tempfile.TemporaryDirectory() as folder:
        if dance.motion is not None:
            np.save(Path(folder) / "motion.npy", dance.motion)
            arguments += ["--motion", f"{folder}/motion.npy", "--motion-fps", f"{dance.fps:g}"]
        if len(dance.beats_s):
            arguments += ["--beats", ",".join(f"{beat:.3f}" for beat in dance.beats_s)]
        run_pipeline(arguments)


def _facts(dance: Dance, audio: np.ndarray | None, own: np.ndarray | None) -> dict[str, Any]:
    files = {"preview": PREVIEW} | ({} if audio is None else {"picture": PICTURE})
    same = audio is own
    return {
        "files": files,
        "seconds": dance.stop_s - dance.start_s,
        "dance_beats_s": [round(float(beat), 3) for beat in dance.beats_s],
        "has_skeleton": dance.motion is not None,
        "scores": scores_of(audio, dance.motion, dance.fps, dance.beats_s, None if same else own),
        "labels": [],
    }


def _save(out: Path, facts: dict[str, Any]) -> None:
    write_atomic(out / FACTS, json.dumps(facts, allow_nan=False).encode())


def main() -> None:
    """Run one of the four commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    for name in ("look", "music", "segment", "clip"):
        sub = commands.add_parser(name)
        sub.add_argument("--out", type=Path, required=True)
        if name != "segment":
            sub.add_argument("--video", type=Path, required=True)
        if name in ("look", "music"):
            sub.add_argument("--features", type=Path, required=True)
    commands.choices["look"].add_argument("--run", required=True)
    for flag in ("--shards", "--split", "--key"):
        commands.choices["segment"].add_argument(flag, required=True)
    commands.choices["clip"].add_argument("--span-s", type=float, nargs=2, required=True)
    commands.choices["clip"].add_argument("--box", type=int, nargs=4, required=True)
    given = parser.parse_args()
    with exits("take a shorter video"):
        if given.what == "look":
            look(given.run, given.video, given.features, given.out)
        elif given.what == "music":
            music(given.video, given.features, given.out)
        elif given.what == "segment":
            segment(given.shards, given.split, given.key, given.out)
        else:
            clip(given.video, (given.span_s[0], given.span_s[1]), given.box, given.out)


if __name__ == "__main__":
    print_anything()
    main()
