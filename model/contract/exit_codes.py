"""How a command ends after an error: one line on stderr, and an exit code."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CODES = "exit codes: 0 done; 1 error; 2 wrong usage; 3 done, but some failed; 130 interrupted"


class UsageError(ValueError):
    """The command line itself is wrong, independent of any file. Exit code 2, as in argparse."""


@contextmanager
def exits(lower: str, interrupted: str = "interrupted") -> Iterator[None]:
    """Turn errors that a user can fix into one line on stderr and SystemExit with one of `CODES`.

    `lower` is the advice printed when memory runs out: what to reduce. `interrupted` is printed
    after Ctrl-C. Other exceptions are bugs and keep their traceback.

    The process then ends without a last search for unreachable objects, which would take a second
    or two once torch is imported.
    """
    atexit.unregister(gc.freeze)  # once, however many commands a process runs
    atexit.register(gc.freeze)
    try:
        yield
    except BrokenPipeError:  # the reader of our output has closed it, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (ValueError, OSError) as error:
        print(f"error: {error_text(error)}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, UsageError) else 1) from None
    except (MemoryError, RuntimeError) as error:
        if str(error).startswith("cannot cache function"):  # numba's message
            print(
                "error: numba, which compiles librosa's functions, found no folder for its cache; "
                "set NUMBA_CACHE_DIR to a writable folder",
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
    # By class name and message: importing torch for its class takes seconds, and the class covers
    # only GPU memory.
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error)


def error_text(error: ValueError | OSError) -> str:
    """Return an error's message: our own unchanged, the operating system's without its number."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    if error.filename is None:
        return error.strerror
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename}: {error.strerror}; free some space"
    if isinstance(error, FileExistsError) and os.path.isfile(error.filename):
        return f"{error.filename}: is a file, expected a folder; choose another path"
    return f"{error.filename}: {error.strerror}; check the path, or choose another one"
