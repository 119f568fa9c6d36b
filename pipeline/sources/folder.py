"""Any folder of videos, or one video."""

from __future__ import annotations

from pathlib import Path

from pipeline.manifest import Row, video_id
from pipeline.sources.aist import motion_name
from pipeline.sources.listing import Listing, video_files


def list_folder(source: Path, motion: str, motion_dir: Path | None = None) -> Listing:
    """List every video under `source` (or `source` itself), all in split `train`.

    Annotations are looked for by the video's name in `motion_dir`; without it in the folder's
    `motions` (or `openpose`), beside it, and in the folder itself. SMPL: `<name>.pkl`, or with
    `cAll` for the camera as AIST++ names them. OpenPose: a folder `<name>` of JSON files.
    """
    if source.is_file():
        root, paths = source.parent, [Path(source.name)]
    elif source.is_dir():
        root, paths = source, video_files(source)
    else:
        raise FileNotFoundError(f"--source {source}: no such folder or video")
    if not paths:
        raise FileNotFoundError(f"--source {source}: no video in it")
    home = "openpose" if motion == "openpose" else "motions"
    places = [motion_dir] if motion_dir else [root / home, root.parent / home, root]
    motion_root = next((p for p in places if p.is_dir()), root)
    rows = []
    for path in paths:
        names = _annotations(path, motion)
        found = next((name for name in names if (motion_root / name).exists()), "")
        rows.append(Row(video_id(path), path.as_posix(), motion=found or (names or [""])[0]))
    return Listing(root, motion_root, rows)


def _annotations(path: Path, motion: str) -> list[str]:
    if motion == "smpl":
        return [f"{path.stem}.pkl", motion_name(path.stem)]
    return [path.stem] if motion == "openpose" else []
