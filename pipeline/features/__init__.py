"""The data computed for each segment: sound, visual features, motion, codes."""
