"""A synthetic dance-music benchmark with known beats, joints, genres and songs."""
