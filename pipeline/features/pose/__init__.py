"""Motion from the video: detect the dancers, estimate their poses, track the main dancer."""
