"""The JukeBox VQ-VAE."""
