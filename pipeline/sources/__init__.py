"""Data sets: each source lists the inputs of one."""
