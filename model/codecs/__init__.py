"""Codecs, which encode music as discrete codes and decode it."""
