"""Turn dance videos into WebDataset shards: decode, extract features, report every input."""

import model.contract.segment  # noqa: F401  # importing `model` sets cache folders before librosa
