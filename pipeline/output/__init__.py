"""Shard folders: write, verify, publish."""
