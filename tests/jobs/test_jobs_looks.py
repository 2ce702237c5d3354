"""A stitched section is shown where its tiles lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demis_ij import formats, jobs, synth
from demis_ij.config import StitchConfig
from demis_ij.geometry import Box, Crop
from demis_ij.jobs.looks import to_picture
from demis_ij.records import PairMatch, Rejected
from demis_ij.report.pictures import Strip
from demis_ij.stitch import StitchResult, stitch


@pytest.fixture(scope="module")
def stitched(tmp_path_factory: pytest.TempPathFactory) -> StitchResult:
    folder = tmp_path_factory.mktemp("looks")
    spec = synth.GridSpec(rows=1, cols=3, tile_px=224, overlap=0.3, shift_frac=0.01, resin=((0, 2),))
    synth.write_scene(synth.make_scene(spec, seed=4), folder / "data")
    return stitch(formats.read(Path(folder / "data" / "project.xml")).layouts[0], StitchConfig(matcher="sift"))


def test_the_mosaic_is_shown_with_and_without_what_lies_over_it(stitched: StitchResult) -> None:
    plain = jobs.look_at_mosaic(stitched, max_side_px=300, overlay=False).pixels
    drawn = jobs.look_at_mosaic(stitched, max_side_px=300).pixels

    assert plain.ndim == 2
    assert max(plain.shape) == 300
    assert drawn.shape == (*plain.shape, 3)
    assert 0.01 < (np.ptp(drawn.astype(int), axis=2) > 60).mean() < 0.2  # share of the picture that is lines


def test_the_overlap_of_a_pair_is_shown_with_lines(stitched: StitchResult) -> None:
    match = next(p for p in stitched.pairs if isinstance(p, PairMatch))
    drawn = jobs.look_at_pair(stitched, match)

    assert drawn is not None
    assert 0.01 < (np.ptp(drawn.pixels.astype(int), axis=2) > 60).mean() < 0.4  # share of the picture that is lines


def test_points_of_a_tile_are_drawn_where_its_picture_shows_them() -> None:
    strip = Strip(np.zeros((40, 50), np.uint8), Crop.resized(Box(7, 11, 107, 131), (40, 50)))
    points = np.array([[7.0, 11.0], [50.0, 60.0]])

    np.testing.assert_allclose(to_picture(strip)(points), strip.crop.from_tile(points), atol=1e-12)


def test_a_pair_that_was_not_matched_is_shown_without_lines(stitched: StitchResult) -> None:
    lost = next(p for p in stitched.pairs if isinstance(p, Rejected))
    drawn = jobs.look_at_pair(stitched, lost)

    assert drawn is not None
    assert np.ptp(drawn.pixels.astype(int), axis=2).max() == 0


def test_tiles_that_share_nothing_have_nothing_to_show(stitched: StitchResult) -> None:
    first, _, last = stitched.layout.ids

    assert jobs.look_at_pair(stitched, Rejected(first, last, "apart")) is None
