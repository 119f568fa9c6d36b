"""Copy a data set so that each training video dances to another song: a control for training.

Val and test stay as they are. Music, codes and keys keep their places; motion and visual features
of the training split are those of the same segment of a video of another song.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from model.contract.dataset import load_dataset, save_dataset
from model.contract.segment import META, MOTION, VISUAL, split_key
from model.contract.shards import read_shard, write_shard
from model.contract.terminal import print_anything
from model.measures.bootstrap import pair_with_other_group


def main() -> None:
    """Write the copy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shuffle_pairs(arguments.shards, arguments.out, arguments.seed)


def shuffle_pairs(shards: Path, out: Path, seed: int) -> None:
    """Write `out`, whole or not at all.

    Raises KeyError where the partner of a video has fewer segments than it.
    """
    if out.exists():
        raise FileExistsError(f"{out} is there already; choose another --out")
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(shards, part)
    dataset = load_dataset(part)
    places = dataset.splits["train"]
    held = [list(read_shard(shards / shard.name)) for shard in places]
    features = {split_key(key): members for samples in held for key, members in samples}
    song_of = {video: json.loads(m[META])["song"] for (video, _), m in features.items()}
    videos = sorted(song_of)
    partner = pair_with_other_group([song_of[video] for video in videos], seed)
    other = {video: videos[i] for video, i in zip(videos, partner, strict=True)}
    dataset.splits["train"] = [
        write_shard(part / shard.name, [swapped(*sample, features, other) for sample in samples])
        for shard, samples in zip(places, held, strict=True)
    ]
    save_dataset(part, dataset)
    part.rename(out)


def swapped(key: str, members: dict, features: dict, other: dict) -> tuple[str, dict]:
    """Return the sample with the partner's motion and visual features."""
    video, number = split_key(key)
    given = features[other[video], number]
    return key, members | {suffix: given[suffix] for suffix in (MOTION, VISUAL) if suffix in given}


if __name__ == "__main__":
    print_anything()
    main()
