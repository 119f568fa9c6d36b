"""Motion from the picture: find the dancers, pose them, follow the main one."""
