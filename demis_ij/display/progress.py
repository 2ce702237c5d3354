"""How far a long job is, in a notebook."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

from demis_ij.display.markup import Html, el, join
from demis_ij.errors import MissingPart

LEAST_SECONDS = 0.1
"""Between two updates of the page; the last of a stage is always shown."""


class Progress:
    """Shows the stages of a job in a notebook as they go on: pass it as ``progress`` to whatever takes one.

    Outside of a notebook there is nothing to show it on, and it does nothing.

    Ctrl-C (in Jupyter: the stop button) ends a job as usual; a run folder is gone on with next time.

    Raises
    ------
    MissingPart
        When there is no IPython, which every notebook has.
    """

    def __init__(self) -> None:
        try:
            ipython = import_module("IPython")
        except ImportError as error:
            raise MissingPart("IPython", "jupyter") from error
        self._stages: dict[str, tuple[int, int]] = {}
        self._shown = 0.0
        in_notebook = ipython.get_ipython() is not None
        self._handle: Any = ipython.display.display(self.picture(), display_id=True) if in_notebook else None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` steps of a stage are done."""
        is_new = what not in self._stages
        self._stages[what] = (done, total)
        now = time.monotonic()
        if is_new or done >= total or now - self._shown >= LEAST_SECONDS:
            self._shown = now
            if self._handle is not None:
                self._handle.update(self.picture())

    def picture(self) -> Html:
        """Return the stages so far, one a line, with a bar for what is not finished."""
        lines = [_line(what, done, total) for what, (done, total) in self._stages.items()]
        return el("div", *(lines or [Html("beginning")]))


def _line(what: str, done: int, total: int) -> Html:
    bar = el("progress", value=done, max=max(total, 1), style="margin:0 .6em") if done < total else None
    return el("div", join(what, ": ", bar, f"{done} of {total}"))
