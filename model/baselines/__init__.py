"""Baselines, with which generated music is compared."""
