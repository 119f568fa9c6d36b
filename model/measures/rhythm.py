"""Measures of beats and tempo on which a metronome scores low, and scores of bins with onsets.

Symbols: K times, in seconds; S segments. Beats are tracked by librosa (dynamic programming, Ellis
2007) or given. Scores of beats are mir_eval's (Davies, Degara & Plumbley 2009) on complete clips.
mir_eval usually leaves out the first five seconds, in which human annotators are still finding the
beat; this is not done here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ
from model.measures.beats import with_onsets

RHYTHM = ("onset_f", "beat_f", "cemgil", "tempo", "tempo_octave")

BEAT_WINDOW_S, CEMGIL_SIGMA_S = 0.07, 0.04
"""mir_eval's defaults."""

TEMPO_TOLERANCE = 0.04
"""As a fraction of the true tempo; from Gouyon et al. 2006."""
OCTAVES = (1.0, 2.0, 3.0, 1 / 2, 1 / 3)
"""Factors of the true tempo that the second measure of Gouyon et al. 2006 also accepts."""


@dataclass(frozen=True)
class Scale:
    """A length of the bins in which onsets are compared, and the names of the scores on it.

    Scores of two scales are never comparable: of the same music, longer bins have higher ones.
    `bins_per_s` is a whole number, so that an onset at the border of two bins is in the later one.
    `bcs` and `bhs` are scores of segments, the others of sets.
    """

    bins_per_s: int
    bcs: str
    bhs: str
    csd: str
    hsd: str
    f1: str

    def bins(self, samples: int) -> int:
        """Return the number of bins that begin in `samples` at 22 050 Hz; the last may be shorter.

        5.12 s have 26 bins of 0.2 s, of which the last lasts 0.12 s and counts as any other.
        """
        return -(-samples * self.bins_per_s // SAMPLE_RATE_HZ)


LORIS = Scale(1, "loris_cover", "loris_hit", "loris_csd", "loris_hsd", "loris_f1")
"""Bins of 1 s: Yu et al., Long-Term Rhythmic Video Soundtracker, ICML 2023."""
FIFTHS = Scale(5, "bcs_02", "bhs_02", "csd_02", "hsd_02", "f1_02")
"""Bins of 0.2 s: Li et al., Dance-to-Music Generation with Encoder-based Textual Inversion,
SIGGRAPH Asia 2024. Their own code of these scores is not published; the length is that of another
implementation, github.com/kmraven/AudioLDM-ControlNet, beat_score.py."""
SCALES = (LORIS, FIFTHS)


def beats_s(audio: np.ndarray) -> np.ndarray:
    """Return the beat times (K,) that librosa tracks in audio (N,) at 22 050 Hz; none in silence.

    Two seconds of audio have only three or four beats, so the tracker then depends on its prior of
    120 BPM. Give it longer pieces if possible.
    """
    import librosa

    return librosa.beat.beat_track(
        y=np.asarray(audio, np.float32), sr=SAMPLE_RATE_HZ, units="time", trim=False
    )[1]


def tempo_bpm(beats: np.ndarray) -> float:
    """Return 60 s / (mean interval of beats (K,) in seconds); NaN for fewer than two beats.

    Intervals that differ from the median by more than a fifth are left out: a tracker that skips
    one beat in fifteen has still found the tempo. librosa's own estimate is not used, because its
    resolution at 120 BPM is 5 BPM, more than the tolerance.
    """
    if len(beats) < 2:
        return math.nan
    apart = np.diff(np.asarray(beats, float))
    middle = np.median(apart)
    return float(60 / apart[np.abs(apart - middle) <= middle / 5].mean())


def beat_scores(generated_s: np.ndarray, truth_s: np.ndarray) -> dict[str, float]:
    """Return beat_f, cemgil, tempo and tempo_octave of beats (K,) against the true beats.

    beat_f: F-measure of beats matched within 70 ms. cemgil: a Gaussian (40 ms) of each true beat's
    distance to the nearest generated beat, summed and divided by the mean number of true and
    generated beats. tempo: 1 within 4 % of the true tempo (mir_eval's tempo detection), else 0.
    tempo_octave: the same, but also at twice, three times, half or a third of the true tempo.
    Without generated beats all are 0; with fewer than two true beats all are NaN.
    """
    import mir_eval

    names = [name for name in RHYTHM if name != "onset_f"]
    if len(truth_s) < 2:
        return dict.fromkeys(names, math.nan)
    if not len(generated_s):
        return dict.fromkeys(names, 0.0)
    truth_s, generated_s = np.asarray(truth_s, float), np.asarray(generated_s, float)
    found_bpm, true_bpm = tempo_bpm(generated_s), tempo_bpm(truth_s)
    return {
        "beat_f": float(mir_eval.beat.f_measure(truth_s, generated_s, BEAT_WINDOW_S)),
        "cemgil": float(mir_eval.beat.cemgil(truth_s, generated_s, CEMGIL_SIGMA_S)[0]),
        "tempo": tempo_accuracy(found_bpm, true_bpm),
        "tempo_octave": max(tempo_accuracy(found_bpm, true_bpm * factor) for factor in OCTAVES),
    }


def tempo_accuracy(found_bpm: float, true_bpm: float) -> float:
    """Return 1.0 if `found_bpm` is within 4 % of `true_bpm`, else 0.0 (also if it is NaN)."""
    import mir_eval

    if math.isnan(found_bpm):
        return 0.0
    # mir_eval expects two true tempi; the second one has weight 0.
    truth, found = np.array([true_bpm, 0.0]), np.array([found_bpm, found_bpm])
    return float(mir_eval.tempo.detection(truth, 1.0, found, TEMPO_TOLERANCE)[0])


def tempo_difference(generated_s: np.ndarray, truth_s: np.ndarray) -> float:
    """Return |tempo of generated − tempo of true beats (K,)| in BPM; NaN if either has none.

    Li et al. 2024 report such a difference, but not how they estimate the tempo. This estimator is
    our choice: `tempo_bpm` of the beats that librosa tracks. Half or double the tempo, a frequent
    answer of every tracker, is as far away as it is in BPM.
    """
    return abs(tempo_bpm(generated_s) - tempo_bpm(truth_s))


def spread(values: Sequence[float] | np.ndarray) -> float:
    """Return the standard deviation over clips, with n - 1: CSD for cover, HSD for hit.

    LORIS reports these (Yu et al., Long-Term Rhythmic Video Soundtracker, ICML 2023). Clips without
    a score (NaN) are left out. The result is NaN for fewer than two clips.
    """
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    return float(known.std(ddof=1)) if len(known) > 1 else math.nan


def loris_onsets_s(audio: np.ndarray) -> np.ndarray:
    """Return the onset times (K,) that LORIS's tool finds in audio (N,) at 22 050 Hz.

    A peak must exceed three frames on each side; in the tool of the D2M-GAN authors, it is one
    frame. Source: github.com/OpenGVLab/LORIS, beats_scores.py.
    """
    import librosa

    return librosa.onset.onset_detect(
        y=np.asarray(audio, np.float32),
        sr=SAMPLE_RATE_HZ,
        wait=1,
        delta=0.2,
        pre_avg=3,
        post_avg=3,
        pre_max=3,
        post_max=3,
        units="time",
    )


def bin_scores(
    generated_s: np.ndarray, truth_s: np.ndarray, bins: int, scale: Scale = LORIS
) -> dict[str, float]:
    """Return the cover and hit of onset times (K,) in a segment of `bins`, under a scale's names.

    Let g and t be the sets of bins that have an onset, generated and true. Then
    cover = |g and t| / |g| and hit = |g and t| / |t|; a score is 0 if its denominator is 0. So
    cover is a precision here, at most 1, and hit is a recall.
    """
    generated, truth = (with_onsets(x, bins, scale.bins_per_s) for x in (generated_s, truth_s))
    both = int((generated & truth).sum())
    return {
        scale.bcs: both / max(1, int(generated.sum())),
        scale.bhs: both / max(1, int(truth.sum())),
    }


def f1_of_means(cover: np.ndarray, hit: np.ndarray) -> float:
    """Return 2 BCS BHS / (BCS + BHS) of the *means* of cover and hit (S,), as in LORIS's tool.

    It is 0 if both means are 0.
    """
    bcs, bhs = float(np.mean(cover)), float(np.mean(hit))
    return 2 * bcs * bhs / (bcs + bhs) if bcs + bhs else 0.0
