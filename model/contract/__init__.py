"""What `pipeline` and `model` share: segments, data sets, shards, files. Needs no torch."""
