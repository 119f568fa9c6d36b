"""Shard folders: write, verify and publish them."""
