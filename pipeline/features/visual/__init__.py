"""Visual features: vectors that describe the picture of a segment."""
