"""Turn dance videos into WebDataset shards: decode, extract features and codes, account for all."""
