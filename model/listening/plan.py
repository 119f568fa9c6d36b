"""The two files of a listening test: the plan, which is served, and the key, which never is.

SET/served/plan.json     items by opaque name, and the order of each listener
SET/served/media/        the clips, named by chance
SET/key.json             what each item is: only prepare writes it, only report reads it
SET/answers.db           SQLite
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.contract.files import write_atomic

SCHEMA = 2
ANSWERED = (1, SCHEMA)
"""Schemas of sets whose answers can be counted; sets of the first, whose clips began anywhere in
their videos, are served no more.
"""
PARTS = ("coherence", "quality")
TEST, PRACTICE, CHECK = "test", "practice", "check"
TRUTH, ANCHOR = "truth", "anchor"
"""The high anchor (ground truth) and the low one, beside the systems' names."""

_ID = re.compile(r"^[0-9a-f]{16}$")


@dataclass(frozen=True)
class Item:
    """A clip to rate: `file` plays for `duration_s` seconds."""

    part: str
    file: str
    duration_s: float
    practice: bool


@dataclass(frozen=True)
class Plan:
    """What the server knows: items by name, for each listener the items in order, and whether
    there are beeps to count among them (not where).
    """

    set_id: str
    items: dict[str, Item]
    orders: list[list[str]]
    beeps: bool


@dataclass(frozen=True)
class Meaning:
    """What an item is. `system` is a system's name, `truth`, `anchor`, or "" for a check.

    `kind` is `test`, `practice` (not counted) or `check`, where `answer` is the right score.
    """

    part: str
    kind: str
    clip: str
    system: str = ""
    answer: int = 0


@dataclass(frozen=True)
class Key:
    """What unblinds the answers, and what must be said about the systems."""

    set_id: str
    seed: int
    systems: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    items: dict[str, Meaning]
    notes: list[str] = field(default_factory=list)


def media(folder: Path) -> Path:
    return folder / "served" / "media"


def answers_file(folder: Path) -> Path:
    return folder / "answers.db"


def minutes(plan: Plan, order: list[str]) -> int:
    """Return a listener's time: each clip once, and five seconds to decide."""
    return max(1, round(sum(plan.items[name].duration_s + 5 for name in order) / 60))


def save(folder: Path, plan: Plan, key: Key) -> None:
    """Write both files; the key is for its owner's eyes alone (mode 0600)."""
    for path, content, mode in (
        (folder / "served" / "plan.json", plan, 0o644),
        (folder / "key.json", key, 0o600),
    ):
        text = json.dumps({"schema": SCHEMA, **asdict(content)}, indent=1)
        write_atomic(path, (text + "\n").encode())
        os.chmod(path, mode)


def load_plan(folder: Path, answered: bool = False) -> Plan:
    """Read the served half of a set; ValueError where it is none or names files outside it.

    `answered`: it is wanted for its answers alone, and may be of an earlier schema.
    """
    path = folder / "served" / "plan.json"
    raw = _read(path, ANSWERED if answered else (SCHEMA,))
    if raw["schema"] != SCHEMA:
        raw["beeps"] = True
        for item in raw["items"].values():
            item.pop("start_s", None)
    try:
        items = {name: Item(**item) for name, item in raw["items"].items()}
        plan = Plan(raw["set_id"], items, raw["orders"], raw["beeps"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: does not fit schema {SCHEMA} ({error}); prepare anew") from None
    for name, item in items.items():
        if not _ID.match(name) or Path(item.file).name != item.file or item.part not in PARTS:
            raise ValueError(f"{path}: item {name!r} is {item}; prepare the set anew")
    if unknown := {name for order in plan.orders for name in order} - set(items):
        raise ValueError(f"{path}: orders name unknown items, such as {sorted(unknown)[0]!r}")
    return plan


def load_key(folder: Path) -> Key:
    """Read what unblinds a set; ValueError where it is not that of the plan beside it."""
    path = folder / "key.json"
    raw = _read(path, ANSWERED)
    raw.pop("schema")
    try:
        key = Key(**{**raw, "items": {k: Meaning(**v) for k, v in raw["items"].items()}})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: does not fit schema {SCHEMA} ({error}); prepare anew") from None
    return key


def _read(path: Path, schemas: Sequence[int]) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{path}: not found; make a set first: model mos prepare --out DIR …"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); prepare the set anew") from None
    if not isinstance(raw, dict) or raw.get("schema") not in schemas:
        raise ValueError(
            f"{path}: not of schema {SCHEMA}; prepare the set anew (answers given to an older one "
            "are counted by model mos report)"
        )
    return raw
