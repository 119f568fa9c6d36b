"""What the trainers of codecs share: music, losses, codebooks by moving averages, pictures."""
