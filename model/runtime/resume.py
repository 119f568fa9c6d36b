"""Whether a run may begin or go on: what its folder holds, and what it was begun with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.runtime.checkpoint import differences
from model.runtime.settings import Settings, may_change_on_resume, to_dict, with_todays_names

BEGIN_ANEW = "begin anew: without --resume, with another --out or after deleting that folder"


class RunExists(FileExistsError, ValueError):
    """A folder holds a run already, and was not asked to go on."""


class NothingToResume(FileNotFoundError, ValueError):
    """A folder holds no run to go on with."""


def check_begun(checkpoint: Path, resume: bool) -> None:
    """Raise RunExists or NothingToResume unless the run's checkpoint exists when it has to."""
    if checkpoint.exists() and not resume:
        raise RunExists(
            f"{checkpoint.parent}: holds a run already; go on with --resume, or choose another "
            "--out"
        )
    if resume and not checkpoint.exists():
        raise NothingToResume(f"{checkpoint}: not found, nothing to resume; leave out --resume")


def other_settings(saved: Mapping[str, Any], config: Settings, source: str) -> str:
    """Return how a checkpoint's settings differ from `config`, "" where a run may go on with it.

    Settings that were renamed are compared by the name they have today, and those that may change
    on resume are not. Raises ValueError, naming `source`, for settings given by both names.
    """
    free = may_change_on_resume(type(config))

    def fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
        return {k: v for k, v in plain.items() if k not in free}

    before = with_todays_names(saved, type(config), source)
    return differences(fixed(before), fixed(to_dict(config)))


def refuse_other(run: Path, found: Mapping[str, str], give: str) -> None:
    """Raise ValueError for the first of `found` that differs from what the run began with.

    `found` has, by what it is about ("other data"), how it differs, or ""; `give` names the options
    that it comes from.
    """
    for what, message in found.items():
        if message:
            raise ValueError(
                f"{run}: cannot resume with {what}: {message}; give the same {give} as the run "
                f"began with, or {BEGIN_ANEW}"
            )
