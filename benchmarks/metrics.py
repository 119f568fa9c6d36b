"""Do the measures tell right from wrong? The true music, and copies of it made worse on purpose.

    python benchmarks/metrics.py [--songs 60] [--out docs]

One clip of 8 s of each synthetic song, danced by the benchmark's own dancer: beats, joints, genre
are known. Its music is compared with itself (found again by the same tools), with what the demo
codec leaves of it, with it played late or too fast, and with the music of other songs; a metronome
is there for the measure it has full marks in. Intervals are of a bootstrap over songs. Segments
(cover, hit, genre, distances, codes) are the paper's 2 s, four per clip. Writes metrics.json and
metrics.png and prints the tables of docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soxr
import torch

from model.evaluate.align import align_scores
from model.evaluate.beats import beats_scores, onsets_s, with_onsets
from model.evaluate.codes import code_accuracy, perplexity
from model.evaluate.compare import interval, mean_interval, pair_with_other_group, sign_flip_p
from model.evaluate.denoise import denoise, removed_share
from model.evaluate.embeddings import EMBEDDINGS, MEL_STATISTICS, Embedding, load_embedding
from model.evaluate.fad import feature_kl, frechet, paired_kl
from model.evaluate.genre import Database, genre_right
from model.evaluate.rhythm import beats_s, loris_onsets_s, loris_scores, rhythm_scores, spread
from model.jukebox import Codec, load_codec
from model.segment import SAMPLE_RATE_HZ, write_atomic
from pipeline.sources.synthetic.dance import MOTION_FPS, choreograph
from pipeline.sources.synthetic.music import SAMPLE_RATE_HZ as SONG_RATE_HZ
from pipeline.sources.synthetic.music import Song, compose
from pipeline.sources.synthetic.plan import plan

CLIP_S, START_S, SEGMENT_S = 8, 8.0, 2
SHIFTS_MS = (0, 25, 50, 75, 100, 150, 200, 250)
STRETCHES_PERCENT = (0, 1, 2, 3, 4, 5, 6, 8, 10)
WRONG_BY_MS, WRONG_BY_PERCENT = 100, 5

RHYTHM = ("onset_f", "beat_f", "cemgil", "tempo", "tempo_octave", "align", "align_back")
SEGMENTS = ("cover", "hit", "loris_cover", "loris_hit", "genre", "kl", "codes")
SETS = ("frechet", "feature_kl", "csd", "hsd", "perplexity")

DISCRIMINATING = (*RHYTHM, "genre", "kl", "codes")
"""Those that must put the truth first and the shuffled music last, intervals apart."""
LOWER_IS_BETTER = ("kl", "frechet", "feature_kl")

FOLLOWING, STATIONARY = "floor that follows (default)", "one floor per clip"
TRUTH, SHUFFLED, METRONOME = "ground truth", "shuffled", "metronome, 120 BPM"


@dataclass(frozen=True)
class Clip:
    """A song's eight seconds: true beats (K,) in seconds, music (N,), the dance (T, 219)."""

    song: Song
    audio: np.ndarray
    beats_s: np.ndarray
    motion: np.ndarray

    def played(self, late_s: float = 0.0, faster: float = 1.0) -> np.ndarray:
        """Return the song's music (N,) for the clip, later than the dance, or resampled faster.

        Faster music is on time in the clip's middle: early after it, late before.
        """
        first = round((START_S - late_s + CLIP_S / 2 * (1 - faster)) * SONG_RATE_HZ)
        count = round(CLIP_S * faster * SONG_RATE_HZ) + 1
        cut = self.song.samples[first : first + count]
        found = soxr.resample(cut, SONG_RATE_HZ * faster, SAMPLE_RATE_HZ)
        return found[: CLIP_S * SAMPLE_RATE_HZ].astype(np.float32)


def main() -> None:
    """Measure, write metrics.json and metrics.png, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--songs", type=int, default=60)
    parser.add_argument("--embedding", default=MEL_STATISTICS, choices=EMBEDDINGS)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clips = [make(spec.song_id, spec.genre, i) for i, spec in enumerate(plan(arguments.songs))]
    embedding, codec = load_embedding(arguments.embedding), load_codec("demo")

    versions = music_of(clips, codec)
    found = {name: measure(clips, music, embedding, codec) for name, music in versions.items()}
    songs = [clip.song.song_id for clip in clips]
    results = {
        "songs": len(clips),
        "labels": [embedding.note, codec.note],
        "arms": {name: summary(scores, songs) for name, scores in found.items()},
        "sets": {name: of_sets(found[TRUTH], scores, codec) for name, scores in found.items()},
        "p": {
            name: sign_flip_p(found[TRUTH][name], found[SHUFFLED][name], songs)
            for name in DISCRIMINATING
        },
        "late": course(clips, SHIFTS_MS, lambda clip, ms: clip.played(late_s=ms / 1000)),
        "fast": course(clips, STRETCHES_PERCENT, lambda clip, p: clip.played(faster=1 + p / 100)),
        "flags": flags(clips, versions[METRONOME]),
        "denoising": denoising(clips, versions, embedding, codec),
        "tracker_late_ms": tracker_late_ms(clips),
    }
    results["verdict"] = verdict(results["arms"])
    results["falls"] = {key: falls(results[key], results["arms"]) for key in ("late", "fast")}
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    write_atomic(arguments.out / "metrics.json", text.encode())
    print(tables(results))
    draw(results, arguments.out / "metrics.png")


# --- music ---------------------------------------------------------------------------------------


def make(song_id: str, genre: str, seed: int) -> Clip:
    """Return a song's clip and a dance to it, stored as shards hold it (T, 219)."""
    from pipeline.sources.synthetic.body import rotations

    song = compose(song_id)
    beats = song.beat_times_s - START_S
    around = beats[(beats > -1.5) & (beats < CLIP_S + 1.5)]
    rng = np.random.default_rng(seed)
    dance = choreograph(genre, around, CLIP_S * MOTION_FPS, rng)
    turned = rotations(dance.poses.reshape(-1, 24, 3).astype(float)).reshape(len(dance.poses), -1)
    clip = Clip(song, np.zeros(0), beats[(beats >= 0) & (beats < CLIP_S)],
                np.concatenate([dance.trans_m, turned], 1))  # fmt: skip
    return Clip(song, clip.played(), clip.beats_s, clip.motion)


def music_of(clips: list[Clip], codec: Codec) -> dict[str, list[np.ndarray]]:
    """Return each version's music, one (N,) per clip."""
    true = [clip.audio for clip in clips]
    partner = pair_with_other_group([clip.song.song_id for clip in clips])
    click = metronome()
    return {
        TRUTH: true,
        **{
            f"through the codec, {level}": [through(codec, level, audio) for audio in true]
            for level in codec.levels
        },
        f"{WRONG_BY_MS} ms late": [clip.played(late_s=WRONG_BY_MS / 1000) for clip in clips],
        f"{WRONG_BY_PERCENT} % too fast": [
            clip.played(faster=1 + WRONG_BY_PERCENT / 100) for clip in clips
        ],
        METRONOME: [click] * len(clips),
        SHUFFLED: [true[i] for i in partner],
    }


@torch.no_grad()
def through(codec: Codec, level: str, audio: np.ndarray) -> np.ndarray:
    """Return audio (N,) encoded and decoded, padded with what little the decoder leaves out."""
    decoded = codec.decode(codec.encode(torch.from_numpy(audio)[None], level), level)[0].numpy()
    return np.concatenate([decoded, np.zeros(len(audio) - len(decoded), np.float32)])


def metronome() -> np.ndarray:
    """Return a click every half second (N,): two in each second, off the bounds of seconds."""
    t = np.arange(CLIP_S * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    since = (t - 0.25) % 0.5
    return (0.8 * np.sin(2 * np.pi * 1500 * since) * np.exp(-since / 0.01)).astype(np.float32)


def cut(audio: np.ndarray) -> np.ndarray:
    """Return the segments (4, 44100) of a clip, each peaking at 0.95 as shards hold them."""
    segments = audio.reshape(-1, SEGMENT_S * SAMPLE_RATE_HZ)
    peak = np.abs(segments).max(1, keepdims=True)
    return (0.95 * segments / np.maximum(peak, 1e-9)).astype(np.float32)


# --- scores --------------------------------------------------------------------------------------


def measure(
    clips: list[Clip], music: list[np.ndarray], embedding: Embedding, codec: Codec
) -> dict[str, np.ndarray]:
    """Return scores per clip (S,): of the clip whole, or the mean of its four segments.

    Also `features` (S, 4, D), `level codes` (S, 4, L) and, per segment, `covers` and `hits`.
    """
    rows = []
    for clip, audio in zip(clips, music, strict=True):
        row = {**rhythm_scores(audio, clip.audio, clip.beats_s),
               **align_scores(clip.motion, MOTION_FPS, beats_s(audio))}  # fmt: skip
        ours, true = cut(audio), cut(clip.audio)
        pairs = list(zip(ours, true, strict=True))
        seconds = [beats_scores(a, b) for a, b in pairs]
        later = [loris_scores(loris_onsets_s(a), loris_onsets_s(b), SEGMENT_S) for a, b in pairs]
        row["covers"], row["hits"] = ([s[name] for s in seconds] for name in ("cover", "hit"))
        row["cover"], row["hit"] = np.nanmean(row["covers"]), np.nanmean(row["hits"])
        row |= {name: np.mean([s[name] for s in later]) for name in later[0]}
        row["features"] = np.stack([embedding.clip(a) for a in ours])
        row["true features"] = np.stack([embedding.clip(b) for b in true])
        row["kl"] = paired_kl(row["true features"], row["features"]).mean()
        row["level codes"], right = encode(codec, ours), encode(codec, true)
        row["codes"] = code_accuracy(row["level codes"], right).mean()
        rows.append(row)
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    found["genre"] = genres(clips, found, embedding)
    return found


@torch.no_grad()
def encode(codec: Codec, segments: np.ndarray) -> np.ndarray:
    return codec.encode(torch.from_numpy(segments), "high").numpy()


def genres(clips: list[Clip], found: dict[str, np.ndarray], embedding: Embedding) -> np.ndarray:
    """Return each clip's share of segments (S,) that find their dance's genre in other songs."""
    _, each, width = found["features"].shape
    own = [clip.song.song_id for clip in clips for _ in range(each)]
    names = [clip.song.genre for clip in clips for _ in range(each)]
    database = Database(
        found["true features"].reshape(-1, width), tuple(names), tuple(own),
        SEGMENT_S * SAMPLE_RATE_HZ, embedding.name,
    )  # fmt: skip
    queries = found["features"].reshape(-1, width)
    right = genre_right(database, queries, names, database.samples, embedding.name, own)
    return right.reshape(-1, each).mean(1)


def summary(scores: dict[str, np.ndarray], songs: list[str]) -> dict[str, dict[str, float]]:
    return {n: asdict(mean_interval(scores[n], songs)) for n in (*RHYTHM, *SEGMENTS)}


def of_sets(
    truth: dict[str, np.ndarray], scores: dict[str, np.ndarray], codec: Codec
) -> dict[str, dict[str, float]]:
    """Return figures that belong to a set of clips and to no single one, with intervals."""
    groups = [str(i) for i in range(len(scores["cover"]))]

    def rows(of: dict[str, np.ndarray], at: np.ndarray) -> np.ndarray:
        return of["features"][at].reshape(-1, of["features"].shape[-1])

    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "frechet": lambda at: frechet(rows(truth, at), rows(scores, at)),
        "feature_kl": lambda at: feature_kl(rows(truth, at), rows(scores, at)),
        "csd": lambda at: spread(scores["covers"][at].ravel()),
        "hsd": lambda at: spread(scores["hits"][at].ravel()),
        "perplexity": lambda at: perplexity(scores["level codes"][at], codec.bins("high")),
    }
    return {n: asdict(interval(statistics[n], groups, draws=100)) for n in SETS}


def course(
    clips: list[Clip], steps: Iterable[int], play: Callable[[Clip, int], np.ndarray]
) -> dict[str, list[dict[str, float]]]:
    """Return each rhythm score with its interval at each step of getting worse."""
    songs = [clip.song.song_id for clip in clips]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in RHYTHM}
    for step in steps:
        rows = []
        for clip in clips:
            audio = play(clip, step)
            rows.append({**rhythm_scores(audio, clip.audio, clip.beats_s),
                         **align_scores(clip.motion, MOTION_FPS, beats_s(audio))})  # fmt: skip
        for name in RHYTHM:
            at = asdict(mean_interval(np.array([row[name] for row in rows]), songs))
            found[name].append({"step": step, **at})
    return found


def flags(clips: list[Clip], clicks: list[np.ndarray]) -> dict[str, float]:
    """Return how the published measure saturates on 2 s segments."""
    true = np.array([with_onsets(onsets_s(s), SEGMENT_S) for c in clips for s in cut(c.audio)])
    scores = [
        beats_scores(a, b)
        for clip, click in zip(clips, clicks, strict=True)
        for a, b in zip(cut(click), cut(clip.audio), strict=True)
    ]
    covers, hits = (np.array([s[n] for s in scores]) for n in ("cover", "hit"))
    return {
        "segments": len(true),
        "both_flags": float(true.all(1).mean()),
        "one_flag": float((true.sum(1) == 1).mean()),
        "no_flag": float((~true.any(1)).mean()),
        "metronome_full_marks": float(((covers >= 1) & (hits == 1)).mean()),
        "metronome_cover_above_1": float((covers > 1).mean()),
        "metronome_mean_cover": float(np.nanmean(covers)),
        "metronome_mean_hit": float(np.nanmean(hits)),
    }


def denoising(
    clips: list[Clip], versions: dict[str, list[np.ndarray]], embedding: Embedding, codec: Codec
) -> dict[str, dict[str, float]]:
    """Return, for some versions, the share of energy taken out and the scores afterwards."""
    found = {}
    for name in (TRUTH, "through the codec, high"):
        for way, stationary in ((FOLLOWING, False), (STATIONARY, True)):
            clean = [denoise(audio, stationary) for audio in versions[name]]
            scores = measure(clips, clean, embedding, codec)
            share = [removed_share(a, b) for a, b in zip(versions[name], clean, strict=True)]
            told = {n: float(np.nanmean(scores[n])) for n in (*RHYTHM, *SEGMENTS)}
            found[f"{name}; {way}"] = {"removed_share": float(np.mean(share)), **told}
    return found


def tracker_late_ms(clips: list[Clip]) -> float:
    """Return how much later than the true beats librosa's are: the median of those within 70 ms."""
    late = [
        s - clip.beats_s[np.abs(clip.beats_s - s).argmin()]
        for clip in clips
        for s in beats_s(clip.audio)
    ]
    return float(1000 * np.median([d for d in late if abs(d) <= 0.07]))


# --- telling -------------------------------------------------------------------------------------


def verdict(arms: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, bool]]:
    """Return for each measure whether truth comes first, shuffled last, and intervals are apart.

    Among truth, what the codec leaves of it, and shuffled. A copy that is late everywhere is no
    candidate for the last place: it misses every beat, where chance meets some.
    """
    arms, told = {n: s for n, s in arms.items() if n in (TRUTH, SHUFFLED) or "codec" in n}, {}
    for name in DISCRIMINATING:
        sign = -1 if name in LOWER_IS_BETTER else 1
        means = {arm: sign * scores[name]["value"] for arm, scores in arms.items()}
        best, worst = arms[TRUTH][name], arms[SHUFFLED][name]
        told[name] = {
            "truth_first": means[TRUTH] == max(means.values()),
            "shuffled_last": means[SHUFFLED] == min(means.values()),
            "apart": best["low"] > worst["high"] or worst["low"] > best["high"],
        }
    return told


def falls(course: dict[str, list[dict[str, float]]], arms: dict) -> dict[str, dict[str, object]]:
    """Return for each measure whether it never rises on the way down to chance, and its worst rise.

    Chance is the upper end of the shuffled music's interval; what happens below does not count.
    """
    told: dict[str, dict[str, object]] = {}
    for name, at in course.items():
        values = np.maximum([a["value"] for a in at], arms[SHUFFLED][name]["high"])
        told[name] = {"falls": bool((np.diff(values) <= 0).all() and values[-1] < values[0]),
                      "worst_rise": float(max(0.0, np.diff(values).max()))}  # fmt: skip
    return told


def tables(results: dict) -> str:
    """Return the results as Markdown."""
    arms, lines = results["arms"], []

    def table(title: str, names: Iterable[str], source: dict, form: str) -> None:
        names = list(names)
        lines.extend(
            ["", title, "", f"| music | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
        )
        for arm, scores in source.items():
            ends = ([scores[n][end] for end in ("value", "low", "high")] for n in names)
            cells = (f"{v:{form}} ({low:{form}}…{high:{form}})" for v, low, high in ends)
            lines.append(f"| {arm} | {' | '.join(cells)} |")

    table("Rhythm", RHYTHM, arms, ".2f")
    table("Segments", SEGMENTS, arms, ".2f")
    table("Sets", SETS, results["sets"], ".3g")
    lines += [
        "",
        "| measure | truth first | shuffled last | intervals apart | p |",
        "|---|---|---|---|---|",
    ]
    for name, said in results["verdict"].items():
        cells = " | ".join("yes" if value else "NO" for value in said.values())
        lines.append(f"| {name} | {cells} | {results['p'][name]:.4f} |")
    for key in ("late", "fast"):
        steps = [at["step"] for at in results[key]["beat_f"]]
        lines += ["", f"| {key} | {' | '.join(map(str, steps))} |", "|---" * (1 + len(steps)) + "|"]
        lines += [
            f"| {name} | "
            + " | ".join(f"{at['value']:.2f}" for at in course_)
            + " | "
            + ("falls |" if results["falls"][key][name]["falls"] else "RISES |")
            for name, course_ in results[key].items()
        ]
    lines += ["", "denoised:"]
    for name, scores in results["denoising"].items():
        before = arms[name.partition(";")[0]]
        changes = (f"{n} {before[n]['value']:.3f}→{scores[n]:.3f}" for n in before)
        taken = f"{scores['removed_share']:.1%} of the energy"
        lines.append(f"- {name}: {taken}; " + ", ".join(changes))
    lines += [
        "",
        f"flags: {results['flags']}",
        f"tracker late: {results['tracker_late_ms']:.1f} ms",
    ]
    return "\n".join([*lines, *(f"note: {label}" for label in results["labels"] if label)])


def draw(results: dict, path: Path) -> None:
    """Draw truth against shuffled, and what a shift in time and in tempo cost."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.8), layout="constrained")
    names = [name for name in DISCRIMINATING if name not in LOWER_IS_BETTER]
    arms = results["arms"]
    shown = {TRUTH: "tab:green", "through the codec, high": "tab:olive", SHUFFLED: "tab:red"}
    for row, (arm, colour) in enumerate(shown.items()):
        at = [arms[arm][name] for name in names]
        ends = np.array([[a["value"] - a["low"], a["high"] - a["value"]] for a in at]).T
        places = np.arange(len(names))[::-1] + 0.2 * (1 - row)
        left.errorbar([a["value"] for a in at], places, xerr=np.abs(ends), fmt="o", ms=4,
                      capsize=2, color=colour, label=arm)  # fmt: skip
    left.set_yticks(np.arange(len(names))[::-1], names)
    left.set(xlim=(-0.02, 1.02), title="truth and shuffled music, 95 % over songs")
    left.legend(fontsize=8)
    for axes, key, unit in ((middle, "late", "ms late"), (right, "fast", "% too fast")):
        for name, course_ in results[key].items():
            x = [at["step"] for at in course_]
            (line,) = axes.plot(x, [at["value"] for at in course_], "o-", ms=3, label=name)
            axes.fill_between(x, [at["low"] for at in course_], [at["high"] for at in course_],
                              color=line.get_color(), alpha=0.12, lw=0)  # fmt: skip
        axes.set(xlabel=unit, ylim=(-0.02, 1.05), title=f"the true music, {unit}")
        axes.grid(alpha=0.3)
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
