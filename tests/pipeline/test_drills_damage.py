"""The failure drill D8: a damaged shard is named, and made again by the same command."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest
from builds import (
    options,
)
from training_runs import SMALL

from model.contract.dataset import load_dataset
from model.families.d2m_gan.config import load_config
from model.runtime.checkpoint import LAST
from model.training.loop import train
from pipeline.build import build
from pipeline.features.codes import extract_codes
from pipeline.output.verify import verify


def lose_the_tail(root: Path, codes: Path) -> Path:
    path = root / "train-000001.tar"
    with tarfile.open(path) as tar:
        third = [info for info in tar if info.name.endswith(".json")][2]
    path.write_bytes(path.read_bytes()[: third.offset] + bytes(1024))  # whole, but shorter
    return path


def flip_a_byte(root: Path, codes: Path) -> Path:
    path = root / "train-000001.tar"
    with tarfile.open(path) as tar:
        sound = next(info for info in tar if info.name.endswith(".wav"))
    data = bytearray(path.read_bytes())
    data[sound.offset_data + sound.size // 2] ^= 4
    path.write_bytes(data)
    return path


def swap_the_names(root: Path, codes: Path) -> Path:
    one, two = root / "train-000000.tar", root / "train-000001.tar"
    one.rename(root / "x")
    two.rename(one)
    (root / "x").rename(two)
    return one


def lose_the_codes(root: Path, codes: Path) -> Path:
    (codes / "train-000001.tar").unlink()
    return codes / "train-000001.tar"


def flip_a_code(root: Path, codes: Path) -> Path:
    data = bytearray((codes / "train-000001.tar").read_bytes())
    data[512 + 200] ^= 1
    (codes / "train-000001.tar").write_bytes(data)
    return codes / "train-000001.tar"


DAMAGES = [lose_the_tail, flip_a_byte, swap_the_names, lose_the_codes, flip_a_code]


@pytest.mark.parametrize("damage", DAMAGES)
def test_d8_verify_and_trainer_name_the_damaged_shard(world, tmp_path, damage):
    root = Path(shutil.copytree(world, tmp_path / "shards"))
    (codec_id,) = load_dataset(root).codecs
    hurt = damage(root, root / "codes" / codec_id)
    with pytest.raises((ValueError, FileNotFoundError), match=hurt.name) as told:
        list(verify(root))
    assert "run again the command that made it" in str(told.value)
    config = load_config("tiny", None, [*SMALL, "max_steps=1"])
    with pytest.raises((ValueError, FileNotFoundError), match=hurt.name) as told:
        train(root, tmp_path / "run", config)
    assert str(hurt) in str(told.value) or damage is swap_the_names
    assert not (tmp_path / "run" / LAST).exists()


def test_d8_a_damaged_shard_is_made_again_by_the_same_command(clips_of, tmp_path, codec_file):
    source, out = clips_of(tmp_path / "in", 2), tmp_path / "out"
    build(options(source, out, codec=str(codec_file)))
    (codec_id,) = load_dataset(out).codecs
    files = {p: p.read_bytes() for p in [*out.glob("*.tar"), *out.glob("codes/*/*.tar")]}
    flip_a_byte_of = out / "train-000000.tar"
    flip_a_byte_of.write_bytes(flip_a_byte_of.read_bytes()[:-512])
    shutil.rmtree(out / "codes" / codec_id)
    build(options(source, out, codec=str(codec_file)))
    assert {p: p.read_bytes() for p in files} == files
    list(verify(out))


def test_codes_of_a_lost_segment_say_what_to_do(world, tmp_path, codec_file):
    """The codes' own stage refuses a damaged shard too, before it encodes anything."""
    root = Path(shutil.copytree(world, tmp_path / "shards"))
    hurt = flip_a_byte(root, root)
    with pytest.raises(ValueError, match=hurt.name):
        extract_codes(root, str(codec_file))
