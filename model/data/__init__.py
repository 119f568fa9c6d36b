"""Read shards, and make training batches and evaluation clips from them."""
