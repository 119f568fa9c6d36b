"""The setting `precision` of all trainers, and how a run decides what `auto` is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from model.contract.precision import AUTO, BF16, FLOAT32, PRECISIONS, usual
from model.runtime.settings import Settings, setting, with_todays_names

S = TypeVar("S", bound=Settings)


def precision() -> Any:
    """Declare the setting `precision` of a trainer whose settings are `Precise`.

    `bf16`: run the networks in bfloat16 autocast, with losses and codes in float32. `auto`: `bf16`
    where the hardware is faster with it, else `float32`; a run is begun with one of the two, and
    keeps it when it is resumed.
    """
    return setting(
        AUTO,
        choices=PRECISIONS,
        earlier_names=("bf16",),
        earlier_values={True: BF16, False: FLOAT32},
    )


class Precise:
    """Settings with the setting `precision`."""

    precision: str

    @property
    def bf16(self) -> bool:
        """Whether to compute in bfloat16; an `auto` that no run has decided is float32."""
        return self.precision == BF16


def resolved(config: S, device: str, least: Callable[[int], int] = int) -> S:
    """Return the settings of a new run on `cpu` or `cuda`, with `auto` decided by the hardware.

    `least` returns the minimum of a value over all processes that train: `auto` is `bf16` only if
    that is faster for each of them.
    """
    if getattr(config, "precision", "") != AUTO:
        return config
    fast = least(int(usual(device) == BF16))
    return _in(config, BF16 if fast else FLOAT32)


def as_begun(config: S, saved: Mapping[str, Any], source: str) -> S:
    """Return the settings of a resumed run: `auto` is what the run was begun with, on any hardware.

    `saved` are the settings in its checkpoint. A run that has none, from before this setting
    existed, is in float32, as an undecided `auto` is.
    """
    if getattr(config, "precision", "") != AUTO:
        return config
    begun = with_todays_names(saved, type(config), source)
    return _in(config, begun.get("precision", AUTO))


def _in(config: S, precision: str) -> S:
    change: dict[str, Any] = {"precision": precision}  # not every Settings has it
    return replace(config, **change)
