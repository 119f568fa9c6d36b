"""Measures of music, each a function of arrays: rhythm, distance, genre, codes."""
