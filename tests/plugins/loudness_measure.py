"""A measure: how far the loudness is from that of the true music, in dB."""

import math

import numpy as np

from model.measures.base import Measure


def apart_db(generated, truth):
    """Return |difference of levels| in dB of two sounds (N,); NaN where one of them is silent."""
    levels = [float(np.square(sound, dtype=np.float64).mean()) for sound in (generated, truth)]
    return abs(10 * math.log10(levels[0] / levels[1])) if min(levels) > 0 else math.nan


loudness = Measure("loudness, dB apart", "clip", digits=1, lower_is_better=True, score=apart_db)
