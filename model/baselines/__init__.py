"""What generated music is compared with."""
