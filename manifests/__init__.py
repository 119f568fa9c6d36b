"""Data about the data sets: official splits. No code lives here."""
