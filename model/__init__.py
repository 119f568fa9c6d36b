"""D2M-GAN and the JukeBox codec: train on shards, generate music for a video, evaluate."""
