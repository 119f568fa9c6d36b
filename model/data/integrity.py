"""Whether the shards on disk are the ones that dataset.json lists: checked once, before training.

A flipped byte in a sound or a feature gives numbers like any others; only its hash tells.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model.contract.shards import check_whole
from model.data.source import Source

THREADS = 4
AGAIN = "run the command that made it again (see pipeline verify)"


def check_shards(source: Source) -> None:
    """Compare size and SHA-256 of every tar, and of those of the codes, with dataset.json.

    Behind an address nothing is read for this: there the stream's own checks must do.

    Raises ValueError, naming the file, what it has and what to do.
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
        list(pool.map(lambda pair: check_whole(pair[0], pair[1], again=AGAIN), wanted))
