"""Cut compilations into clips and select the usable ones: first scores, then decisions."""
