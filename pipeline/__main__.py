"""`python -m pipeline` is the `pipeline` command.

`python -m pipeline -` imports what building features needs, then reads its arguments from standard
input, as a JSON list. `model generate` starts it so, before it knows them.
"""

import json
import sys

from pipeline.cli import main

if sys.argv[1:] == ["-"]:
    import av  # noqa: F401
    import cv2  # noqa: F401
    import pyarrow.compute
    import torch  # noqa: F401

    pyarrow.array([])  # the first array imports pandas, if it is there

    given = sys.stdin.read()
    if not given:  # not needed after all
        sys.exit()
    sys.argv[1:] = json.loads(given)
main()
