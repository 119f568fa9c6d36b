"""The output folder of a build: a lock for its only writer, and its earlier contents."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from model.contract.lock import HeldError, held
from model.contract.options import flag_of

if TYPE_CHECKING:
    from model.contract.dataset import Dataset

PARTS = (
    *("*.part", "codes/*/*.part", "notes/*/*.part"),
    *(".work/shards/*.part", ".work/results/*/*/*.part"),
)
"""Where a writer that was killed leaves incomplete files."""
OUR_PART = re.compile(r".+\.\d+\.part")
"""Matches the incomplete files that `atomic_file` names.

It does not match the `.part` files of a browser or another download program.
"""


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Lock `out` for this process. Another command that writes there is refused.

    Raises ValueError if another command holds the lock, and OSError if nothing can be written.
    """
    with ExitStack() as holding:
        try:
            (out / ".work").mkdir(parents=True, exist_ok=True)
            holding.enter_context(held(out / ".work" / "lock"))
        except HeldError as error:
            who = f" ({error})" if str(error) else ""
            raise ValueError(
                f"{out}: another command is writing there{who}; wait until it is done"
            ) from None
        except OSError as error:
            raise OSError(
                f"{out}: cannot be written ({error.strerror}); choose another folder, "
                f"or free some space"
            ) from None
        for part in (part for pattern in PARTS for part in out.glob(pattern)):
            if OUR_PART.fullmatch(part.name):
                part.unlink(missing_ok=True)
        yield


def dataset_before(out: Path, name: str, source: str) -> Dataset | None:
    """Return the data set that `out` already holds, or None.

    Raises ValueError if it is a different data set, or from a different source.
    """
    from model.contract.dataset import load_dataset

    if not (out / "dataset.json").is_file():
        return None
    before = load_dataset(out)
    if (before.name, before.source) != (name, source):
        raise ValueError(
            f"{out} holds {before.name} from {before.source}, not {name} from {source}: "
            "choose another --out, or delete its dataset.json to build over it"
        )
    return before


def changes(before: Dataset, dataset: Dataset) -> list[str]:
    """Return a line for each setting that changed, with the name of its option."""
    lines = []
    for name in sorted(before.build.keys() | dataset.build.keys()):
        was, now = (d.build.get(name, "not set") for d in (before, dataset))
        if not _same(was, now):
            lines.append(f"{flag_of(name)} was {was}, is {now}")
    for suffix, spec in sorted(dataset.fields.items(), reverse=True):
        for fact, now in sorted(spec.items(), reverse=True):
            was = before.fields.get(suffix, {}).get(fact)
            if was and now and was != now and not lines:
                lines.append(f"{fact} of {suffix}: the file was {was}, is {now}")
    return [f"{line}: only what depends on it is computed again" for line in lines]


def _same(was: object, now: object) -> bool:
    """Return whether two values are equal, or are two forms of the same path."""
    return was == now or Path(str(was)).resolve() == Path(str(now)).resolve()


def keep_codes(out: Path, before: Dataset, dataset: Dataset) -> None:
    """Keep all codes and notes in dataset.json if no shard changed; else report and delete them."""
    if before.splits == dataset.splits:
        dataset.codecs, dataset.notes = before.codecs, before.notes
        return
    for notes_id, notes in before.notes.items():
        command = f"pipeline notes --shards {out} --from {notes.source}"
        print(f"notes of {notes_id} no longer match the shards; make them again: {command}")
        shutil.rmtree(out / "notes" / notes_id, ignore_errors=True)
    for codec_id, codes in before.codecs.items():
        command = f"pipeline extract-codes --shards {out} --codec {codes.source}"
        print(f"codes of {codec_id} no longer match the shards; extract them again: {command}")
        shutil.rmtree(out / "codes" / codec_id, ignore_errors=True)
