"""A pose estimator: one joint, the middle of the crop."""

import numpy as np


class Centre:
    """A pose estimator: one joint, the middle of the crop."""

    WEIGHTS, INPUT = "", "crops"
    names, input_px, batch = ("nose",), (48, 64), 4

    def __init__(self, weights, precision):
        pass

    def check(self):
        pass

    def weights_id(self):
        return ""

    def setup(self):
        pass

    def __call__(self, crops):
        return np.tile(np.float32([24, 32, 1]), (len(crops), 1, 1))
