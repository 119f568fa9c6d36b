"""Visual features: the picture of a segment as numbers."""
