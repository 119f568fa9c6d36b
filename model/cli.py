"""The `model` command. Heavy imports wait inside the commands: `--help` answers at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model.contract.exit_codes import CODES, UsageError, exits
from model.contract.terminal import add_version, print_anything

if TYPE_CHECKING:
    from model.contract.dataset import Dataset


PACKAGES = ("torch", "numpy", "librosa", "soundfile", "webdataset", "fsspec")
"""What results depend on, for `--version`."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with one of `exits.CODES`."""
    print_anything()
    arguments = parser().parse_args(argv)
    # Threads that spin while they wait slow a step tenfold where other work has the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with exits(getattr(arguments, "lower", "free some")):
        raise SystemExit(arguments.run(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the command line of `model`."""
    top = argparse.ArgumentParser(
        prog="model", description="Train D2M-GAN on shards and generate music for dance.",
        epilog=CODES,
    )  # fmt: skip
    add_version(top, PACKAGES)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_generate(commands)
    _add_evaluate(commands)
    _add_info(commands)
    _add_import_released(commands)
    _add_train_codec(commands)
    _add_finetune_synthesizer(commands)
    _add_mos(commands)
    return top


def _add_train(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("train", help="train the generator on a shard folder")
    sub.add_argument("--shards", type=to_location, help="folder (or address) with dataset.json")
    sub.add_argument("--level", choices=["high", "low"], help="of the codes (default high)")
    sub.add_argument("--preset", default="paper", choices=["paper", "code", "tiny"])
    sub.add_argument("--config", type=Path, help="YAML file of settings, over the preset")
    sub.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
        help="one setting, over the file; may be repeated",
    )  # fmt: skip
    sub.add_argument("--out", type=Path, help="the run's folder (default runs/DATASET-LEVEL)")
    sub.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    sub.add_argument("--codec", help="demo, jukebox-5b or PATH (default: the codes' own)")
    sub.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    sub.set_defaults(run=_train, lower="lower batch_size or val_segments (--set KEY=VALUE)")


def _add_generate(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("generate", help="music for a video, or for a split of shards")
    sub.add_argument("--run", dest="run_folder", type=Path, required=True)
    what = sub.add_mutually_exclusive_group(required=True)
    what.add_argument("--video", type=Path, help="any video; its features are made as in training")
    what.add_argument("--shards", type=to_location)
    sub.add_argument("--split", default="test", help="with --shards (default test)")
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument("--checkpoint", default="last", choices=["last", "best"])
    sub.add_argument("--codec", help="demo, jukebox-5b or PATH (default: the run's own)")
    sub.add_argument("--genre", default="", help="for a run with the genre as an input: BR, PO, …")
    sub.add_argument("--seed", type=int, default=0, help="of the noise, where the run uses any")
    sub.add_argument(
        "--denoise", action="store_true", help="spectral gating by noisereduce, as the paper does"
    )
    sub.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    sub.set_defaults(run=_generate, lower="take shorter videos, or --device cpu")


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    from model.evaluate import command

    sub = commands.add_parser("evaluate", help="score a run beside controls, or print all runs")
    command.add_arguments(sub, to_location)
    sub.set_defaults(
        run=lambda arguments: command.run(arguments, _device),
        lower="take a split of shorter videos, or --device cpu",
    )


def _add_info(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("info", help="what a run was trained with, and how far it is")
    sub.add_argument("--run", dest="run_folder", type=Path, required=True)
    sub.add_argument("--checkpoint", default="last", choices=["last", "best"])
    sub.set_defaults(run=_info)


def _add_import_released(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("import-released", help="make a run of the authors' released weights")
    sub.add_argument(
        "--shards", type=to_location, required=True, help="the data set to use them on"
    )
    sub.add_argument("--level", choices=["high", "low"], help="of the codes (default high)")
    sub.add_argument("--motion-encoder", type=Path, help="mencoder.pt (none with use_motion=false)")
    sub.add_argument("--generator", type=Path, required=True, help="netG.pt")
    sub.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
        help="over the preset `code`, e.g. use_genre=false for TikTok",
    )  # fmt: skip
    sub.add_argument("--codec", help="demo, jukebox-5b or PATH (default: the codes' own)")
    sub.add_argument("--out", type=Path, required=True, help="the run's folder")
    sub.set_defaults(run=_import_released)


def _add_train_codec(commands: argparse._SubParsersAction) -> None:
    from model.codecs.jukebox import command

    sub = commands.add_parser("train-codec", help="train a JukeBox VQ-VAE")
    command.add_arguments(sub, to_location)
    sub.set_defaults(run=command.run, lower=command.LOWER)


def _add_finetune_synthesizer(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("finetune-synthesizer", help="fine-tune a codec's decoder on shards")
    sub.add_argument(
        "--shards", type=to_location, required=True, help="with dataset.json and codes"
    )
    sub.add_argument("--codec", help="demo, jukebox-5b or PATH (default: the codes' own)")
    sub.add_argument("--level", choices=["high", "low"], help="of the decoder (default high)")
    sub.add_argument("--steps", type=int, help="in all (default 10000)")
    sub.add_argument("--out", type=Path, help="folder (default runs/DATASET-LEVEL-synthesizer)")
    sub.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    sub.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    sub.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    sub.set_defaults(
        run=_finetune_synthesizer, lower="lower batch_size or judged_samples (--set KEY=VALUE)"
    )


def _add_mos(commands: argparse._SubParsersAction) -> None:
    from model.listening import command

    command.add_arguments(commands.add_parser("mos", help="the listening test"), to_location)


def _train(arguments: argparse.Namespace) -> int:
    from model.contract.dataset import load_dataset
    from model.families.d2m_gan.config import load_config

    if arguments.shards is None:
        raise UsageError(
            "no data: give --shards DIR, a folder made by `pipeline build` and "
            "`pipeline extract-codes`, e.g. model train --shards shards/synthetic --preset tiny"
        )
    settings = _settings(arguments, "level")
    config = load_config(arguments.preset, arguments.config, settings)
    dataset = load_dataset(arguments.shards)

    from model.runtime.distributed import PeerFailed, launched
    from model.runtime.signals import Interrupted
    from model.training.loop import train

    first = not launched() or os.environ["RANK"] == "0"
    run = arguments.out or Path("runs") / f"{dataset.name}-{config.level}"
    device = _device(arguments.device)
    try:
        train(arguments.shards, run, config, arguments.codec, arguments.resume, device)
    except PeerFailed as gone:
        if str(gone):
            print(f"{run}: {gone}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        if first:
            print(f"{run}: {stop}", file=sys.stderr)
        return 130
    if first:
        print(f"{run}: done; next: {_generate_command(run, arguments.shards, dataset)}")
    return 0


def _finetune_synthesizer(arguments: argparse.Namespace) -> int:
    from model.contract.dataset import load_dataset
    from model.runtime.settings import load
    from model.training.finetune_config import SynthesizerConfig

    config = load(SynthesizerConfig(), _settings(arguments, "level", "steps"))
    dataset = load_dataset(arguments.shards)
    run = arguments.out or Path("runs") / f"{dataset.name}-{config.level}-synthesizer"

    from model.runtime.signals import Interrupted
    from model.training.finetune_decoder import CODEC, finetune

    device = _device(arguments.device)
    try:
        state = finetune(
            arguments.shards, run, config, arguments.codec, arguments.resume, device
        )  # fmt: skip
    except Interrupted as stop:
        print(f"{run}: {stop}", file=sys.stderr)
        return 130
    if not (run / CODEC).is_file():
        raise ValueError(
            f"{run}: no codec written: in {state.step} steps the mel distance on val never fell "
            f"below the {state.first_mel:.4f} before; take more --steps, or other learning rates"
        )
    if dataset.segments("val"):
        print(f"mel distance on val: {state.first_mel:.4f} before, {state.best_mel:.4f} after")
    following = _generate_command("RUN", arguments.shards, dataset)
    print(f"{run / CODEC}: done; next: {following} --codec {run / CODEC}")
    return 0


def _generate(arguments: argparse.Namespace) -> int:
    import torch

    from model.generation.generate import check_genre, load_run

    if arguments.denoise:
        from model.generation.denoise import check_available

        check_available()
    trained = load_run(
        arguments.run_folder,
        f"{arguments.checkpoint}.pt",
        arguments.codec,
        _device(arguments.device),
    )
    check_genre(trained, arguments.genre, arguments.video is not None)
    torch.manual_seed(arguments.seed)
    from_what = _generate_from_shards if arguments.video is None else _generate_for_video
    code = from_what(arguments, trained)
    print(f"written: {arguments.out} (generated.json lists the pieces)")
    return code


def _generate_for_video(arguments: argparse.Namespace, trained) -> int:
    import tempfile

    from model.contract.dataset import load_dataset
    from model.generation.generate import read_pieces, write_pieces
    from model.generation.pipeline_process import build_features, mux

    with tempfile.TemporaryDirectory(prefix="dance2music-") as folder:
        root = Path(folder) / "shards"
        build = dict(trained.dataset.build)
        for name in ("motion", "visual"):
            if getattr(trained.generator, name) is None:
                build[name] = "none"
        build_features(arguments.video, build, root)
        dataset = load_dataset(root)
        splits = [split for split in dataset.splits if dataset.segments(split)]
        genre = arguments.genre
        pieces = (p for s in splits for p in read_pieces(root, trained, dataset, s, genre))
        written = write_pieces(trained, pieces, arguments.out, dataset.untrained, arguments.denoise)
    for piece, wav in written:
        mux(arguments.video, wav, piece.start_s, wav.with_suffix(".mp4"))
        print(wav.with_suffix(".mp4"))
    return 0


def _generate_from_shards(arguments: argparse.Namespace, trained) -> int:
    from model.contract.dataset import load_dataset
    from model.generation.generate import read_pieces, write_pieces
    from model.generation.pipeline_process import find_video, has_pipeline, mux

    dataset = load_dataset(arguments.shards)
    pieces = read_pieces(arguments.shards, trained, dataset, arguments.split, arguments.genre)
    written = write_pieces(trained, pieces, arguments.out, dataset.untrained, arguments.denoise)
    videos = [(wav, piece, find_video(dataset.source, piece.source)) for piece, wav in written]
    if not has_pipeline():
        print("wav only: pipeline and av, the packages that write mp4, are not both installed here")
        return 0
    failed = 0
    for wav, piece, video in videos:
        if video is None:
            continue
        try:
            out = wav.with_suffix(".mp4")
            mux(video, wav, piece.start_s, out, piece.stop_s, piece.box_px)
            print(wav.with_suffix(".mp4"))
        except ValueError as error:
            failed += 1
            print(f"error: {wav.with_suffix('.mp4')}: {error}", file=sys.stderr)
    if absent := sum(video is None for _, _, video in videos):
        print(f"wav only for {absent} of {len(videos)}: their videos are not where they came from")
    if failed:
        print(
            f"error: {failed} of {len(videos)} mp4 failed; their wav files are whole",
            file=sys.stderr,
        )
    return 3 if failed else 0


def _info(arguments: argparse.Namespace) -> int:
    from model.runtime.checkpoint import read_checkpoint
    from model.runtime.run_log import labels, read_metrics

    content = read_checkpoint(arguments.run_folder / f"{arguments.checkpoint}.pt")
    dataset, codec = content["dataset"], content["codec"]
    weights = [v for k, v in content["network"].items() if "standardise" not in k]
    most = content["config"]["max_steps"]
    print(f"run        {arguments.run_folder}, step {content['step']} of {most}")
    print(f"data set   {dataset['name']}, windows of {dataset['window_s']} s")
    for suffix, spec in sorted(dataset["fields"].items()):
        print(f"           {suffix}: {spec['dtype']} {spec['shape']}")
    print(f"codec      {codec['id']} ({codec['source']})")
    print(f"generator  {sum(w.numel() for w in weights) / 1e6:.2f} M parameters")
    for key, value in content["config"].items():
        print(f"config     {key}: {value}")
    for row in read_metrics(arguments.run_folder)[-2:]:
        print("metrics    " + "  ".join(f"{k} {v:.4g}" for k, v in row.items()))
    for label in labels(codec["note"], dataset["untrained"]):
        print(f"note: {label}")
    return 0


def _import_released(arguments: argparse.Namespace) -> int:
    from model.contract.dataset import load_dataset
    from model.families.d2m_gan.config import load_config
    from model.training.import_released import import_released

    run = arguments.out
    config = load_config("code", None, _settings(arguments, "level"))
    weights = (arguments.motion_encoder, arguments.generator)
    import_released(arguments.shards, run, config, *weights, arguments.codec)
    dataset = load_dataset(arguments.shards)
    print(f"{run}: next: {_generate_command(run, arguments.shards, dataset)}")
    return 0


def _settings(arguments: argparse.Namespace, *names: str) -> list[str]:
    """Return --set's settings and the options that stand for one, such as --level.

    Raises UsageError where the two give one setting different values.
    """
    settings = list(arguments.settings)
    for name in names:
        if (value := getattr(arguments, name)) is None:
            continue
        for key, _, text in (setting.partition("=") for setting in arguments.settings):
            if key.strip() == name and text.strip() != str(value):
                raise UsageError(f"--{name} {value} and --set {key}={text}: give one of them")
        settings.append(f"{name}={value}")
    return settings


def _generate_command(run: object, shards: object, dataset: Dataset) -> str:
    """Return the command that makes music of a data set's songs, unseen ones where there are."""
    return f"model generate --run {run} --shards {shards} --split {dataset.last_split} --out DIR"


def to_location(text: str):
    """Return a folder, or the address of one."""
    from model.contract.storage import to_location

    return to_location(text)


def _device(name: str):
    """Return the torch device; "auto" is the GPU where there is one."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no GPU here")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
