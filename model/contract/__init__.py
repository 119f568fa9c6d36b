"""What the pipeline and the model agree on: segments, data sets, shards, files. No torch here."""
