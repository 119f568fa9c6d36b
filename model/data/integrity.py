"""Check, before training, that the shards on disk are those listed in dataset.json.

A damaged byte in audio or features still gives plausible numbers; only the hash reveals it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model.contract.shards import check_whole
from model.data.source import Source

THREADS = 4
AGAIN = "run again the command that made it (see pipeline verify)"


def check_shards(source: Source) -> None:
    """Compare size and SHA-256 of every tar, of features and codes, with dataset.json.

    Data sets at a URL are not checked here, to avoid reading them twice; the checks during reading
    still apply.

    Raises ValueError with the file, its actual size and advice.
    """
    if not isinstance(source.root, Path):
        return
    tars = {source.root: source.dataset.splits}
    if source.sizes:
        codes = source.dataset.codecs[source.codec_id]
        tars[source.root / "codes" / source.codec_id] = codes.splits
    wanted = [
        (root / shard.name, shard)
        for root, splits in tars.items()
        for shards in splits.values()
        for shard in shards
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda pair: check_whole(pair[0], pair[1], again=AGAIN), wanted))
