"""What a microscope and a disk do to tiles: files that are missing, cut short, black, there twice or exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

KINDS = ("missing", "truncated", "black", "duplicate", "swapped")


def spoil_tiles(files: Sequence[Path], rng: np.random.Generator, number: int) -> dict[Path, str]:
    """Spoil tiles on disk and return what was done to each.

    Parameters
    ----------
    files : sequence of Path
        The tiles, uncompressed TIFF.
    rng : numpy.random.Generator
        Who is hit.
    number : int
        How many tiles of each kind but the last; as many pairs of tiles are exchanged, half as many but one at least.
        A file is hit once.
    """
    swaps = max(1, number // 2)
    chosen = [files[i] for i in rng.choice(len(files), 4 * number + 2 * swaps + number, replace=False)]
    done: dict[Path, str] = {}
    for path in chosen[:number]:
        path.unlink()
        done[path] = "missing"
    for path in chosen[number : 2 * number]:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 3 // 5])
        done[path] = "truncated"
    for path in chosen[2 * number : 3 * number]:
        tifffile.imwrite(path, np.zeros_like(tifffile.imread(path)))
        done[path] = "black"
    for path, source in zip(chosen[3 * number : 4 * number], chosen[4 * number : 5 * number], strict=True):
        path.write_bytes(source.read_bytes())
        done[path] = "duplicate"
    for one, other in zip(chosen[5 * number :: 2], chosen[5 * number + 1 :: 2], strict=True):
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)
        done[one] = done[other] = "swapped"
    return done
