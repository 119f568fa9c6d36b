"""D2M-GAN and the JukeBox codec: train on shards, generate music for a video, evaluate."""

from model.contract.caches import settle

settle()  # librosa must not be imported before
