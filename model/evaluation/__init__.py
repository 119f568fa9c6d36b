"""Measures of generated music against the music that was danced to."""
