"""Families of generators: dance in, codes out."""
