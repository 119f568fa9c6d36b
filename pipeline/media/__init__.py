"""Read strangers' video files on one clock, and write mp4 files."""
