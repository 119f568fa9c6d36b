"""Published weights: which there are, and how they are fetched."""
