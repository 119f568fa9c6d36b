"""Do the measures tell right from wrong? The true music, and copies of it made worse on purpose.

    python benchmarks/metrics.py [--songs 40] [--out docs/results]

One clip of 8 s of each synthetic song, danced by the benchmark's own dancer: beats, joints, genre
are known. Its music is compared with itself (found again by the same tools), with what the demo
codec leaves of it, with it played late or too fast, and with the music of other songs; a metronome
is there for the measure it has full marks in. Intervals are of a bootstrap over songs. Segments
(cover, hit, genre, distances, codes) are the paper's 2 s, four per clip. Writes metrics.json and
metrics.png and prints the tables of docs/results/metrics.md.
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
from metrics_report import (
    DISCRIMINATING,
    LOWER_IS_BETTER,
    METRONOME,
    RHYTHM,
    SEGMENTS,
    SETS,
    SHUFFLED,
    TRUTH,
    draw,
    tables,
)

from model.baselines.references import metronome, through
from model.codecs.base import Codec, load_codec
from model.contract.files import write_atomic
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.terminal import print_anything
from model.evaluation.score import PEAK
from model.generation.denoise import denoise, removed_share
from model.measures.align import beat_align, kinematic_beats_s
from model.measures.beats import onset_f, onset_scores, onsets_s, with_onsets
from model.measures.bootstrap import interval, mean_interval, pair_with_other_group, sign_flip_p
from model.measures.codes import code_accuracy, perplexity
from model.measures.embeddings import EMBEDDINGS, MEL_STATISTICS, Embedding, load_embedding
from model.measures.fad import feature_kl, frechet, paired_kl
from model.measures.genre import Database, genre_right
from model.measures.rhythm import beat_scores, beats_s, bin_scores, loris_onsets_s, spread
from model.measures.skeleton import joints_of
from pipeline.sources.synthetic.body import rotations
from pipeline.sources.synthetic.dance import MOTION_FPS, choreograph
from pipeline.sources.synthetic.music import SAMPLE_RATE_HZ as SONG_RATE_HZ
from pipeline.sources.synthetic.music import Song, compose
from pipeline.sources.synthetic.plan import plan

CLIP_S, START_S, SEGMENT_S = 8, 8.0, 2
SHIFTS_MS = (0, 25, 50, 75, 100, 150, 200, 250)
STRETCHES_PERCENT = (0, 1, 2, 3, 4, 5, 6, 8, 10)
WRONG_BY_MS, WRONG_BY_PERCENT = 100, 5

FOLLOWING, STATIONARY = "floor that follows (default)", "one floor per clip"


@dataclass(frozen=True)
class Clip:
    """A song's eight seconds: the true beats and the times at which its dancer rests."""

    song: Song
    beats_s: np.ndarray
    rests_s: np.ndarray

    def played(self, late_s: float = 0.0, faster: float = 1.0) -> np.ndarray:
        """Return the song's music (N,) for the clip, later than the dance, or resampled faster.

        Faster music is on time in the clip's middle: early after it, late before.
        """
        first = round((START_S - late_s + CLIP_S / 2 * (1 - faster)) * SONG_RATE_HZ)
        count = round(CLIP_S * faster * SONG_RATE_HZ) + 1
        cut = self.song.samples[first : first + count]
        found = soxr.resample(cut, SONG_RATE_HZ * faster, SAMPLE_RATE_HZ)
        return found[: CLIP_S * SAMPLE_RATE_HZ].astype(np.float32)


@dataclass(frozen=True)
class Heard:
    """What the tools find in one clip's music: whole, and in each of its four segments.

    Times in seconds; `features` (4, D); `codes` (4, L) of the high level.
    """

    onsets_s: np.ndarray
    beats_s: np.ndarray
    segment_onsets_s: list[np.ndarray]
    loris_onsets_s: list[np.ndarray]
    features: np.ndarray
    codes: np.ndarray


def main() -> None:
    """Measure, write metrics.json and metrics.png, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--songs", type=int, default=40)
    parser.add_argument("--embedding", default=MEL_STATISTICS, choices=EMBEDDINGS)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clips = [make(spec.song_id, spec.genre, i) for i, spec in enumerate(plan(arguments.songs))]
    embedding, codec = load_embedding(arguments.embedding), load_codec("demo")

    music = music_of(clips, codec)
    heard = {name: [listen(a, embedding, codec) for a in of] for name, of in music.items()}
    partner = pair_with_other_group([clip.song.song_id for clip in clips])
    heard[SHUFFLED] = [heard[TRUTH][i] for i in partner]
    heard[METRONOME] = [listen(metronome(CLIP_S * SAMPLE_RATE_HZ), embedding, codec)] * len(clips)
    found = {name: measure(clips, heard[TRUTH], of, embedding) for name, of in heard.items()}
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
        "late": course(
            clips, heard[TRUTH], SHIFTS_MS, lambda clip, ms: clip.played(late_s=ms / 1000)
        ),
        "fast": course(
            clips, heard[TRUTH], STRETCHES_PERCENT, lambda clip, p: clip.played(faster=1 + p / 100)
        ),
        "flags": flags(heard[TRUTH], found[METRONOME]),
        "denoising": denoising(clips, music, heard[TRUTH], embedding, codec),
        "tracker_late_ms": tracker_late_ms(clips, heard[TRUTH]),
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
    """Return a song's clip and a dance to it, stored as shards hold it (T, 219) and read back."""
    song = compose(song_id)
    beats = song.beat_times_s - START_S
    around = beats[(beats > -1.5) & (beats < CLIP_S + 1.5)]
    dance = choreograph(genre, around, CLIP_S * MOTION_FPS, np.random.default_rng(seed))
    turned = rotations(dance.poses.reshape(-1, 24, 3).astype(float)).reshape(len(dance.poses), -1)
    joints, _ = joints_of(np.concatenate([dance.trans_m, turned], 1))
    inside = beats[(beats >= 0) & (beats < CLIP_S)]
    return Clip(song, inside, kinematic_beats_s(joints, MOTION_FPS))


def music_of(clips: list[Clip], codec: Codec) -> dict[str, list[np.ndarray]]:
    """Return each version's music, one (N,) per clip."""
    true = [clip.played() for clip in clips]
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
    }


def cut(audio: np.ndarray) -> np.ndarray:
    """Return the segments (4, 44100) of a clip, each peaking at 0.95 as shards hold them."""
    segments = audio.reshape(-1, SEGMENT_S * SAMPLE_RATE_HZ)
    peak = np.abs(segments).max(1, keepdims=True)
    return (PEAK * segments / np.maximum(peak, 1e-9)).astype(np.float32)


# --- scores --------------------------------------------------------------------------------------


@torch.no_grad()
def listen(audio: np.ndarray, embedding: Embedding, codec: Codec) -> Heard:
    """Return what the tools find in a clip (N,)."""
    segments = cut(audio)
    return Heard(
        onsets_s(audio),
        beats_s(audio),
        [onsets_s(segment) for segment in segments],
        [loris_onsets_s(segment) for segment in segments],
        np.stack([embedding.clip(segment) for segment in segments]),
        codec.encode(torch.from_numpy(segments), "high").numpy(),
    )


def rhythm(clip: Clip, true_onsets_s: np.ndarray, onsets: np.ndarray, beats: np.ndarray) -> dict:
    """Return the scores RHYTHM of onset and beat times, against true onsets and known beats."""
    return {
        "onset_f": onset_f(onsets, true_onsets_s),
        **beat_scores(beats, clip.beats_s),
        "align": beat_align(clip.rests_s, beats),
        "align_back": beat_align(beats, clip.rests_s) if len(beats) else 0.0,
    }


def measure(
    clips: list[Clip], true: list[Heard], heard: list[Heard], embedding: Embedding
) -> dict[str, np.ndarray]:
    """Return scores per clip (S,): of the clip whole, or the mean of its four segments.

    Also `features` (S, 4, D), `segment codes` (S, 4, L), `covers` and `hits` (S, 4).
    """
    rows = []
    for clip, right, ours in zip(clips, true, heard, strict=True):
        row = rhythm(clip, right.onsets_s, ours.onsets_s, ours.beats_s)
        times = zip(ours.segment_onsets_s, right.segment_onsets_s, strict=True)
        seconds = [onset_scores(a, b, SEGMENT_S) for a, b in times]
        times = zip(ours.loris_onsets_s, right.loris_onsets_s, strict=True)
        later = [bin_scores(a, b, SEGMENT_S) for a, b in times]
        row["covers"], row["hits"] = ([s[name] for s in seconds] for name in ("cover", "hit"))
        row["cover"], row["hit"] = np.nanmean(row["covers"]), np.nanmean(row["hits"])
        row |= {name: np.mean([s[name] for s in later]) for name in later[0]}
        row["kl"] = paired_kl(right.features, ours.features).mean()
        row["codes"] = code_accuracy(ours.codes, right.codes).mean()
        row["features"], row["segment codes"] = ours.features, ours.codes
        rows.append(row)
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    found["genre"] = genres(clips, true, found["features"], embedding)
    return found


def genres(
    clips: list[Clip], true: list[Heard], features: np.ndarray, embedding: Embedding
) -> np.ndarray:
    """Return each clip's share of segments (S,) that find their dance's genre in other songs."""
    _, each, width = features.shape
    own = [clip.song.song_id for clip in clips for _ in range(each)]
    names = [clip.song.genre for clip in clips for _ in range(each)]
    database = Database(
        np.concatenate([of.features for of in true]), tuple(names), tuple(own),
        SEGMENT_S * SAMPLE_RATE_HZ, embedding.name,
    )  # fmt: skip
    queries = features.reshape(-1, width)
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
        "perplexity": lambda at: perplexity(scores["segment codes"][at], codec.level("high").size),
    }
    return {n: asdict(interval(statistics[n], groups, draws=100, at_least=0.0)) for n in SETS}


def course(
    clips: list[Clip],
    true: list[Heard],
    steps: Iterable[int],
    play: Callable[[Clip, int], np.ndarray],
) -> dict[str, list[dict[str, float]]]:
    """Return each rhythm score with its interval at each step of getting worse."""
    songs = [clip.song.song_id for clip in clips]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in RHYTHM}
    for step in steps:
        rows = []
        for clip, right in zip(clips, true, strict=True):
            audio = play(clip, step)
            rows.append(rhythm(clip, right.onsets_s, onsets_s(audio), beats_s(audio)))
        for name in RHYTHM:
            at = asdict(mean_interval(np.array([row[name] for row in rows]), songs))
            found[name].append({"step": step, **at})
    return found


def flags(true: list[Heard], clicks: dict[str, np.ndarray]) -> dict[str, float]:
    """Return how the published measure saturates on 2 s segments, and what `clicks` scored."""
    set_ = np.array([with_onsets(s, SEGMENT_S) for of in true for s in of.segment_onsets_s])
    covers, hits = clicks["covers"], clicks["hits"]
    return {
        "segments": len(set_),
        "both_flags": float(set_.all(1).mean()),
        "one_flag": float((set_.sum(1) == 1).mean()),
        "no_flag": float((~set_.any(1)).mean()),
        "metronome_full_marks": float(((covers >= 1) & (hits == 1)).mean()),
        "metronome_cover_above_1": float((covers > 1).mean()),
        "metronome_mean_cover": float(np.nanmean(covers)),
        "metronome_mean_hit": float(np.nanmean(hits)),
    }


def denoising(
    clips: list[Clip],
    music: dict[str, list[np.ndarray]],
    true: list[Heard],
    embedding: Embedding,
    codec: Codec,
) -> dict[str, dict[str, float]]:
    """Return, for some versions, the share of energy taken out and the scores afterwards."""
    found = {}
    for name in (TRUTH, "through the codec, high"):
        for way, stationary in ((FOLLOWING, False), (STATIONARY, True)):
            clean = [denoise(audio, stationary) for audio in music[name]]
            heard = [listen(audio, embedding, codec) for audio in clean]
            scores = measure(clips, true, heard, embedding)
            share = [removed_share(a, b) for a, b in zip(music[name], clean, strict=True)]
            told = {n: float(np.nanmean(scores[n])) for n in (*RHYTHM, *SEGMENTS)}
            found[f"{name}; {way}"] = {"removed_share": float(np.mean(share)), **told}
    return found


def tracker_late_ms(clips: list[Clip], true: list[Heard]) -> float:
    """Return how much later than the true beats librosa's are: the median of those within 70 ms."""
    late = [
        beat - clip.beats_s[np.abs(clip.beats_s - beat).argmin()]
        for clip, heard in zip(clips, true, strict=True)
        for beat in heard.beats_s
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


if __name__ == "__main__":
    print_anything()
    main()
