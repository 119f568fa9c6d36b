"""Give librosa, numba and matplotlib cache folders that they can write.

A container may run as a user without a home folder, with read-only packages. librosa then cannot
be imported: it needs the home folder (as Ray does), and numba, which compiles its functions, needs
a cache folder. matplotlib would search for fonts at every start. In these cases this module sets
folders below the temporary folder.
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
    """Set environment variables for home and cache folders, where the present ones are unusable.

    This must run before librosa is imported. Importing `model` or `pipeline` runs it, also in
    worker processes. If no temporary folder can be written either, this changes nothing; the
    package that needs a folder then raises its own error.
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
    """Return whether numba can write one of the cache folders that it tries.

    In numba's order: the user's NUMBA_CACHE_DIR, `__pycache__` beside the source files, and the
    user's cache folder.
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
    """Return whether the access rights allow to write into a folder, or to create it."""
    folder = os.path.abspath(folder)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def writable(folder: str) -> bool:
    """Return whether a file can be written into a folder. Creates the folder, as numba does.

    Access rights alone do not decide this: root may write anywhere, but cannot create a folder in
    /proc.
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
    """Return a folder below the temporary folder that no other user can write to.

    This matters because numba executes what it finds in its cache. The folder is the same at every
    call. If another user owns that name, a new folder is created for this process and deleted at
    its end. Raises OSError if no temporary folder can be written.
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
