"""Which tiles of a grid are missing, which show resin: drawn so that the grid falls into as many parts as asked for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from demis_ij.errors import InputError
from demis_ij.synth.grid import Position

_TRIES = 20


def parts(rows: int, cols: int, missing: Iterable[Position]) -> int:
    """Return how many parts the tiles that exist form; tiles hang together by their sides."""
    there = np.ones((rows, cols), bool)
    for position in missing:
        there[position] = False
    return int(ndimage.label(there)[1])


def least_side(components: int, *, decoy: bool = False) -> int:
    """Return how long the longer side of a grid must be, in tiles, to fall into so many parts (and hold a decoy)."""
    return 2 * components - (0 if decoy else 1)


def _has_row_pair(there: set[Position]) -> bool:
    return any((r, c + 1) in there for r, c in there)


def draw_missing(
    rows: int, cols: int, missing_frac: float, components: int, rng: np.random.Generator, *, decoy: bool = False
) -> tuple[Position, ...]:
    """Return the positions without a tile, in order.

    Parameters
    ----------
    rows, cols : int
    missing_frac : float
        Share of all tiles that are missing besides those that cut the grid. A tile whose loss would change the number
        of parts is passed over, so there may be fewer.
    components : int
        Parts that the rest forms.
    rng : Generator
    decoy : bool
        Whether two tiles of a row must stay.

    Raises
    ------
    InputError
        When the grid is too small for so many parts.
    """
    need = least_side(components, decoy=decoy)
    if max(rows, cols) < need:
        msg = f"components: {components} parts need {need} tiles in a row or column, the grid is {rows} x {cols}"
        raise InputError(msg)
    gone = _cuts(rows, cols, components, rng, decoy=decoy)
    wanted = int(missing_frac * rows * cols + rng.uniform())
    added = 0
    for index in rng.permutation(rows * cols):
        if added >= wanted:
            break
        more = gone | {divmod(int(index), cols)}
        rest = set(np.ndindex(rows, cols)) - more
        if len(more) == len(gone) or len(rest) < max(2, components) or (decoy and not _has_row_pair(rest)):
            continue
        if parts(rows, cols, more) == components:
            gone = more
            added += 1
    return tuple(sorted(gone))


def _cuts(rows: int, cols: int, components: int, rng: np.random.Generator, *, decoy: bool) -> set[Position]:
    """Return lines of tiles, each from one side to the other, that cut a grid: wavy where that works out."""
    across, along = min(rows, cols), max(rows, cols)
    for attempt in range(_TRIES + 1):
        waves = 1 if attempt < _TRIES else 0
        gone: set[Position] = set()
        drawn = np.sort(rng.choice(along - components, components - 1, replace=False)) if components > 1 else ()
        for k, first in enumerate(drawn):
            at = int(first) + 1 + k  # 2 apart at least, and 1 from the ends
            low, high = max(1, at - waves), min(along - 2, at + waves)
            for i in range(across):
                gone.add((i, at) if cols >= rows else (at, i))
                at = int(np.clip(at + rng.integers(-1, 2), low, high))
        whole = not decoy or _has_row_pair(set(np.ndindex(rows, cols)) - gone)
        if whole and parts(rows, cols, gone) == components:
            break
    return gone


def draw_resin(
    rows: int, cols: int, missing: tuple[Position, ...], resin_frac: float, rng: np.random.Generator, *, decoy: bool
) -> tuple[Position, ...]:
    """Return the positions that show resin, in order; one tile at least keeps its tissue, a row's pair for a decoy."""
    there = set(np.ndindex(rows, cols)) - set(missing)
    wanted = int(resin_frac * rows * cols + rng.uniform())
    weak: set[Position] = set()
    for index in rng.permutation(rows * cols):
        if len(weak) >= wanted:
            break
        position = divmod(int(index), cols)
        rest = there - weak - {position}
        enough = _has_row_pair(rest) if decoy else rest
        if position in there and enough:
            weak.add(position)
    return tuple(sorted(weak))
