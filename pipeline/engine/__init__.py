"""Run stages over many inputs, in this process or on Ray, and keep their results."""
