"""Read untrusted video files on one common clock, and write mp4 files."""
