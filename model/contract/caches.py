"""Where librosa, numba and matplotlib keep what they have made: folders that can be written.

A container may run as a user without a home and with packages that are read-only. There librosa
cannot be imported, as it asks where the home is (as Ray does), and numba, which compiles its
functions, for a place for them; and matplotlib looks for fonts anew each time. They then get
folders among the temporary files.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from importlib.util import find_spec

HOMES = {"XDG_CACHE_HOME": "~/.cache", "XDG_CONFIG_HOME": "~/.config"}


def settle() -> None:
    """Name a home and folders for the caches in the environment, where there are none that do.

    Before librosa is imported: importing `model` or `pipeline` does it, in workers of theirs too.
    Where not even a temporary file has a place, what needs one says so.
    """
    try:
        if not os.path.isabs(os.environ.get("HOME", os.path.expanduser("~"))):
            os.environ["HOME"] = private_folder("home")
        if not numba_finds_a_place():
            os.environ["NUMBA_CACHE_DIR"] = private_folder("numba")
        asked = os.environ.get("MPLCONFIGDIR")
        used = [asked] if asked else [os.path.join(home_of(name), "matplotlib") for name in HOMES]
        if not all(map(allowed, used)):
            os.environ["MPLCONFIGDIR"] = private_folder("matplotlib")
    except OSError:
        return


def numba_finds_a_place() -> bool:
    """Return whether one of the folders that numba tries can be written, tried in its order.

    They are the user's NUMBA_CACHE_DIR, those beside the source, and the user's cache.
    """
    asked = os.environ.get("NUMBA_CACHE_DIR")
    if asked and writable(asked):
        return True
    spec = find_spec("librosa")
    if spec is None or not spec.submodule_search_locations:
        return True
    (source,) = spec.submodule_search_locations
    beside = [source, *(entry.path for entry in os.scandir(source) if entry.is_dir())]
    if all(allowed(os.path.join(folder, "__pycache__")) for folder in beside):
        return True
    return writable(os.path.join(home_of("XDG_CACHE_HOME"), "numba"))


def home_of(name: str) -> str:
    """Return the folder that a variable of the XDG standard names, or its default."""
    return os.environ.get(name) or os.path.expanduser(HOMES[name])


def allowed(folder: str) -> bool:
    """Return whether the rights let us write into a folder, or make it."""
    folder = os.path.abspath(folder)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def writable(folder: str) -> bool:
    """Return whether a file can be written into a folder, which is made, as numba does.

    Rights do not tell all: root may write anywhere, but not make a folder in /proc.
    """
    if not allowed(folder):
        return False
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def private_folder(name: str) -> str:
    """Return a folder among the temporary files that nobody else can write to.

    The same each time, or one for this process alone where another has taken its place: what lies
    in it is run. Raises OSError where no folder for temporary files can be written.
    """
    folder = os.path.join(tempfile.gettempdir(), f"dance2music-{os.getuid()}")
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        found = os.lstat(folder)
        rights = stat.S_IMODE(found.st_mode)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or rights != 0o700:
            folder = tempfile.mkdtemp(prefix="dance2music-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder = os.path.join(folder, name)
    os.makedirs(folder, 0o700, exist_ok=True)
    return folder
