"""Turn dance videos into WebDataset shards: decode, extract features and codes, account for all."""

import model.contract.segment  # noqa: F401  # with `model`, caches find their place before librosa comes
