"""What ``--memory`` must be: what the processes take together, and a run that fits is not refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tifffile

from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.jobs import memory
from demis_ij.jobs.memory import KEPT_BYTES, MATCHING_BYTES, PAIR_BYTES, PAIRS_A_TILE, PROGRAM_BYTES, tile_bytes
from demis_ij.jobs.stitch_job import StitchJob
from demis_ij.pools import open_pool
from demis_ij.records import Affine, Layout, Tile

JOB = StitchJob(config=StitchConfig(matcher="sift"))
SIDE = 1000
PAIR = (MATCHING_BYTES + 2 * KEPT_BYTES) * SIDE**2


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiles") / "tile.tif"
    tifffile.imwrite(path, np.zeros((SIDE, SIDE), np.uint8))
    return path


def section(path, count):
    return Layout(
        tuple(Tile(str(n), path, (SIDE, SIDE), to_world=Affine.translation(n, 0.0)) for n in range(count)), "0"
    )


def kept(layout, workers, allowed, sections=1):
    with open_pool(workers, memory_bytes=allowed) as pool:
        return tile_bytes(JOB, pool, layout, sections)


def known_of(layout):
    return PAIR_BYTES * PAIRS_A_TILE * len(layout)


@pytest.mark.parametrize("count", [4, 60_000])  # what is known of pairs is nothing; and more than a process else takes
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_what_is_asked_for_is_enough_and_is_what_the_processes_take(count, workers, path):
    layout = section(path, count)
    beside = workers if workers > 1 else 0
    leads = PROGRAM_BYTES + (max(PAIR, known_of(layout)) if beside else PAIR + known_of(layout))
    takes = leads + beside * (PROGRAM_BYTES + PAIR)
    with pytest.raises(InputError, match="is too small: ") as refused:
        kept(layout, workers, takes - (1 << 22))
    asked = memory.size_in_bytes(re.search(r"need\S* ([\d.]+[MG]) ", str(refused.value))[1])
    assert takes <= asked <= takes + (takes // 8)  # rounded up as people write it
    left = kept(layout, workers, asked)
    assert left >= 2 * KEPT_BYTES * SIDE**2


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_all_processes_together_stay_below_what_is_allowed(workers, path):
    for count in (4, 60_000):
        layout = section(path, count)
        allowed = 3 << 30
        beside = workers if workers > 1 else 0
        each = PROGRAM_BYTES + MATCHING_BYTES * SIDE**2 + kept(layout, workers, allowed)
        together = beside * each + PROGRAM_BYTES + known_of(layout) if beside else each + known_of(layout)
        assert together <= allowed


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_of_sections_side_by_side_each_worker_holds_what_is_known_of_one(workers, path):
    layout, allowed = section(path, 60_000), 6 << 30
    beside = workers if workers > 1 else 0
    each = PROGRAM_BYTES + MATCHING_BYTES * SIDE**2 + known_of(layout) + kept(layout, workers, allowed, sections=3)
    assert beside * each + PROGRAM_BYTES + known_of(layout) <= allowed if beside else each <= allowed
    with pytest.raises(InputError, match="is too small: "):
        kept(layout, workers, beside * (each // 4) + (1 << 28), sections=3)
