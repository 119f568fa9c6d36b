"""Plan the songs and videos: names as in AIST++, splits and dancers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

from model.contract.segment import GENRES
from model.contract.sound_font import SoundFont
from pipeline.sources.synthetic.music import SONG_S, SONGS_PER_GENRE

PER_SONG = 10
"""Videos of each song in the full plan."""
DANCERS = 30
SHORTEST_S, LONGEST_S = 0.5, SONG_S - 4
_ROLES = ("train", "train", "train", "train", "val", "test")


@dataclass(frozen=True)
class VideoSpec:
    """Everything that determines a video: the same spec gives the same files.

    The motion of `dancers[0]` is annotated. Width and height must be even (4:2:0 video). The song
    is played by `instruments`, or by the built-in synthesis if it is None. With `vary_pace`, some
    dancers move on every second beat, or twice on each.
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
    instruments: SoundFont | None = None
    vary_pace: bool = False

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
    songs_per_genre: int = SONGS_PER_GENRE,
    instruments: SoundFont | None = None,
    vary_pace: bool = False,
) -> list[VideoSpec]:
    """Return the first `limit` videos (ten of each song if None, 600 of the usual sixty songs).

    Genres take turns. Of six consecutive videos, about four are for train, one for val and one for
    test. Splits are by song, as `split_of` says. A larger limit only adds videos. With more songs
    of each genre, the usual sixty songs and their splits stay the same; the names of the videos do
    not. `size_px` is (width, height).
    """
    if songs_per_genre < SONGS_PER_GENRE:
        raise ValueError(
            f"songs_per_genre is {songs_per_genre}, expected {SONGS_PER_GENRE} or more"
        )
    songs = len(GENRES) * songs_per_genre
    wanted = PER_SONG * songs if limit is None else limit
    if not 0 < wanted <= 99 * songs:
        raise ValueError(f"limit is {limit}, expected 1 to {99 * songs}")
    if not SHORTEST_S <= duration_s <= LONGEST_S:
        raise ValueError(f"duration_s is {duration_s}, expected {SHORTEST_S} to {LONGEST_S}")
    if not 1 <= dancers <= DANCERS:
        raise ValueError(f"dancers is {dancers}, expected 1 to {DANCERS}")
    return [
        VideoSpec(*names, seed, duration_s, fps, *size_px, instruments, vary_pace)
        for names in islice(_names(songs_per_genre, dancers), wanted)
    ]


def song_ids(songs_per_genre: int = SONGS_PER_GENRE, split: str | None = None) -> list[str]:
    """Return the ids of all songs, or of those in one split; the genres take turns."""
    ids = [f"m{genre}{index}" for index in range(songs_per_genre) for genre in GENRES]
    return [song_id for song_id in ids if split in (None, split_of(song_id))]


def split_of(song_id: str) -> str:
    """Return the split of a song: of each six songs of a genre, four train, one val, one test."""
    return _ROLES[(int(song_id[3:]) - GENRES.index(song_id[1:3])) % SONGS_PER_GENRE]


def _names(
    songs_per_genre: int, dancers: int
) -> Iterator[tuple[str, str, str, str, tuple[str, ...]]]:
    """Yield the names of a video after the other: its own, genre, song, split and dancers."""
    sixes = -(-songs_per_genre // SONGS_PER_GENRE)
    for index in count():
        turn, genre_index = divmod(index, len(GENRES))
        genre = GENRES[genre_index]
        # 10 genres and 6 songs share the factor 2. The shift every three turns uses all songs.
        role = (index + turn // 3) % SONGS_PER_GENRE
        # Six turns use six songs of every genre, the next six turns use the next six songs.
        choreography, six = divmod(turn // SONGS_PER_GENRE, sixes)
        song = SONGS_PER_GENRE * six + (role + genre_index) % SONGS_PER_GENRE
        if song >= songs_per_genre:
            continue
        first = index + index // DANCERS
        names = tuple(f"d{1 + (first + 7 * p) % DANCERS:02d}" for p in range(dancers))
        situation = "sBM" if dancers == 1 else "sGR"
        song_id = f"m{genre}{song}"
        video_id = f"g{genre}_{situation}_c01_{'-'.join(names)}_{song_id}_ch{1 + choreography:02d}"
        yield video_id, genre, song_id, split_of(song_id), names
