"""The notes of every segment's music: known, brought as MIDI, or transcribed from the sound."""
