"""Masked models: a bidirectional transformer fills in masked codes, in any order and any place."""
