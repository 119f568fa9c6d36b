"""Families of generators, which map dance features to codes of music."""
