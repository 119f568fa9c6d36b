"""Generation of music for a video, or for a split of shards."""
