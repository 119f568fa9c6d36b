"""Music for a video, or for a split of shards."""
