"""Foley Music: a graph network reads the joints, and a decoder writes MIDI events."""
