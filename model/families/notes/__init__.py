"""Families that make music as notes: what they share."""
