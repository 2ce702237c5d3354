"""One menu and one set of layouts for all tests of the scripts."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fiji_menu import HOSTILE, Menu, in_real_fiji, kill_workers, made_fiji

from demis_ij import fiji, synth
from demis_ij.synth import GridSpec

SMALL = GridSpec(
    rows=2, cols=2, tile_px=256, overlap=0.25, rotation_deg=0.5, shift_frac=0.02, stage_error_frac=0.02, noise_sd=3
)
LARGER = GridSpec(rows=5, cols=5, tile_px=256, overlap=0.25, shift_frac=0.02, stage_error_frac=0.02, noise_sd=3)


@pytest.fixture(scope="session")
def menu(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Menu]:
    """Return the scripts, installed below a folder with a hostile name, in the embedded ImageJ or in ``--fiji``."""
    home = made_fiji(tmp_path_factory.mktemp("menu") / HOSTILE)
    fiji.install(home, python=Path(sys.executable))
    real = request.config.getoption("--fiji") or request.config.getini("fiji")
    if real:
        call = in_real_fiji(Path(real))
    else:
        session = request.getfixturevalue("imagej_session")

        def call(script: Path, inputs: object) -> None:
            session.run_script(script, inputs)

    yield Menu(home, tmp_path_factory.mktemp("asked"), call)
    kill_workers()


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a scene of 2 x 2 tiles that no test changes: project.xml, TileConfiguration.txt and tiles/."""
    return synth.write_scene(synth.make_scene(SMALL, 3), tmp_path_factory.mktemp("grid") / HOSTILE)


@pytest.fixture
def scene(grid: Path, tmp_path: Path) -> Path:
    """Return a copy of the scene, below a hostile name, that a test may spoil."""
    return Path(shutil.copytree(grid, tmp_path / HOSTILE))


@pytest.fixture(scope="session")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a scene that takes long enough to be stopped: 5 x 5 tiles."""
    return synth.write_scene(synth.make_scene(LARGER, 4), tmp_path_factory.mktemp("larger") / "scene")


@pytest.fixture
def empty_fiji(tmp_path: Path) -> Path:
    """Return a folder that looks like a Fiji and has no scripts."""
    return made_fiji(tmp_path / "Fiji")
