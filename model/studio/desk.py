"""What the handlers of the page share: the studio, and who asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from model.studio.studio import Studio
from model.studio.users import COOKIE, Refused, User

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""For events of the page: no script calls them, and nothing is dimmed meanwhile."""
TICK_S = 2.0
"""How often the page asks how far its jobs are."""


class Desk:
    """What the handlers of the page need: the studio, and who asks.

    `owns` says whether the user with a secret has sent the file at a path.
    """

    def __init__(self, studio: Studio, owns: Callable[[str, str], bool]) -> None:
        self.studio, self._owns = studio, owns

    def user(self, request: gr.Request) -> User:
        """Return who asks. Raises Refused without a cookie."""
        return self.studio.users.user(request.cookies.get(COOKIE, ""))

    def received(self, request: gr.Request, value: Any) -> tuple[Path, str]:
        """Return the path and the name of a file that this user has just sent.

        `value` is what the component holds. Raises Refused for a file of somebody else's, or one
        that was not sent.
        """
        file = value.get("video", value) if isinstance(value, dict) else value
        path = file.get("path") if isinstance(file, dict) else None
        if not isinstance(path, str) or not self._owns(request.cookies.get(COOKIE, ""), path):
            raise Refused("the file has not arrived: send it again")
        return Path(path), str(file.get("orig_name") or Path(path).name)
