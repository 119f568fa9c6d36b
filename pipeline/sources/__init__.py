"""Data sets, each a list of inputs."""
