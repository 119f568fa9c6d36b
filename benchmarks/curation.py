"""Measure curation on synthetic compilations, whose truth is known.

    python benchmarks/curation.py DIR --seed 1 --count 40 [--shots adaptive]

DIR gets the compilations (where missing) and, in DIR/curated, what `pipeline curate` makes of
them. Thresholds were tuned on seed 0; report another. Every clip found is compared with the true
clip that it overlaps most.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

from model.contract.terminal import print_anything
from pipeline.curate.detector import DETECTORS
from pipeline.curate.run import CurateOptions, Curation, curate
from pipeline.sources.synthetic.compilations import plan, write_compilation

PERSONS = Path(__file__).parent.parent / "tests" / "data" / "persons_synthetic.safetensors"
NEAR_FRAMES = 2
IOU = 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--engine", choices=["ray", "local"], default="local")
    parser.add_argument("--detector", default=str(PERSONS), help="default: the tests' small one")
    parser.add_argument("--pose-weights", default="", help="default: boxes alone")
    parser.add_argument("--voices", default="auto", help="as of pipeline curate")
    parser.add_argument("--shots", choices=DETECTORS, default="auto")
    options = parser.parse_args()
    for spec in plan(options.count, options.seed):
        write_compilation(spec, options.root)
    source, out = options.root / "videos", options.root / "curated"
    names = ("engine", "detector", "pose_weights", "voices", "shots")
    how = {name: getattr(options, name) for name in names}
    curation = curate(CurateOptions("tiktok", out, source, **how))
    truth = {
        p.stem: json.loads(p.read_text(encoding="utf-8"))
        for p in sorted((options.root / "truth").iterdir())
    }
    for line in report(curation, truth):
        print(line)


def report(curation: Curation, truth: dict[str, dict]) -> Iterable[str]:
    """Yield the lines of the report."""
    clips, verdicts = curation.clips, curation.verdicts
    yield f"{len(truth)} compilations, {sum(len(t['clips']) for t in truth.values())} true clips"
    yield shots(clips, truth)
    matched = [match(clip, truth[clip.video_id]) for clip in clips]
    boxes = [iou(clip.box, true["box"]) for clip, true in zip(clips, matched, strict=True)]
    good = sum(value >= IOU for value in boxes)
    yield f"active picture: IoU >= {IOU} on {good} of {len(boxes)} clips ({good / len(boxes):.1%})"
    for kind in sorted({true["bars"] for true in matched}):
        of = [b for b, true in zip(boxes, matched, strict=True) if true["bars"] == kind]
        yield f"  bars {kind:<10} {sum(b >= IOU for b in of)} of {len(of)}"
    kept = [k for k, verdict in enumerate(verdicts) if verdict.decision == "keep"]
    yield songs([(verdicts[k].song, matched[k]["song"]) for k in kept])
    sides: dict[str, set[str]] = {}
    for k in kept:
        sides.setdefault(matched[k]["song"], set()).add(verdicts[k].split)
    both = [song for song, found in sides.items() if len(found) > 1]
    counts = Counter(verdicts[k].split for k in kept)
    yield f"split: {dict(counts)}; true songs on both sides: {len(both)} of {len(sides)} {both}"
    yield from dancers(clips, matched)
    yield from rejections(curation, matched)


def dancers(clips: list, matched: list[dict]) -> Iterable[str]:
    """Yield how often the dancers were counted right, by how many they are, and what told heads."""
    pairs = list(zip(clips, matched, strict=True))
    if any(clip.dancers is None for clip in clips):
        yield "dancers: not measured (no detector ran)"
        return
    counts: dict[int, Counter[int]] = {}
    for clip, true in pairs:
        if true["kind"] != "talking_head":
            counts.setdefault(len(true["dancers"]), Counter())[clip.dancers] += 1
    for kind, numbers in (("clips of dancers", range(1, 6)), ("stills (nobody)", [0])):
        total = sum(counts[n].total() for n in numbers if n in counts)
        right = sum(counts[n][n] for n in numbers if n in counts)
        yield f"dancers counted right: {right} of {total} {kind} ({right / max(1, total):.1%})"
    for number, found in sorted(counts.items()):
        yield f"  {number}: counted as {dict(sorted(found.items()))}"
    for kind in ("dance", "talking_head", "still"):
        of = [clip for clip, true in pairs if true["kind"] == kind]
        whole, energy = (sorted(getattr(c, name) for c in of) for name in ("whole_body", "energy"))
        yield (
            f"  {kind}: whole body in {whole[0]:.2f} to {whole[-1]:.2f} of the frames (median "
            f"{whole[len(of) // 2]:.2f}), energy {energy[0]:.2f} to {energy[-1]:.2f} heights a "
            f"second (median {energy[len(of) // 2]:.2f})"
        )


def shots(clips: list, truth: dict[str, dict]) -> str:
    hit = found = wanted = 0
    for video, facts in truth.items():
        true = facts["cuts"][1:-1]
        mine = [c.start_frame for c in clips if c.video_id == video and c.start_frame]
        hit += sum(any(abs(cut - other) <= NEAR_FRAMES for other in mine) for cut in true)
        found, wanted = found + len(mine), wanted + len(true)
    words = f"{hit} right of {found} found and {wanted} true"
    return (
        f"shot boundaries within {NEAR_FRAMES} frames: F1 {2 * hit / (found + wanted):.4f}, {words}"
    )


def match(clip, facts: dict) -> dict:
    """Return the true clip of a compilation that covers most frames of a found one."""
    cuts = facts["cuts"]
    shared = [
        min(clip.end_frame, cuts[k + 1]) - max(clip.start_frame, cuts[k])
        for k in range(len(facts["clips"]))
    ]
    best = max(range(len(shared)), key=shared.__getitem__)
    name = f"{facts['compilation_id']}/{best}"
    return facts["clips"][best] | {"name": name}


def iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Return the intersection of two boxes (x, y, width, height) over their union."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0, w) * max(0, h)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def songs(pairs: list[tuple[str, str]]) -> str:
    """Return pairwise precision and recall of (found song, true song)."""
    same = both = true = 0
    for (mine, real), (other, really) in combinations(pairs, 2):
        same += mine == other
        true += bool(real) and real == really
        both += mine == other and bool(real) and real == really
    found, real = len({p[0] for p in pairs}), len({p[1] for p in pairs})
    ratios = f"precision {both / max(1, same):.4f}, recall {both / max(1, true):.4f}"
    return f"songs, pairwise: {ratios} ({len(pairs)} clips in {found} groups, {real} true songs)"


def rejections(curation: Curation, matched: list[dict]) -> Iterable[str]:
    """Yield every reason by true kind, then every rejected clip.

    A clip that was rightly rejected for a voice over its song is nobody's duplicate.
    """
    verdicts = curation.verdicts
    kinds: dict[str, Counter[str]] = {}
    for verdict, true in zip(verdicts, matched, strict=True):
        voice = " under a voice" if true["song"] and true["speech_db"] is not None else ""
        kinds.setdefault(true["kind"] + voice, Counter())[verdict.reason or "kept"] += 1
    for kind, ends in sorted(kinds.items()):
        yield f"{kind}: {', '.join(f'{n} {name}' for name, n in ends.most_common())}"
    again = [
        {v.duplicate_of} for v, t in zip(verdicts, matched, strict=True) if v.reason == "duplicate"
    ]
    groups: dict[str, list[str]] = {}
    for verdict, true in zip(verdicts, matched, strict=True):
        if true["kind"] == "dance" and verdict.reason != "voice_over":
            name = true["duplicate_of"] or true["name"]
            groups.setdefault(name, []).append(verdict.reason)
    spare = sum(len(reasons) - 1 for reasons in groups.values())
    caught = sum(min(len(r) - 1, r.count("duplicate")) for r in groups.values())
    wrong = len(again) - caught
    yield f"duplicates of dance clips: {caught} of {spare} rejected as such, {wrong} wrongly"
    assert all(v.reason for v in verdicts if v.decision == "reject")
    for clip, verdict in zip(curation.clips, verdicts, strict=True):
        if verdict.decision == "reject":
            yield f"  {clip.clip_id}: {verdict.reason} ({verdict.detail})"


if __name__ == "__main__":
    print_anything()
    main()
