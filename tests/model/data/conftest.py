"""A small data set with its codes."""

import pytest

from model.codecs.jukebox import random_codec
from model.fake_dataset import write_fake_dataset


@pytest.fixture(scope="session")
def codec():
    return random_codec()


@pytest.fixture
def root(codec, tmp_path):
    write_fake_dataset(tmp_path, codec, videos={"train": 3, "val": 1}, segments=5)
    return tmp_path
