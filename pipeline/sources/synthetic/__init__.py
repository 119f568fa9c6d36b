"""A synthetic dance-music benchmark: drawn dancers with joints, composed music, known ground truth.

It has ten genres with six songs each, and no song is in two splits. Names and layout are those of
AIST++. A seed determines everything. The beats, joints, genre, song and dancers of every video are
known, so code that reads real footage can be checked with it.

`python -m pipeline.sources.synthetic DIR` writes the benchmark.
"""

from pipeline.sources.synthetic.plan import VideoSpec, plan
from pipeline.sources.synthetic.write import write_annotations, write_music, write_video

__all__ = ["VideoSpec", "plan", "write_annotations", "write_music", "write_video"]
