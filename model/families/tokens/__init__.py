"""Token models: a transformer draws the codec's codes one after another, level by level."""
