"""The trainers' loops, states and validation."""
