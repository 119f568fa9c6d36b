"""Make small listening tests, and listeners for them."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import clips
import numpy as np
from starlette.testclient import TestClient

from model.codecs.jukebox import random_codec
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.wav import write_wav
from model.fake_dataset import tones, write_fake_dataset
from model.listening.clips import Settings
from model.listening.plan import Key
from model.listening.prepare import prepare

ORIGIN = "http://testserver"


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def generated(folder: Path, level: str, videos: list[str], pictures: bool = False) -> Path:
    """Write what `model generate` writes: a wav per video, generated.json, and mp4 if asked.

    With pictures, the segment starts 0.4 s into the video.
    """
    samples = 2 * SAMPLE_RATE_HZ
    rows = []
    for video in videos:
        rng = np.random.default_rng(zlib.crc32(f"{level} {video}".encode()))
        write_wav(folder / f"{video}.wav", tones(rng, samples))
        if pictures:
            sound = np.zeros(samples, np.float32)
            clips.write(folder / f"{video}.mp4", Fraction(10), 20, sound, SAMPLE_RATE_HZ)
        rows.append(
            {
                "file": f"{video}.wav",
                "video_id": video,
                "segments": [1, 1],
                "start_s": 0.4 if pictures else 0.0,
                "mp4_start_s": 0.4 if pictures else 0.0,
                "samples": samples,
                "clipped_samples": 0,
            }
        )
    summary = {
        "codec": "fake-0000",
        "step": 1,
        "level": level,
        "inputs": ["motion"],
        "labels": ["untrained: all of it"],
        "generated": rows,
    }
    (folder / "generated.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def make_set(root: Path, videos: int, **settings: object) -> tuple[Path, Key]:
    """Prepare `root`/set of systems `high` and `low`; clips that `settings` makes short."""
    ids = [f"test{number}" for number in range(videos)]
    write_fake_dataset(
        root / "shards", random_codec(levels=("high",)), videos={"test": videos}, segments=1,
        motion=None, visual_windows=None,
    )  # fmt: skip
    chosen = Settings(**{"seed": 5, **settings})
    folders = {
        name: generated(root / name, name, ids, "coherence" in chosen.parts)
        for name in ("high", "low")
    }
    return root / "set", prepare(root / "shards", "test", folders, root / "set", chosen)


def rows(folder: Path, query: str) -> list[tuple]:
    with sqlite3.connect(folder / "answers.db") as db:
        return db.execute(query).fetchall()


class Listener:
    """One browser without a page: a client with its own cookies, and the clock they share."""

    def __init__(self, app: object, clock: Clock, join: bool = True) -> None:
        self.client = TestClient(app, base_url=ORIGIN, raise_server_exceptions=False)
        self.clock = clock
        if join:
            reply = self.post("join", {"invitation": app.state.store.invitation})
            assert reply.status_code == 200, reply.text

    def post(self, path: str, body: object):
        return self.client.post(f"/api/{path}", json=body)

    def state(self) -> dict:
        return self.client.get("/api/state").json()

    def next(self) -> str:
        return self.state()["item"]["id"]

    def hear(self) -> str:
        """Play the next clip, in no time but the clock's; return its name."""
        item = self.state()["item"]
        assert self.client.get(f"/{item['url']}").status_code == 200
        self.clock.now += item["duration_s"]
        assert self.post("heard", {"item": item["id"]}).status_code == 200
        return item["id"]

    def rate(self, score: int) -> str:
        item = self.hear()
        assert self.post("answer", {"item": item, "score": score}).status_code == 200
        return item


def start_server(
    folder: Path, port: int = 0, host: str = "127.0.0.1"
) -> tuple[subprocess.Popen, str]:
    """Run `model mos serve`; return the process and the link it prints.

    It hears Ctrl-C also where the tests run in the background of a script: its children ignore it.
    """
    command = [sys.executable, "-m", "model", "mos", "serve", "--set", str(folder)]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--host", host],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    line = server.stdout.readline()
    found = re.search(r"http\S+", line)
    if found is None:
        server.kill()
        raise RuntimeError(f"the server said: {line}{server.communicate()[0]}")
    return server, found[0]
