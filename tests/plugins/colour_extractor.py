"""A visual extractor: the mean colour of single frames."""

import numpy as np


class Colours:
    """A visual extractor: the mean colour of one frame."""

    DIM, SHORT_SIDE_PX, CROP_PX, VIDEOS, WEIGHTS = 3, 32, 32, 4, "mean"

    def __init__(self, weights, precision):
        self.weights = weights

    def clip_frames(self, window_s, windows):
        return 1

    def frame_times(self, start_s, window_s, windows):
        return [start_s + window_s * (2 * i + 1) / (2 * windows) for i in range(windows)]

    def check(self, window_s, windows):
        if self.weights not in ("mean", "untrained"):
            raise ValueError(f"--weights {self.weights}: colours has mean alone")

    def weights_id(self):
        return self.weights

    def setup(self):
        pass

    def __call__(self, clips):
        return clips.mean((1, 2, 3), dtype=np.float32)
