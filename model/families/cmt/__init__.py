"""CMT: music as compound words, trained on notes alone and controlled by a dance."""
