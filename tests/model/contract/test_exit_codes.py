"""How a command ends: quickly, and after what others do at the end."""

from __future__ import annotations

import subprocess
import sys

END = """
import atexit, gc, sys
atexit.register(lambda: print("last, frozen:", gc.get_freeze_count() > 0))
from model.contract.exit_codes import exits
with exits("less"):
    atexit.register(lambda: print("first, frozen:", gc.get_freeze_count() > 0))
    sys.exit(3)
"""


def test_objects_are_not_searched_at_the_end_of_a_command_but_after_its_own_last_steps():
    done = subprocess.run([sys.executable, "-c", END], capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.splitlines() == ["first, frozen: False", "last, frozen: True"]
