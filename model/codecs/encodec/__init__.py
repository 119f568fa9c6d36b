"""EnCodec (Défossez et al. 2022), the codec of MusicGen: several codebooks for each moment."""
