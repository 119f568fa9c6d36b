"""D2M-GAN (Zhu et al., ECCV 2022): networks, losses, settings, one training step."""
