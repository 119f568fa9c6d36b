"""How a command ends: one line about what went wrong, and the exit code that goes with it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CODES = "exit codes: 0 done; 1 error; 2 wrong usage; 3 done, but some failed; 130 interrupted"


class UsageError(ValueError):
    """The command line itself is wrong, whatever the files hold: exit code 2, as argparse's."""


@contextmanager
def exits(lower: str, interrupted: str = "interrupted") -> Iterator[None]:
    """Turn what a user can mend into one line on stderr and SystemExit with one of `CODES`.

    `lower` says what takes less memory, for where it ran out, and `interrupted` what to say after
    Ctrl-C. A bug keeps its traceback.
    """
    try:
        yield
    except BrokenPipeError:  # whoever read our output has seen enough, as `… | head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (ValueError, OSError) as error:
        print(f"error: {error_text(error)}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, UsageError) else 1) from None
    except (MemoryError, RuntimeError) as error:
        if str(error).startswith("cannot cache function"):  # numba's words
            print(
                "error: numba, which compiles librosa's functions, finds no folder for its cache; "
                "set NUMBA_CACHE_DIR to one that can be written",
                file=sys.stderr,
            )
            raise SystemExit(1) from None
        if not _out_of_memory(error):
            raise
        asked = str(error).partition("\n")[0]
        print(f"error: out of memory{asked and f' ({asked})'}; {lower}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        raise SystemExit(130) from None


def _out_of_memory(error: Exception) -> bool:
    # By name and words: torch has a class for GPUs alone, and takes seconds to import.
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error)


def error_text(error: ValueError | OSError) -> str:
    """Return an error in words: our own as they are, the system's without its number."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    if error.filename is None:
        return error.strerror
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename}: {error.strerror}; make room"
    if isinstance(error, FileExistsError) and os.path.isfile(error.filename):
        return f"{error.filename}: is a file, expected a folder; choose another"
    return f"{error.filename}: {error.strerror}; check the path, or choose another"
