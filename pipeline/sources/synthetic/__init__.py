"""A synthetic dance-music benchmark: drawn dancers with joints, composed music, known ground truth.

It has ten genres with six songs each, or more, and no song is in two splits. Names and layout are
those of AIST++. A seed determines everything. The beats, notes, joints, genre, song and dancers of
every video are known, so code that reads real footage can be checked with it.

`python -m pipeline.sources.synthetic DIR` writes the benchmark.
"""

from pipeline.sources.synthetic.music import Song, songs
from pipeline.sources.synthetic.notes import open_instruments
from pipeline.sources.synthetic.plan import VideoSpec, plan, song_ids, split_of
from pipeline.sources.synthetic.song_files import write_song
from pipeline.sources.synthetic.write import write_annotations, write_video

__all__ = [
    "Song",
    "VideoSpec",
    "open_instruments",
    "plan",
    "song_ids",
    "songs",
    "split_of",
    "write_annotations",
    "write_song",
    "write_video",
]
