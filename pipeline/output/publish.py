"""Copy a finished data set to another place. A reader there sees the complete data set or none.

dataset.json is sent last; without it there is no data set. After a file has arrived, its SHA-256 is
written beside it as `<name>.sha256`. The same command therefore sends only what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from model.contract.dataset import Dataset, Shard, load_dataset
from model.contract.files import sha256_of
from model.contract.shards import check_whole
from pipeline.engine.progress import progress
from pipeline.output.folder import locked
from pipeline.output.remote import Store, open_store, reach
from pipeline.report.report import Report

LAST = "dataset.json"
BESIDE = ("manifest.parquet", "report.json", "report.parquet", "report.html")
"""Files of a data set besides its tars. Not every data set has report.html."""
MARK = ".sha256"


@dataclass
class Published:
    """What `publish` did.

    `sent` lists the files that were sent. `there` counts the files that were already there.
    `unlisted` lists tars there that do not belong to the data set.
    """

    sent: list[str] = field(default_factory=list)
    sent_bytes: int = 0
    there: int = 0
    unlisted: list[str] = field(default_factory=list)

    def add(self, name: str, path: Path) -> None:
        self.sent.append(name)
        self.sent_bytes += path.stat().st_size

    def lines(self) -> list[str]:
        sent = f"sent {len(self.sent)} files, {self.sent_bytes:,} bytes"
        lines = [f"{sent}; {self.there} were already there"]
        if self.unlisted:
            names = ", ".join(self.unlisted[:5]) + (" …" if len(self.unlisted) > 5 else "")
            lines.append(f"no longer part of the data set, delete them there: {names}")
        return lines


def publish(root: Path, address: str) -> Published:
    """Copy the shard folder `root` to `address`, sending only what is missing there.

    Each tar is compared with dataset.json before it is sent. If a file that the dataset.json there
    lists must be replaced, that dataset.json is deleted first.

    Raises ValueError or FileNotFoundError if the local data set is invalid, or if `address` holds
    another data set. Raises OSError, with advice, if nothing can be written there.
    """
    dataset = load_dataset(root)
    if not any(dataset.splits.values()):
        raise ValueError(f"{root}: no segment in it; see pipeline report --shards {root}")
    if stopped := Report.load(root).stopped:
        raise ValueError(f"{root}: not finished: {stopped}")
    store = open_store(address)
    with locked(root):
        return _send(root, dataset, store)


def _send(root: Path, dataset: Dataset, store: Store) -> Published:
    tars = _tars(dataset)
    for name, shard in tars.items():
        if not (root / name).is_file() or (root / name).stat().st_size != shard.bytes:
            check_whole(root / name, shard)  # reports the error before anything is sent
    hashes = {name: shard.sha256 for name, shard in tars.items()}
    hashes |= {name: sha256_of(root / name) for name in BESIDE if (root / name).is_file()}
    sizes = reach(store.address, store.sizes)
    listed = _listed(store, sizes, dataset)
    missing = [
        name
        for name, sha256 in hashes.items()
        if sizes.get(name) != (root / name).stat().st_size
        or (listed.get(name) or _mark(store, sizes, name)) != sha256
    ]
    unlisted = [name for name in sizes if name.endswith(".tar") and name not in tars]
    done = Published(there=len(hashes) - len(missing), unlisted=sorted(unlisted))
    if listed.keys() & set(missing):
        store.remove(LAST)
        del sizes[LAST]
    for name in progress(missing, "publish", len(missing), "file"):
        if name in tars:
            check_whole(root / name, tars[name])
        if name + MARK in sizes:
            store.remove(name + MARK)
        store.put(root / name, name)
        store.write(name + MARK, f"{hashes[name]}  {Path(name).name}\n".encode())
        done.add(name, root / name)
    if LAST in sizes and store.read(LAST) == (root / LAST).read_bytes():
        done.there += 1
    else:
        store.put(root / LAST, LAST)
        done.add(LAST, root / LAST)
    return done


def _tars(dataset: Dataset) -> dict[str, Shard]:
    """Return every tar of a data set by its name relative to the folder."""
    folders = {"": dataset.splits}
    folders |= {f"codes/{name}/": codes.splits for name, codes in dataset.codecs.items()}
    folders |= {f"notes/{name}/": notes.splits for name, notes in dataset.notes.items()}
    return {
        folder + shard.name: shard
        for folder, splits in folders.items()
        for shards in splits.values()
        for shard in shards
    }


def _listed(store: Store, sizes: dict[str, int], dataset: Dataset) -> dict[str, str]:
    """Return the SHA-256 of each tar in the dataset.json there; all of these tars have arrived."""
    if LAST not in sizes:
        return {}
    there = load_dataset(store.address)
    if (there.name, there.source) != (dataset.name, dataset.source):
        raise ValueError(
            f"{store.address} holds {there.name} from {there.source}, not {dataset.name} from "
            f"{dataset.source}: choose another --to, or delete its dataset.json to write over it"
        )
    return {name: shard.sha256 for name, shard in _tars(there).items()}


def _mark(store: Store, sizes: dict[str, int], name: str) -> str:
    """Return the SHA-256 in the `.sha256` file beside a file there, or "" if there is none."""
    if name + MARK not in sizes:
        return ""
    return store.read(name + MARK).decode(errors="replace").partition(" ")[0]
