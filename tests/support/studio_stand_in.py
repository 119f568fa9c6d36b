"""A program in place of the commands of a studio's jobs: their arguments, in no time.

    python studio_stand_in.py generate --seed N --video FILE --out DIR …
    python studio_stand_in.py look|music --video FILE --out DIR …

What it writes depends on the video and the seed alone. Some seeds misbehave.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

FAILS, HANGS, FORGETS, EATS = 1001, 1002, 1003, 1004
"""Seeds: an error, no end, no end of a child either, and 300 MB of memory."""


def main() -> None:
    what, given = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2], strict=False))
    out = Path(given["--out"])
    digest = hashlib.sha256(Path(given["--video"]).read_bytes()).hexdigest()
    if what == "generate":
        print(f"features of {given['--video']}: computing", flush=True)
        seed = int(given["--seed"])
        if seed == FAILS:
            print(f"error: {Path.cwd()}/{given['--video']}: no dancer", file=sys.stderr)
            raise SystemExit(1)
        (out / "half.wav").write_text("half", encoding="utf-8")
        eaten = bytearray(300_000_000 if seed == EATS else 0)
        for place in range(0, len(eaten), 4096):
            eaten[place] = 1
        while seed in (HANGS, EATS):
            time.sleep(0.05)
        print("music for 4 s: generating", flush=True)
        (out / "half.wav").unlink()
        (out / "dance.wav").write_text(f"{digest} {seed}", encoding="utf-8")
        shutil.copy(given["--video"], out / "dance.mp4")
        return
    shutil.copy(given["--video"], out / "preview.mp4")
    files = {"preview": "preview.mp4"}
    files |= {"wav": "dance.wav", "mp4": "dance.mp4"} if what == "music" else {}
    facts = {"files": files, "labels": ["UNTRAINED: a stand-in"], "scores": [["align", "0.500"]]}
    facts |= {"seconds": 4.0, "dance_beats_s": [0.5], "has_skeleton": True}
    (out / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
