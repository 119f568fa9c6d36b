"""The command `model baseline`: train one of the methods that the paper compares with, and play it.

A baseline is a family of generators that plays notes, so that every other command takes its run,
too: `model generate --run RUN --video dance.mp4`, `model evaluate --run RUN`, `model info`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from model.contract.kinds import NOTE_FAMILIES
from model.runtime.arguments import add_device, add_settings, add_shards

MUSIC = "music"
"""The folder in the run with the music for the split."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `model baseline`."""
    parser.add_argument("family", choices=NOTE_FAMILIES, metavar="NAME",
                        help=", ".join(NOTE_FAMILIES))  # fmt: skip
    add_shards(parser, help="a data set with motion and notes (pipeline notes)")
    parser.add_argument("--split", default="test", help="split to make music for (default: test)")
    parser.add_argument("--preset", help="preset of settings, such as tiny (default: the paper's)")
    parser.add_argument("--config", type=Path, help="YAML file of settings, overrides the preset")
    add_settings(parser, "one setting of training, overrides the file; may be repeated")
    parser.add_argument("--out", type=Path, help="the run's folder (default: runs/DATASET-NAME)")
    parser.add_argument("--resume", action="store_true",
                        help="continue from the run's last checkpoint")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the notes that are drawn")
    parser.add_argument("--soundfont", metavar="FILE",
                        help="sound font (.sf2) (default: that of pretty_midi)")  # fmt: skip
    add_device(parser)
    parser.set_defaults(run=run, level=None, codec=None, music=None)


def run(arguments: argparse.Namespace) -> int:
    """Train, then write the music of a split, as wav and MIDI, into the run's folder."""
    from model.contract.dataset import load_dataset
    from model.generation.generate import generate
    from model.generation.run import load_run
    from model.runtime.arguments import device_of
    from model.training import command

    name = load_dataset(arguments.shards).name
    arguments.out = arguments.out or Path("runs") / f"{name}-{arguments.family}"
    if code := command.run(arguments):
        return code
    trained = load_run(arguments.out, device=device_of(arguments.device))
    font = {"soundfont": arguments.soundfont} if arguments.soundfont else {}
    made = generate(
        trained, arguments.out / MUSIC, shards=arguments.shards, split=arguments.split,
        seed=arguments.seed, options=font,
    )  # fmt: skip
    print(
        f"{arguments.out / MUSIC}: the music of {len(made)} pieces; next: model evaluate --run "
        f"{arguments.out} --shards {arguments.shards}"
    )
    return 0
