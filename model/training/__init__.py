"""Trainers of generators and of the codec's decoder: loops, states and validation."""
