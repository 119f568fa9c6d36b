"""Measures of music, each a function of arrays: rhythm, pitch, distance, genre."""
