"""Textual inversion: two words of a frozen text-to-music model, learnt from dances."""
