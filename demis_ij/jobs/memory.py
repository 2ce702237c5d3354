"""What a job may keep in memory, from what its user allows."""

from __future__ import annotations

import math
import re

from demis_ij import images
from demis_ij.errors import InputError
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.pools import Pool
from demis_ij.records import Layout
from demis_ij.render import check_memory

USUAL_BYTES = 1 << 29
"""What one process keeps of tiles when nobody says anything."""
PROGRAM_BYTES = 180 << 20
"""What one process takes before it has read a tile."""
NETWORK_BYTES = 600 << 20
"""What LoFTR takes besides: PyTorch, its weights, and what it holds of a few pairs."""
MATCHING_BYTES = 80
"""For each pixel of a tile: what a matcher (SIFT's octaves) holds of a pair's strips, and the report of close-ups."""
KEPT_BYTES = 4
"""For each pixel of a tile that is kept: as read (at most 16 bit), its mask, normalised."""


UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?")


def size_in_bytes(text: str | None) -> int | None:
    """Return what ``--memory`` says, None where nothing was said. Raises `InputError`.

    Examples
    --------
    >>> size_in_bytes("8G"), size_in_bytes("1.5 GiB"), size_in_bytes(None)
    (8589934592, 1610612736, None)
    """
    if text is None:
        return None
    found = SIZE.fullmatch(text.strip().upper())
    if found is None or float(found[1]) == 0:
        msg = f"--memory {text}: needed a size such as 8G, 500M or 1.5G"
        raise InputError(msg)
    return round(float(found[1]) * UNITS[found[2]])


PAIR_BYTES = 3200
"""What the process that leads holds of a pair of 40 points: 2750 seen of the pair, 380 of where it is stored."""
PAIRS_A_TILE = 2
"""Of a grid: one to the right, one below."""


def tile_bytes(job: StitchJob, pool: Pool, section: Layout, sections: int = 1) -> int:
    """Return what each process may keep of tiles.

    Parameters
    ----------
    job : StitchJob
        What is to be done.
    pool : Pool
        Who does it.
    section : Layout
        Whose first readable tile says how large tiles are.
    sections : int
        How many there are: several are worked on side by side, each led by a worker.

    Raises
    ------
    InputError
        When what is allowed does not hold the program and a pair of tiles; says how much is needed.
    """
    if pool.bytes_each is None or pool.memory_bytes is None:
        return USUAL_BYTES
    program = PROGRAM_BYTES + (NETWORK_BYTES if job.config.matcher in {"auto", "loftr"} else 0)
    pixels = _largest(section)
    pair = (MATCHING_BYTES + 2 * KEPT_BYTES) * pixels
    known = PAIR_BYTES * PAIRS_A_TILE * len(section)
    on_cluster = job.dask not in {None, "local"}
    led = known if sections > 1 else 0  # by a worker
    # one worker is this process itself; several are processes beside it, which holds no tile; a cluster's are elsewhere
    workers = 0 if on_cluster or pool.workers == 1 else pool.workers
    allowed = pool.bytes_each if on_cluster else pool.memory_bytes
    if workers:
        leads = max(allowed // (workers + 1), program + known)  # the others share what that leaves
        free, need = (allowed - leads) // workers - program, pair + led
        needed = workers * (program + need) + program + max(need, known)
        who = f"{workers} workers and the process that leads them need"
    else:
        led = led if on_cluster else known
        free, need = allowed - program, pair + led
        needed = program + need
        who = "each worker needs" if on_cluster else "one process needs"
    if free < need:
        msg = (
            f"--memory {said(allowed)} is too small: {who} {said(needed)} to hold a pair of these tiles"
            f"{'; allow more, or take fewer workers' if workers else ''}"
        )
        raise InputError(msg)
    return min(4 * USUAL_BYTES, free - MATCHING_BYTES * pixels - led)


def checked_bytes(job: StitchJob, pool: Pool, section: Layout, sections: int = 1) -> int:
    """Return what each process may keep of tiles, if what is allowed is enough for all that a job does.

    Raises
    ------
    InputError
        As `tile_bytes`, and when it is too little to draw.
    """
    keep = tile_bytes(job, pool, section, sections)
    if job.write_mosaic:
        check_memory(section, job.render.block_px, pool)
    return keep


def _largest(section: Layout) -> int:
    """Return the number of pixels of a section's first readable tile."""
    for tile in section:
        try:
            shape, _ = images.header(tile.path, tile.page)
        except InputError:
            continue  # named where tiles are read
        return math.prod(shape)
    return 0


def said(number: int) -> str:
    """Return bytes as people write them, rounded up.

    Examples
    --------
    >>> said(350 << 20), said(3 << 30)
    ('350M', '3G')
    """
    if number >= 10 << 30 or (number >= 1 << 30 and number % (1 << 30) == 0):
        return f"{math.ceil(number / (1 << 30))}G"
    if number >= 1 << 30:
        return f"{math.ceil(number / (1 << 30) * 10) / 10:g}G"
    return f"{math.ceil(number / (1 << 20))}M"
