"""What families share that play notes instead of drawing codes."""
