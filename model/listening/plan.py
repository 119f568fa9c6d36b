"""The two files of a listening test: the plan, which is served, and the key, which is never served.

SET/served/plan.json     items by opaque name, and the order of each listener
SET/served/media/        the clips, with random names
SET/key.json             the meaning of each item; written by prepare, read only by report
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
"""Schemas of sets whose answers can be counted. Sets with schema 1, whose clips could start
anywhere in their videos, are no longer served.
"""
PARTS = ("coherence", "quality")
TEST, PRACTICE, CHECK = "test", "practice", "check"
TRUTH, ANCHOR = "truth", "anchor"
"""Names of the high anchor (ground truth) and the low anchor, beside those of the systems."""

_ID = re.compile(r"^[0-9a-f]{16}$")


@dataclass(frozen=True)
class Item:
    """A clip to rate; the media file `file` lasts `duration_s` seconds."""

    part: str
    file: str
    duration_s: float
    practice: bool


@dataclass(frozen=True)
class Plan:
    """The data of the server: items by name, and the order of items for each listener.

    `beeps` says whether there are attention checks with beeps to count, but not which items.
    """

    set_id: str
    items: dict[str, Item]
    orders: list[list[str]]
    beeps: bool


@dataclass(frozen=True)
class Meaning:
    """The meaning of an item. `system` is a system's name, `truth`, `anchor`, or "" for a check.

    `kind` is `test`, `practice` (not counted) or `check`; for a check, `answer` is the right score.
    """

    part: str
    kind: str
    clip: str
    system: str = ""
    answer: int = 0


@dataclass(frozen=True)
class Key:
    """The key that unblinds the answers, and the facts that reports must give about the systems."""

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
    """Return the minutes that a listener needs: each clip once, plus five seconds to decide."""
    return max(1, round(sum(plan.items[name].duration_s + 5 for name in order) / 60))


def save(folder: Path, plan: Plan, key: Key) -> None:
    """Write both files; only the owner may read the key (mode 0600)."""
    for path, content, mode in (
        (folder / "served" / "plan.json", plan, 0o644),
        (folder / "key.json", key, 0o600),
    ):
        text = json.dumps({"schema": SCHEMA, **asdict(content)}, indent=1)
        write_atomic(path, (text + "\n").encode())
        os.chmod(path, mode)


def load_plan(folder: Path, answered: bool = False) -> Plan:
    """Read the plan of a set; ValueError if it is invalid or names files outside the set.

    With `answered` only its answers are needed, and the plan may have an earlier schema.
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
        raise ValueError(
            f"{path}: does not fit schema {SCHEMA} ({error}); prepare the set again"
        ) from None
    for name, item in items.items():
        if not _ID.match(name) or Path(item.file).name != item.file or item.part not in PARTS:
            raise ValueError(f"{path}: item {name!r} is {item}; prepare the set again")
    if unknown := {name for order in plan.orders for name in order} - set(items):
        raise ValueError(f"{path}: orders name unknown items, such as {sorted(unknown)[0]!r}")
    return plan


def load_key(folder: Path) -> Key:
    """Read the key of a set; ValueError if it is invalid."""
    path = folder / "key.json"
    raw = _read(path, ANSWERED)
    raw.pop("schema")
    try:
        key = Key(**{**raw, "items": {k: Meaning(**v) for k, v in raw["items"].items()}})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: does not fit schema {SCHEMA} ({error}); prepare the set again"
        ) from None
    return key


def _read(path: Path, schemas: Sequence[int]) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{path}: not found; prepare a set first: model mos prepare --out DIR …"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); prepare the set again") from None
    if not isinstance(raw, dict) or raw.get("schema") not in schemas:
        raise ValueError(
            f"{path}: schema is not {SCHEMA}; prepare the set again (model mos report still counts "
            "the answers of an older set)"
        )
    return raw
