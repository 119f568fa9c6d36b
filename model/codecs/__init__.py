"""Codecs that turn music into codes and back."""
