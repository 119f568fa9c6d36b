"""A synthetic dance-music benchmark: articulated dancers on composed music, with exact truth.

Ten genres, six songs each, song-disjoint splits, in AIST++'s names and layout, deterministic from
a seed. Beats, joints, genre, song and dancers of every video are known, so whatever reads real
footage can be checked here. `python -m pipeline.sources.synthetic DIR` writes it.
"""

from pipeline.sources.synthetic.plan import VideoSpec, plan
from pipeline.sources.synthetic.write import write_annotations, write_music, write_video

__all__ = ["VideoSpec", "plan", "write_annotations", "write_music", "write_video"]
