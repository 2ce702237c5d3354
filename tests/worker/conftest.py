"""Workers to talk to, and layouts for them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_client import HOSTILE, Client

from demis_ij import synth
from demis_ij.synth import GridSpec

SMALL = GridSpec(
    rows=2, cols=2, tile_px=256, overlap=0.25, rotation_deg=0.5, shift_frac=0.02, stage_error_frac=0.02, noise_sd=3
)
LARGER = GridSpec(rows=4, cols=4, tile_px=192, overlap=0.25, shift_frac=0.02, stage_error_frac=0.02, noise_sd=3)


@pytest.fixture(scope="session")
def worker() -> Iterator[Client]:
    """Return a worker that all tests may ask, one after the other, but none may break."""
    client = Client()
    yield client
    client.kill()


@pytest.fixture(scope="session")
def odd_worker() -> Iterator[Client]:
    """Return a worker with made-up verbs that all tests may ask, one after the other, but none may break."""
    client = Client(made_up=True)
    yield client
    client.kill()


@pytest.fixture
def own_worker() -> Iterator[Client]:
    """Return a worker with made-up verbs that a test may break."""
    client = Client(made_up=True)
    yield client
    client.kill()


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a scene of 2 x 2 tiles that no test changes: project.xml, TileConfiguration.txt and tiles/."""
    return synth.write_scene(synth.make_scene(SMALL, 3), tmp_path_factory.mktemp("grid") / HOSTILE)


@pytest.fixture
def scene(grid: Path, tmp_path: Path) -> Path:
    """Return a copy of the scene, below a name with blanks and more, that a test may spoil."""
    return Path(shutil.copytree(grid, tmp_path / HOSTILE))


@pytest.fixture(scope="session")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a scene whose pairs come in several portions: 4 x 4 tiles, 24 pairs."""
    return synth.write_scene(synth.make_scene(LARGER, 4), tmp_path_factory.mktemp("larger") / "scene")
