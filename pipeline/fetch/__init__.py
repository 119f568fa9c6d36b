"""Download data sets from their publishers: every file that is listed ends as here, or failed."""
