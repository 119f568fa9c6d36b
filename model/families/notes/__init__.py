"""Families that write notes, which a sound font then plays."""
