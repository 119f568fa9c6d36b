"""Small text-to-music models in MusicGen's architecture, trained on captioned music of one's own.

Symbols: B batch, Q codebooks, L code steps of a song, T those of a window, K entries of a codebook,
N samples.
"""
