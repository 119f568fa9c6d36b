"""The folder a build writes to: one writer at a time, and what it held before."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from model.contract.lock import HeldError, held

if TYPE_CHECKING:
    from model.contract.dataset import Dataset

PARTS = ("*.part", "codes/*/*.part", ".work/shards/*.part", ".work/results/*/*/*.part")
"""Where a killed writer leaves what it had not finished."""
OUR_PART = re.compile(r".+\.\d+\.part")
"""As `atomic_file` names it; a browser's or a downloader's own `.part` is none of ours."""


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold `out` for this process; a second command that writes there is refused.

    Raises ValueError for that, and OSError where nothing can be written.
    """
    with ExitStack() as holding:
        try:
            (out / ".work").mkdir(parents=True, exist_ok=True)
            holding.enter_context(held(out / ".work" / "lock"))
        except HeldError as error:
            who = f" ({error})" if str(error) else ""
            raise ValueError(
                f"{out}: another command is writing there{who}; wait for its end"
            ) from None
        except OSError as error:
            raise OSError(
                f"{out}: cannot be written ({error.strerror}); choose another folder, or make room"
            ) from None
        for part in (part for pattern in PARTS for part in out.glob(pattern)):
            if OUR_PART.fullmatch(part.name):
                part.unlink(missing_ok=True)
        yield


def dataset_before(out: Path, name: str, source: str) -> Dataset | None:
    """Return what `out` holds; raises ValueError where that is another data set or source."""
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
    """Return a line for each setting that is not what it was, by its option's name."""
    lines = []
    for name in sorted(before.build.keys() | dataset.build.keys()):
        was, now = (d.build.get(name, "not set") for d in (before, dataset))
        if not _same(was, now):
            lines.append(f"--{name.replace('_', '-')} was {was}, is {now}")
    for suffix, spec in sorted(dataset.fields.items(), reverse=True):
        for fact, now in sorted(spec.items(), reverse=True):
            was = before.fields.get(suffix, {}).get(fact)
            if was and now and was != now and not lines:
                lines.append(f"{fact} of {suffix}: the file was {was}, is {now}")
    return [f"{line}: what depends on it is made again, nothing else" for line in lines]


def _same(was: object, now: object) -> bool:
    """Return whether two values are one; a path may be told relative to here."""
    return was == now or Path(str(was)).resolve() == Path(str(now)).resolve()


def keep_codes(out: Path, before: Dataset, dataset: Dataset) -> None:
    """Go on listing codes whose shards stayed; remove, and name, those whose shards did not."""
    if before.splits == dataset.splits:
        dataset.codecs = before.codecs
        return
    for codec_id, codes in before.codecs.items():
        again = f"pipeline extract-codes --shards {out} --codec {codes.source}"
        print(f"codes of {codec_id} no longer fit: {again}")
        shutil.rmtree(out / "codes" / codec_id, ignore_errors=True)
