"""Checks before a run starts or resumes: its folder, and the settings and data it started with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.runtime.checkpoint import differences
from model.runtime.settings import Settings, may_change_on_resume, to_dict, with_todays_names

BEGIN_ANEW = "start a new run: without --resume, with another --out or after deleting that folder"


class RunExists(FileExistsError, ValueError):
    """The folder already holds a run, and --resume was not given."""


class NothingToResume(FileNotFoundError, ValueError):
    """The folder holds no run that could be resumed."""


def check_begun(checkpoint: Path, resume: bool) -> None:
    """Raise RunExists for a checkpoint without `resume`, NothingToResume for the opposite case."""
    if checkpoint.exists() and not resume:
        raise RunExists(
            f"{checkpoint.parent}: holds a run already; go on with --resume, or choose another "
            "--out"
        )
    if resume and not checkpoint.exists():
        raise NothingToResume(f"{checkpoint}: not found, nothing to resume; leave out --resume")


def other_settings(saved: Mapping[str, Any], config: Settings, source: str) -> str:
    """Return how a checkpoint's settings differ from `config`; "" if the run may resume with it.

    Renamed settings are compared under their present names; one that did not exist when the run
    started counts as its default. Settings that may change on resume are not compared. Raises
    ValueError, with `source`, for a setting given under both names.
    """
    free = may_change_on_resume(type(config))

    def fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
        return {k: v for k, v in plain.items() if k not in free}

    before = {**to_dict(type(config)()), **with_todays_names(saved, type(config), source)}
    return differences(fixed(before), fixed(to_dict(config)))


def refuse_other(run: Path, found: Mapping[str, str], give: str) -> None:
    """Raise ValueError for the first difference from what the run started with.

    `found` maps a subject ("other data") to a description of the difference, "" if there is none.
    `give` names the options that the user should correct.
    """
    for what, message in found.items():
        if message:
            raise ValueError(
                f"{run}: cannot resume with {what}: {message}; give the same {give} as the run "
                f"started with, or {BEGIN_ANEW}"
            )
