"""Synthetic compilations: clips joined as video channels join them, with the ground truth.

They test `pipeline curate`: the cut frames, picture boxes, songs, dancers and duplicates are known.
`python -m pipeline.sources.synthetic.compilations DIR --count 40 --seed 0` writes `videos/<id>.mp4`
and `truth/<id>.json`; the same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from model.contract.files import write_atomic
from model.contract.segment import GENRES
from model.contract.terminal import print_anything
from pipeline.sources.synthetic.dance import MOTION_FPS, choreograph
from pipeline.sources.synthetic.decorate import BARS, Box, canvases, face, watermark
from pipeline.sources.synthetic.music import SAMPLE_RATE_HZ, SONG_S, SONGS_PER_GENRE, compose
from pipeline.sources.synthetic.speech import loudness, speech

RENDER_VERSION = 1
"""Raise this if the same seed now gives other files: older files are then written again."""

KINDS = ("dance", "talking_head", "still")
SOUND_S = 12.0
"""Length of the one excerpt of a song from which all clips with that song are cut.

It imitates the reusable sounds of a video app.
"""
LONGEST_S, SHORTEST_S = 7.0, 3.0
SIZES_PX = ((424, 240), (480, 270), (640, 360))
TEMPI = (0.98, 1.0, 1.02)


@dataclass(frozen=True)
class ClipSpec:
    """One clip of a compilation, and its ground truth.

    `song` is played from `song_start_s` at `tempo` times its speed. Its pitch is kept if
    `keeps_pitch`, otherwise it changes with the speed, as on a record player. `gain_db` changes its
    loudness. `speech_db` is the level of a voice relative to the song; None if there is no voice. A
    talking head has no song. `box` is the place of the picture on the canvas. `duplicate_of` names
    `<compilation>/<clip>`, which shows the same material; `crop` is the share cut off at each side.
    """

    kind: str
    song: str
    song_start_s: float
    tempo: float
    keeps_pitch: bool
    gain_db: float
    speech_db: float | None
    dancers: tuple[str, ...]
    duration_s: float
    look: int
    on_beat: bool
    bars: str = "none"
    box: Box = (0, 0, 0, 0)
    duplicate_of: str = ""
    skip_s: float = 0.0
    crop: float = 0.0
    softened: bool = False


@dataclass(frozen=True)
class CompilationSpec:
    """Everything that determines one compilation."""

    compilation_id: str
    seed: int
    fps: int
    width_px: int
    height_px: int
    crf: int
    mark: str
    clips: tuple[ClipSpec, ...]

    @property
    def cuts(self) -> list[int]:
        """The number of each clip's first frame, and the number of frames at the end."""
        frames = [max(1, round(clip.duration_s * self.fps)) for clip in self.clips]
        return [0, *np.cumsum(frames).tolist()]


def plan(count: int, seed: int = 0) -> list[CompilationSpec]:
    """Return the first `count` compilations of a seed; a larger count only adds compilations."""
    if count < 1:
        raise ValueError(f"count is {count}, expected 1 or more")
    return [_compilation(index, seed) for index in range(count)]


def write_compilation(spec: CompilationSpec, root: Path) -> None:
    """Write `videos/<id>.mp4` and then `truth/<id>.json`, unless both exist already."""
    from pipeline.media.ffmpeg import encode

    video = root / "videos" / f"{spec.compilation_id}.mp4"
    truth = root / "truth" / f"{spec.compilation_id}.json"
    facts = json.dumps(truth_of(spec), indent=1, sort_keys=True) + "\n"
    if video.is_file() and truth.is_file() and truth.read_text(encoding="utf-8") == facts:
        return
    truth.unlink(missing_ok=True)
    video.parent.mkdir(parents=True, exist_ok=True)
    size_px = (spec.width_px, spec.height_px)
    sound = np.concatenate([_sound(spec, index) for index in range(len(spec.clips))])
    encode(_frames(spec), spec.fps, size_px, sound, SAMPLE_RATE_HZ, video, crf=spec.crf)
    write_atomic(truth, facts.encode())


def truth_of(spec: CompilationSpec) -> dict:
    """Return the content of `truth/<id>.json`: the specification and the cuts as frame numbers."""
    facts = asdict(spec) | {"cuts": spec.cuts}
    digest = hashlib.sha256(
        json.dumps([RENDER_VERSION, facts], sort_keys=True).encode()
    ).hexdigest()
    return json.loads(json.dumps(facts | {"spec_sha256": digest}))


def _compilation(index: int, seed: int) -> CompilationSpec:
    name = f"comp{index:03d}"
    rng = np.random.default_rng([seed, 1, index])
    width, height = SIZES_PX[int(rng.integers(len(SIZES_PX)))]
    habit = str(rng.choice(BARS, p=(0.1, 0.15, 0.3, 0.2, 0.25)))
    clips = []
    for clip in _originals(index, seed):
        if index and rng.random() < 0.1:
            clip = _duplicate(index, seed, rng)
        bars = habit if rng.random() < 0.85 else str(rng.choice(BARS[1:]))
        clips.append(replace(clip, bars=bars, box=_box(bars, width, height, rng)))
    mark = "" if rng.random() < 0.3 else "@" + "".join(rng.choice(list("aeiklmnorst"), 7))
    fps, crf = int(rng.choice((25, 30))), int(rng.integers(20, 29))
    return CompilationSpec(name, seed, fps, width, height, crf, mark, tuple(clips))


@lru_cache(maxsize=64)
def _originals(index: int, seed: int) -> tuple[ClipSpec, ...]:
    """Return the clips of compilation `index`, before duplicates replace some of them."""
    rng = np.random.default_rng([seed, 2, index])
    count = int(np.clip(3 + rng.poisson(3.2), 3, 12))
    return tuple(_clip(seed, rng) for _ in range(count))


def _clip(seed: int, rng: np.random.Generator) -> ClipSpec:
    kind = str(rng.choice(KINDS, p=(0.82, 0.1, 0.08)))
    dancers = 1 + int(rng.choice(5, p=(0.5, 0.2, 0.14, 0.1, 0.06))) if kind == "dance" else 0
    names = tuple(f"d{n:02d}" for n in 1 + rng.choice(30, dancers, replace=False))
    songs = [f"m{genre}{n}" for genre in GENRES for n in range(SONGS_PER_GENRE)]
    order = np.random.default_rng([seed, 3]).permutation(len(songs))
    weight = (1 + np.arange(len(songs))) ** -0.6
    song = songs[order[rng.choice(len(songs), p=weight / weight.sum())]]
    tempo = float(rng.choice(TEMPI, p=(0.15, 0.7, 0.15)))
    duration_s = float(rng.uniform(SHORTEST_S, LONGEST_S))
    sound_s = float(np.random.default_rng([seed, *song.encode()]).uniform(1, SONG_S - SOUND_S - 1))
    start_s = sound_s + float(rng.uniform(0, SOUND_S - duration_s * tempo))
    on_beat = bool(rng.random() < 0.5)
    if on_beat and kind == "dance":
        duration_s = _to_the_beat(compose(song, seed).beat_times_s, start_s, duration_s, tempo)
    return ClipSpec(
        kind=kind,
        song="" if kind == "talking_head" else song,
        song_start_s=start_s,
        tempo=tempo,
        keeps_pitch=bool(rng.random() < 0.5),
        gain_db=float(rng.uniform(-15, 0)),
        speech_db=float(rng.uniform(-9, 0)) if rng.random() < 0.15 else None,
        dancers=names,
        duration_s=duration_s,
        look=int(rng.integers(2**31)),
        on_beat=on_beat and kind == "dance",
    )


def _duplicate(index: int, seed: int, rng: np.random.Generator) -> ClipSpec:
    """Return a clip of an earlier compilation, cropped, shorter, and with another gain."""
    earlier = int(rng.integers(index))
    clips = _compilation(earlier, seed).clips
    at = int(rng.integers(len(clips)))
    clip = clips[at]
    skip_s = float(rng.uniform(0, 0.5))
    return replace(
        clip,
        gain_db=float(rng.uniform(-15, 0)),
        duplicate_of=clip.duplicate_of or f"comp{earlier:03d}/{at}",
        skip_s=clip.skip_s + skip_s,
        duration_s=clip.duration_s - skip_s,
        crop=max(clip.crop, float(rng.uniform(0, 0.05))),
        softened=bool(rng.random() < 0.5),
    )


def _to_the_beat(beats_s: np.ndarray, start_s: float, duration_s: float, tempo: float) -> float:
    """Return the duration that ends on a beat and is nearest to `duration_s`."""
    ends_s = (beats_s - start_s) / tempo
    ends_s = ends_s[(ends_s >= SHORTEST_S - 0.8) & (ends_s <= LONGEST_S)]
    return float(ends_s[np.abs(ends_s - duration_s).argmin()])


def _box(bars: str, width: int, height: int, rng: np.random.Generator) -> Box:
    """Return the place of the picture: the canvas, or an upright box, rarely shifted or smaller."""
    if bars == "none":
        return (0, 0, width, height)
    h = height
    w = round(h * float(rng.choice((9 / 16, 3 / 4), p=(0.8, 0.2)))) // 2 * 2
    x = (width - w) // 2
    if rng.random() < 0.15:
        x = int(rng.integers(width // 10, width - w - width // 10))
    if rng.random() < 0.1:
        h = round(0.8 * height)
    return (x, (height - h) // 2, w, h)


def _sound(spec: CompilationSpec, index: int) -> np.ndarray:
    """Return a clip's sound, float32 (N,), with the duration of its frames."""
    import librosa
    import soxr

    clip, cuts = spec.clips[index], spec.cuts
    rate = SAMPLE_RATE_HZ
    count = round(cuts[index + 1] / spec.fps * rate) - round(cuts[index] / spec.fps * rate)
    sound_length_s = clip.skip_s + count / rate + 0.1
    rng = np.random.default_rng([4, clip.look])
    voice = speech(sound_length_s, rng, rate)
    if clip.song:
        first = round(clip.song_start_s * rate)
        song = compose(clip.song, spec.seed).samples
        song = song[first : first + round(sound_length_s * clip.tempo * rate)]
        if clip.tempo != 1:
            if clip.keeps_pitch:
                song = librosa.effects.time_stretch(song, rate=clip.tempo)
            else:
                song = soxr.resample(song, rate * clip.tempo, rate)
        sound = np.pad(song, (0, max(0, len(voice) - len(song))))[: len(voice)]
        if clip.speech_db is not None:
            level = np.sqrt(np.mean(sound**2) / np.mean(voice**2)) * 10 ** (clip.speech_db / 20)
            sound = sound + level * voice
    else:
        sound = voice
    first = round(clip.skip_s * rate)
    sound = sound[first : first + count] * 10 ** (clip.gain_db / 20)
    return np.clip(sound, -1, 1).astype(np.float32)


def _frames(spec: CompilationSpec) -> Iterator[np.ndarray]:
    """Yield all frames (H, W, 3) of a compilation."""
    size_px = (spec.width_px, spec.height_px)
    rng = np.random.default_rng([spec.seed, 5, *spec.compilation_id.encode()])
    at_px = (
        round(rng.uniform(0.33, 0.45) * size_px[0]),
        round(rng.uniform(0.2, 0.95) * size_px[1]),
    )
    bars_seed = [spec.seed, 6, *spec.compilation_id.encode()]
    for index, clip in enumerate(spec.clips):
        count = spec.cuts[index + 1] - spec.cuts[index]
        pictures = _pictures(spec, clip, clip.skip_s + np.arange(count) / spec.fps)
        for frame in canvases(pictures, clip.box, size_px, clip.bars, bars_seed):
            if spec.mark:
                watermark(frame, spec.mark, at_px)
            yield frame


def _pictures(spec: CompilationSpec, clip: ClipSpec, times_s: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a clip's pictures (h, w, 3) at the given times from the start of its material."""
    import cv2

    from pipeline.sources.synthetic.render import dress, place_camera, render, stage

    _, _, w, h = clip.box
    margin = [round(clip.crop * side) for side in (h, w)]
    high, wide = h + 2 * margin[0], w + 2 * margin[1]
    look = np.random.default_rng([7, clip.look])
    camera = place_camera(look, wide, high, max(1, len(clip.dancers)))
    background = stage(look, camera)
    if clip.kind == "talking_head":
        sound_length_s = float(times_s[-1]) + 0.1
        voice = speech(sound_length_s, np.random.default_rng([4, clip.look]), SAMPLE_RATE_HZ)
        frames = face(background, loudness(voice, SAMPLE_RATE_HZ, times_s), times_s, look)
    elif clip.kind == "still":
        frames = (background for _ in times_s)
    else:
        outfits = [dress(dancer) for dancer in clip.dancers]
        frames = render(_joints(spec, clip, times_s), outfits, camera, background)
    for frame in frames:
        frame = frame[margin[0] : margin[0] + h, margin[1] : margin[1] + w]
        if clip.softened:
            frame = cv2.resize(cv2.resize(frame, None, fx=0.6, fy=0.6), (w, h))
        yield frame


def _joints(spec: CompilationSpec, clip: ClipSpec, times_s: np.ndarray) -> np.ndarray:
    """Return the dancers' joints (F, P, 24, 3), in metres, at `times_s`."""
    beats_s = (compose(clip.song, spec.seed).beat_times_s - clip.song_start_s) / clip.tempo
    beats_s = beats_s[(beats_s > -1.5) & (beats_s < LONGEST_S + 1.5)]
    frames, side = round((LONGEST_S + 0.5) * MOTION_FPS), 1.1
    index = np.minimum(np.round(times_s * MOTION_FPS).astype(int), frames - 1)
    joints = []
    for place in range(len(clip.dancers)):
        x_m = side * (place - (len(clip.dancers) - 1) / 2)
        rng = np.random.default_rng([8, clip.look, place])
        motion = choreograph(clip.song[1:3], beats_s, frames, rng, (x_m, -0.3 * (place % 2)))
        joints.append(motion.joints_m[index])
    return np.stack(joints, axis=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Write compilations; keep existing ones that were made from the same plan."""
    from pipeline.sources.synthetic.jobs import write_each

    parser = argparse.ArgumentParser(
        prog="python -m pipeline.sources.synthetic.compilations", description=__doc__
    )
    parser.add_argument("root", type=Path, metavar="DIR")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="number of processes that write videos")
    options = parser.parse_args(argv)
    try:
        specs = plan(options.count, options.seed)
    except ValueError as error:
        parser.error(str(error))
    write_each(write_compilation, specs, options.root, options.jobs)
    return 0


if __name__ == "__main__":
    print_anything()
    raise SystemExit(main())
