"""Dance2Music: a note every 0.2 s, so that the music repeats where the dance does."""
