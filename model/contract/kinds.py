"""What `model` and `pipeline extract-codes` choose by name: each kind's own things, and plugins'.

Here so that `--help` can list them without importing any; what each kind must be is said in the
`base` module of its room.
"""

from __future__ import annotations

from model.contract.registry import Registry

D2M_GAN = "d2m-gan"

CODECS = Registry(
    "codecs",
    "codec",
    {
        "demo": "model.codecs.jukebox.codec:load_jukebox",
        "jukebox-5b": "model.codecs.jukebox.codec:load_jukebox",
    },
)
"""Loaders of codecs: `model.codecs.base`."""

FAMILIES = Registry("families", "family", {D2M_GAN: "model.families.d2m_gan.family:D2MGAN"})
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
        "shuffled-pairing": "model.baselines.references:shuffled_pairing",
    },
)
"""What generated music is compared with: `model.baselines.base`. The project's own need no training
and stand beside every run, in this order."""

MEASURES = Registry("measures", "measure")
"""Measures of other packages: `model.measures.base`. The project's own are always computed."""
