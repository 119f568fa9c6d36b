"""Whether the shards on disk are the ones that dataset.json lists: checked once, before training.

A flipped byte in a sound or a feature gives numbers like any others; only its hash tells.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model.contract.dataset import Shard
from model.contract.files import sha256_of
from model.data.source import Source

THREADS = 4


def check_shards(source: Source) -> None:
    """Compare size and SHA-256 of every tar, and of those of the codes, with dataset.json.

    Behind an address nothing is read for this: there the stream's own checks must do.

    Raises FileNotFoundError or ValueError, naming the file, what it has and what to do.
    """
    if not isinstance(source.root, Path):
        return
    tars = {source.root: source.dataset.splits}
    tars[source.root / "codes" / source.codec_id] = source.dataset.codecs[source.codec_id].splits
    wanted = [
        (root / shard.name, shard)
        for root, splits in tars.items()
        for shards in splits.values()
        for shard in shards
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda pair: _check(*pair), wanted))


def _check(path: Path, shard: Shard) -> None:
    again = "run the command that made it again (see pipeline verify)"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: listed in dataset.json, but not there; {again}")
    size_bytes = path.stat().st_size
    if size_bytes != shard.bytes:
        raise ValueError(
            f"{path}: {size_bytes} bytes, dataset.json says {shard.bytes}: damaged, or another "
            f"file of that name; {again}"
        )
    if sha256_of(path) != shard.sha256:
        raise ValueError(
            f"{path}: its bytes are not those that dataset.json lists (sha256 "
            f"{shard.sha256[:12]}…): damaged, or another file of that name; {again}"
        )
