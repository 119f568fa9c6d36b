"""The command `model info`: prints settings, data and progress of a run."""

from __future__ import annotations

import argparse

from model.runtime.arguments import add_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `model info`."""
    add_run(parser)
    parser.add_argument("--checkpoint", default="last", choices=["last", "best"])
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the facts of a checkpoint, without building its model."""
    from model.runtime.exported import located, read_run
    from model.runtime.run_log import labels, read_metrics
    from model.training.state import SETS

    content = read_run(located(arguments.run_folder), f"{arguments.checkpoint}.pt")
    dataset, codec = content["dataset"], content["codec"]
    weights = [v for k, v in content.get("network", {}).items() if "standardise" not in k]
    most = content["config"].get("max_steps", "?")
    print(f"run        {arguments.run_folder}, step {content['step']} of {most}")
    print(f"family     {content['family']}")
    print(f"data set   {dataset['name']}, windows of {dataset['window_s']} s")
    for one in content.get("data", {}).get(SETS, ()):
        print(f"           {one['name']}, weight {one['weight']}")
    for suffix, spec in sorted(dataset["fields"].items()):
        print(f"           {suffix}: {spec['dtype']} {spec['shape']}")
    print(f"codec      {codec['id']} ({codec['source']})")
    print(f"generator  {sum(w.numel() for w in weights) / 1e6:.2f} M parameters")
    for key, value in content["config"].items():
        print(f"config     {key}: {value}")
    for row in read_metrics(arguments.run_folder)[-2:]:
        print("metrics    " + "  ".join(f"{k} {v:.4g}" for k, v in row.items()))
    for label in [content.get("note"), *labels(codec["note"], dataset["untrained"])]:
        if label:
            print(f"note: {label}")
    return 0
