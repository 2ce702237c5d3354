"""``watch`` where the stage's axes are not the image's, and with several workers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from demis_ij import jobs, stitch
from demis_ij.config import StitchConfig
from demis_ij.jobs.reading import read_layout
from demis_ij.jobs.watch.files import STILL_S
from demis_ij.jobs.watch.plan import GridPlan
from demis_ij.jobs.watch.watching import Watch, WatchJob
from demis_ij.runs import MatchStore, RunFolder
from demis_ij.testing.made_stacks import noise_picture, picture_shape, write_stack

ROWS, COLS = 2, 5
OPTIONS = {"pattern": "{row}_{col}.tif", "rows": ROWS, "cols": COLS, "overlap": 0.3}
CONFIG = StitchConfig(matcher="sift", resolution=1.0)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> Path:
    """Return a folder of tiles whose names say row and column."""
    shape = picture_shape(ROWS, COLS, 128, 0.3)
    picture = noise_picture(shape, np.random.default_rng(0))
    folder = tmp_path_factory.mktemp("watched")
    write_stack(folder / "stack", [picture], np.random.default_rng(1), rows=ROWS, cols=COLS, tile_px=128, overlap=0.3)
    return folder / "stack" / "s0000"


class Microscope:
    """A watch on a clock of its own, and tiles that come whenever it waits."""

    def __init__(self, folder: Path, out: Path, **job) -> None:
        self.folder, self.now, self.coming = folder, 0.0, []
        folder.mkdir(exist_ok=True)
        how = jobs.StitchJob(config=CONFIG, read_options=OPTIONS, write_mosaic=False, **job)
        self.watch = Watch(
            GridPlan(folder, OPTIONS), folder, out, WatchJob(job=how), wait=self.wait, clock=lambda: self.now
        )

    def wait(self, seconds: float) -> None:
        self.now += max(seconds, STILL_S / 2)
        if self.coming:
            shutil.copy2(*self.coming.pop(0))

    def run(self, tiles: Path, name_of) -> list:
        """Let all tiles come, each under the name that a place has for this stage, and return what is said."""
        places = [(row, col) for row in range(ROWS) for col in range(COLS)]
        self.coming = [
            (tiles / f"{row}_{col}.tif", self.folder / "{}_{}.tif".format(*name_of(row, col))) for row, col in places
        ]
        try:
            return [*self.watch.loop(), *self.watch.ending()]
        finally:
            self.watch.close()


def finished_without_matching(folder: Path, out: Path, monkeypatch) -> jobs.JobResult:
    """Return what ``stitch`` makes of a run that was watched; it asks no matcher."""

    def never(*_given, **_named):
        raise AssertionError

    document = read_layout(folder, **OPTIONS)
    how = jobs.StitchJob(config=CONFIG, read_options=OPTIONS, write_mosaic=False)
    with monkeypatch.context() as patch:
        patch.setattr(stitch.asking, "matched", never)
        patch.setattr("demis_ij.jobs.sections.find_axes", never)
        return jobs.run_stitch(document, out, how)


@pytest.mark.parametrize(
    ("axes", "name_of"),
    [
        ("-x+y", lambda row, col: (row, COLS - 1 - col)),
        ("+x-y", lambda row, col: (ROWS - 1 - row, col)),
        ("-x-y", lambda row, col: (ROWS - 1 - row, COLS - 1 - col)),
    ],
)
def test_a_stage_that_runs_the_other_way_is_found_when_its_first_seams_fail(
    tiles, tmp_path, monkeypatch, axes, name_of
):
    microscope = Microscope(tmp_path / "arriving", tmp_path / "run")

    said = microscope.run(tiles, name_of)

    turned = [e.said for e in said if "stage axes" in e.said]
    assert f"most seams fail, so stage axes {axes} are used" in turned[-1]
    assert len(turned) <= 2  # a first row leaves open how the rows follow
    end = said[-1].facts
    assert (end["there"], end["matched"], end["failed"]) == (ROWS * COLS, 13, 0)
    result = finished_without_matching(tmp_path / "arriving", tmp_path / "run", monkeypatch)
    assert any(f"stage axes {axes} are used" in line for line in result.warnings)
    assert max(result.results[0].solution.pair_residual_px.values()) < 1


def test_axes_that_are_given_are_never_looked_for(tiles, tmp_path):
    microscope = Microscope(tmp_path / "arriving", tmp_path / "run", stage_axes="+x+y")

    said = microscope.run(tiles, lambda row, col: (row, COLS - 1 - col))

    assert not any("stage axes" in e.said for e in said)
    assert said[-1].facts["failed"] > 4


def test_started_again_it_knows_the_axes(tiles, tmp_path):
    for row in range(ROWS):
        for col in range(COLS):
            (tmp_path / "arriving").mkdir(exist_ok=True)
            shutil.copy2(tiles / f"{row}_{col}.tif", tmp_path / "arriving" / f"{row}_{COLS - 1 - col}.tif")
    for turn in (1, 0):
        microscope = Microscope(tmp_path / "arriving", tmp_path / "run")
        said = microscope.run(tiles, lambda row, col: (row, COLS - 1 - col))
        assert sum("stage axes" in e.said for e in said) == turn
        assert said[-1].facts["matched"] == 13


def test_two_workers_find_the_same_as_one(tiles, tmp_path):
    for workers in (1, 2):
        microscope = Microscope(tmp_path / f"arriving{workers}", tmp_path / f"run{workers}", workers=workers)
        said = microscope.run(tiles, lambda row, col: (row, col))
        assert said[-1].facts["matched"] == 13
    stores = [RunFolder.remembered(tmp_path / f"run{n}", "0") for n in (1, 2)]
    for store in stores:
        assert isinstance(store, MatchStore)
        store.finish()
    one, two = ((tmp_path / f"run{n}" / "matches" / "0" / "all.parquet").read_bytes() for n in (1, 2))
    assert one == two
