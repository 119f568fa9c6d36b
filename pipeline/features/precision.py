"""Resolve `--precision auto` once, before the keys of results are made, for all features."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.contract.precision import AUTO, BF16, FLOAT32, fast_bf16, usual
from pipeline.features.base import Feature
from pipeline.features.runtime import TORCH, device_of


def with_precision(features: Sequence[Feature], out: Path) -> tuple[Feature, ...]:
    """Return the features with `auto` resolved: all of a data set get the same.

    It is what the data set in `out` was made with, so that its results are found again on any
    machine, or what this machine's hardware is faster with. A line says so if that is bf16.
    """
    if not any(_asks(feature) for feature in features):
        return tuple(features)
    found = FLOAT32
    networks = [each for each in features if each.on and "precision" in each.record()]
    if networks:
        before = _recorded(out)
        found = before or usual(device_of(getattr(networks[0], "runtime", TORCH)))
        if found == BF16:
            why = f"{out} was begun with it" if before else "this machine is faster with it"
            print(f"precision: bf16 ({why})")
    given: dict[str, Any] = {"precision": found}
    return tuple(replace(each, **given) if _asks(each) else each for each in features)


def node_check(asked: Sequence[Feature], ready: Sequence[Feature]) -> Callable[[bool], str] | None:
    """Return the check of a cluster's nodes, if `auto` chose a precision that not all may have."""
    chosen = any(
        _asks(before) and after.on and after.record().get("precision") == BF16
        for before, after in zip(asked, ready, strict=True)
    )
    return lacking_bf16 if chosen else None


def lacking_bf16(gpu: bool) -> str:
    """Return what this node lacks to compute fast in bf16, with advice; "" if nothing.

    `gpu` tells whether the node computes on a GPU.
    """
    if fast_bf16("cuda" if gpu else "cpu"):
        return ""
    what = "its GPU has no bf16" if gpu else "its CPU has no AMX"
    return (
        f"node {platform.node()}: {what}, and --precision auto chose bf16 on the machine that "
        "started the build; give --precision float32, or bf16 to compute slowly there, or take the "
        "node out of the cluster"
    )


def _asks(feature: Feature) -> bool:
    return getattr(feature, "precision", "") == AUTO


def _recorded(out: Path) -> str:
    """Return the precision of the arrays that `out` already holds; "" if there are none."""
    from model.contract.dataset import load_dataset

    if not (out / "dataset.json").is_file():
        return ""
    specs = load_dataset(out).fields.values()
    return next((spec["precision"] for spec in specs if "precision" in spec), "")
