"""What is computed of a segment: sound, picture, motion, codes."""
