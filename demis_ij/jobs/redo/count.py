"""How much of a run was done again, and how much was kept: counted in what it remembers, before and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demis_ij.runs import RunFolder


@dataclass(frozen=True)
class Again:
    """What was done again.

    Attributes
    ----------
    seams, kept_seams : int
        Seams about which a matcher was asked anew in the first pass, and those that were left as they were.
    comparisons, kept_comparisons : int
        Pairs of sections that were compared across z anew, and those that were not.
    """

    seams: int
    kept_seams: int
    comparisons: int = 0
    kept_comparisons: int = 0

    def said(self) -> str:
        """Return it in one line."""
        out = f"seams matched again: {self.seams} of {self.seams + self.kept_seams}"
        if self.comparisons or self.kept_comparisons:
            out += f"; sections compared again across z: {self.comparisons} of "
            out += f"{self.comparisons + self.kept_comparisons} pairs"
        return out


class Remembered:
    """What a run remembers at one time: 16 bytes an answer.

    Parameters
    ----------
    run : Path
        The run folder.
    sections : iterable of str
    """

    def __init__(self, run: Path, sections: Iterable[str]) -> None:
        self._run, self._sections = run, tuple(sections)
        self._answers = {name: _answers(run, name) for name in self._sections}
        self._compared = _compared(run)

    def since(self) -> Again:
        """Return what has come to it since this was made."""
        seams = kept = 0
        for name, before in self._answers.items():
            now = _answers(self._run, name)
            new = np.unique(now[~np.isin(now[:, 0], before[:, 0]), 1])
            seams, kept = seams + len(new), kept + len(np.setdiff1d(now[:, 1], new))
        compared = _compared(self._run)
        anew = len(compared - self._compared)
        return Again(seams, kept, anew, len(compared) - anew)


def _answers(run: Path, section: str) -> NDArray[np.int64]:
    """Return a row for each answer of the first pass: a number for it, and one for its pair of tiles."""
    table = RunFolder.remembered(run, section).columns(("stage", "fixed", "moving"))
    columns = (table.column(name).to_pylist() for name in ("stage", "fixed", "moving"))
    rows = [(hash(key), hash(key[1:])) for key in zip(*columns, strict=True) if key[0].startswith("first-")]
    return np.array(rows, np.int64).reshape(-1, 2)


def _compared(run: Path) -> set[str]:
    return {mark.name for mark in run.glob(".across-*.done")}


__all__ = ["Again", "Remembered"]
