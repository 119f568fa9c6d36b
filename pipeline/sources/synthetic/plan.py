"""Plan the videos: names as in AIST++, songs, splits and dancers."""

from __future__ import annotations

from dataclasses import dataclass

from model.contract.segment import GENRES
from pipeline.sources.synthetic.music import SONG_S, SONGS_PER_GENRE

FULL = 600
DANCERS = 30
LONGEST_S = SONG_S - 4
_ROLES = ("train", "train", "train", "train", "val", "test")


@dataclass(frozen=True)
class VideoSpec:
    """Everything that determines a video: the same spec gives the same files.

    The motion of `dancers[0]` is annotated. Width and height must be even (4:2:0 video).
    """

    video_id: str
    genre: str
    song_id: str
    split: str
    dancers: tuple[str, ...]
    seed: int = 0
    duration_s: float = 8.0
    fps: int = 60
    width_px: int = 384
    height_px: int = 288

    @property
    def motion_id(self) -> str:
        """The annotation's name. In AIST++, all cameras of a dance share one annotation."""
        return self.video_id.replace("_c01_", "_cAll_")


def plan(
    limit: int | None = None,
    seed: int = 0,
    duration_s: float = 8.0,
    *,
    fps: int = 60,
    size_px: tuple[int, int] = (384, 288),
    dancers: int = 1,
) -> list[VideoSpec]:
    """Return the first `limit` videos (600 if None): ten genres × six songs × choreographies.

    Genres take turns. Of six consecutive videos, about four are for train, one for val and one for
    test. Splits are by song: of a genre's songs, four are train, one is val, one is test. A larger
    limit only adds videos. `size_px` is (width, height).
    """
    count = FULL if limit is None else limit
    most = len(GENRES) * SONGS_PER_GENRE * 99
    if not 0 < count <= most:
        raise ValueError(f"limit is {limit}, expected 1 to {most}")
    if not 0.5 <= duration_s <= LONGEST_S:
        raise ValueError(f"duration_s is {duration_s}, expected 0.5 to {LONGEST_S}")
    if not 1 <= dancers <= DANCERS:
        raise ValueError(f"dancers is {dancers}, expected 1 to {DANCERS}")
    return [_spec(i, seed, duration_s, fps, size_px, dancers) for i in range(count)]


def _spec(
    index: int, seed: int, duration_s: float, fps: int, size_px: tuple[int, int], dancers: int
) -> VideoSpec:
    turn, genre_index = divmod(index, len(GENRES))
    genre = GENRES[genre_index]
    # 10 genres and 6 songs share the factor 2. The shift every three turns uses all songs.
    role = (index + turn // 3) % SONGS_PER_GENRE
    song_id = f"m{genre}{(role + genre_index) % SONGS_PER_GENRE}"
    first = index + index // DANCERS
    names = tuple(f"d{1 + (first + 7 * p) % DANCERS:02d}" for p in range(dancers))
    situation = "sBM" if dancers == 1 else "sGR"
    choreography = f"ch{1 + turn // SONGS_PER_GENRE:02d}"
    video_id = f"g{genre}_{situation}_c01_{'-'.join(names)}_{song_id}_{choreography}"
    return VideoSpec(video_id, genre, song_id, _ROLES[role], names, seed, duration_s, fps, *size_px)
