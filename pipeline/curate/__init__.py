"""Cut compilations into clips and say which are worth dancing to: scores first, then decisions."""
