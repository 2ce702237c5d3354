"""Training, validation and test: by source image, never by grid."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from demis_ij.synth.dataset.sources import Source

SPLITS = ("train", "val", "test")
"""Names of the splits, as in the files ``splits/<name>_list.txt`` of the DEMIS dataset."""

K = TypeVar("K")


def share_out(count: int, validation_frac: float, test_frac: float) -> dict[str, int]:
    """Return how many of ``count`` each split gets: shares rounded, but one at least where a share is asked for.

    Where there are too few for that, training comes first, then testing.

    >>> share_out(10, 0.15, 0.15)
    {'train': 6, 'val': 2, 'test': 2}
    >>> share_out(2, 0.15, 0.15)
    {'train': 1, 'val': 0, 'test': 1}
    """
    val, test = (max(1, round(frac * count)) if frac > 0 else 0 for frac in (validation_frac, test_frac))
    most = count - (1 if count and validation_frac + test_frac < 1 - 1e-9 else 0)
    while val + test > most:
        if val >= test:
            val -= 1
        else:
            test -= 1
    return {"train": count - val - test, "val": val, "test": test}


def assign(
    sources: Sequence[Source], seed: int, *, validation_frac: float, test_frac: float, by: str = "image"
) -> dict[str, str]:
    """Return the split of each source by its name.

    Who goes where depends on the seed and on what the files hold, not on their names or order.

    Parameters
    ----------
    sources : sequence of Source
    seed : int
    validation_frac, test_frac : float
        Shares of the sources (with ``by`` folder: of the folders).
    by : str
        ``image``: each by itself. ``folder``: all of a folder go to one split (made-up sections each by itself).
    """
    members: dict[str, list[Source]] = {}
    for source in sources:
        members.setdefault((source.folder if by == "folder" else "") or source.key, []).append(source)
    ranked = sorted(members.values(), key=lambda group: _rank(seed, [s.key for s in group]))
    counts = share_out(len(ranked), validation_frac, test_frac)
    order = [name for name in ("test", "val", "train") for _ in range(counts[name])]
    return {s.name: name for group, name in zip(ranked, order, strict=True) for s in group}


def _rank(seed: int, keys: list[str]) -> str:
    return hashlib.sha256(" ".join([str(seed), *sorted(keys)]).encode()).hexdigest()
