"""What users of `model` and `pipeline extract-codes` choose by name: built-in parts and plugins.

These tables let `--help` list the names without importing the parts. The `base` module of each
folder defines the interface of its kind.
"""

from __future__ import annotations

from model.contract.registry import Registry

D2M_GAN = "d2m-gan"
MASKED = "masked"
INVERSION = "inversion"
"""The family of Li et al. 2024, whose table has scores of its own."""
NOTE_FAMILIES = ("dance2music", "dance2music-online", "foley", "cmt")
"""Families that play notes: what the paper compares with."""

CODECS = Registry(
    "codecs",
    "codec",
    {
        "demo": "model.codecs.jukebox.codec:load_jukebox",
        "jukebox-5b": "model.codecs.jukebox.codec:load_jukebox",
        "encodec-32khz": "model.codecs.encodec.codec:load_encodec",
        "encodec": "model.codecs.encodec.codec:load_encodec",
    },
)
"""Loaders of codecs: `model.codecs.base`."""

FAMILIES = Registry(
    "families",
    "family",
    {
        D2M_GAN: "model.families.d2m_gan.family:D2MGAN",
        "tokens": "model.families.tokens.family:Tokens",
        MASKED: "model.families.masked.family:Masked",
        INVERSION: "model.families.inversion.family:Inversion",
        "dance2music": "model.families.dance2music.family:Dance2Music",
        "dance2music-online": "model.families.dance2music.family:Dance2MusicOnline",
        "foley": "model.families.foley.family:Foley",
        "cmt": "model.families.cmt.family:Cmt",
    },
)
"""Families of generators: `model.families.base`."""

BASELINES = Registry(
    "baselines",
    "baseline",
    {
        "ground-truth": "model.baselines.references:ground_truth",
        "reconstruction": "model.baselines.references:reconstructions",
        "random-codes": "model.baselines.references:random_codes",
        "metronome": "model.baselines.references:metronomes",
        "nearest-dance": "model.baselines.references:nearest_dance",
        "retrieval": "model.baselines.retrieval:retrieval",
        "shuffled-pairing": "model.baselines.references:shuffled_pairing",
    },
)
"""What generated music is compared with: `model.baselines.base`. The built-in ones need no training
and are scored beside every run, in this order."""

MEASURES = Registry("measures", "measure")
"""Measures of plugins: `model.measures.base`. The built-in measures are always computed."""
