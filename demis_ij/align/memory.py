"""What an interrupted alignment has done already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


class Memory:
    """Remembers arrays by the name of a step. This one forgets at the end of the process."""

    def __init__(self) -> None:
        self._kept: dict[str, Arrays] = {}

    def get(self, step: str) -> Arrays | None:
        """Return what a step has left, None when it has not begun."""
        return self._kept.get(step)

    def put(self, step: str, arrays: Arrays) -> None:
        """Keep what a step leaves, instead of what it left before."""
        self._kept[step] = arrays
