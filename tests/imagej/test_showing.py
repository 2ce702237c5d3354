"""Layouts, mosaics and matches as pictures in ImageJ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from demis_ij import formats, imagej, synth, views
from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.imagej.marks import Arrow, Label, Line, Outline, Points
from demis_ij.imagej.painting import paint
from demis_ij.images import TileStore
from demis_ij.records import Affine, Layout, PairMatch, Rejected, Tile
from demis_ij.stitch import StitchResult, stitch

pytestmark = [pytest.mark.java, pytest.mark.usefixtures("imagej_session")]


@pytest.fixture(scope="module")
def stitched(tmp_path_factory: pytest.TempPathFactory) -> StitchResult:
    folder = tmp_path_factory.mktemp("shown")
    spec = synth.GridSpec(rows=2, cols=2, tile_px=256, overlap=0.3, shift_frac=0.02, resin=())
    synth.write_scene(synth.make_scene(spec, seed=4), folder / "data")
    result = stitch(formats.read(folder / "data" / "project.xml").layouts[0], StitchConfig(matcher="sift"))
    assert any(isinstance(p, PairMatch) for p in result.pairs)
    return result


def tiles_of(folder, **places: tuple[float, float]) -> Layout:
    rng = np.random.default_rng(3)
    tiles = []
    for name, (x, y) in places.items():
        tifffile.imwrite(folder / f"{name}.tif", rng.integers(100, 60000, (40, 50), dtype=np.uint16))
        tiles.append(Tile(name, folder / f"{name}.tif", (40, 50), Affine.translation(x, y)))
    return Layout(tuple(tiles), pixel_size=(4.0, "nm"))


def test_a_layout_is_drawn_where_its_tiles_lie_px_for_px(tmp_path):
    layout = tiles_of(tmp_path, a=(-10, 5), b=(30, 15))

    picture = imagej.show_layout(layout)

    image = picture.to_numpy()
    assert image.shape == (50, 90)
    np.testing.assert_array_equal(image[10:50, 40:90], tifffile.imread(tmp_path / "b.tif"))
    np.testing.assert_array_equal(image[:40, :40], tifffile.imread(tmp_path / "a.tif")[:, :40])
    assert not image[:10, 50:].any()
    outlines = [m for m in picture.overlay if isinstance(m, Outline)]
    assert outlines[1].corners == ((40.0, 10.0), (90.0, 10.0), (90.0, 50.0), (40.0, 50.0))
    assert [m.text for m in picture.overlay if isinstance(m, Label)] == ["a.tif", "b.tif"]
    assert picture.pixel_size == (4.0, "nm")


def test_a_reduced_layout_keeps_its_outlines_on_its_tiles(tmp_path):
    layout = tiles_of(tmp_path, a=(0, 0), b=(45, 0))

    picture = imagej.show_layout(layout, longest_px=48)

    assert picture.shape == (21, 48)
    assert [m for m in picture.overlay if isinstance(m, Outline)][1].corners[0] == pytest.approx(
        (45 * 48 / 95, 0), abs=1e-3
    )
    assert picture.pixel_size[0] == pytest.approx(4 * 95 / 48)


def test_tiles_that_cannot_be_read_are_left_out_and_none_at_all_is_refused(tmp_path):
    layout = tiles_of(tmp_path, a=(0, 0), b=(45, 0))
    (tmp_path / "a.tif").unlink()

    assert not imagej.show_layout(layout).to_numpy()[:, :40].any()
    (tmp_path / "b.tif").unlink()
    with pytest.raises(InputError, match=r"nothing of section 0 can be drawn: .*b\.tif"):
        imagej.show_layout(layout)


def test_a_mosaic_shows_outlines_arrows_and_seams(stitched):
    picture = imagej.show_mosaic(stitched)

    kinds = [type(m) for m in picture.overlay]
    assert kinds.count(Outline) == 4
    assert kinds.count(Line) == len(stitched.pairs)
    assert kinds.count(Arrow) >= 1
    seam = next(m for m in picture.overlay if isinstance(m, Line))
    assert " - " in seam.name
    assert np.ptp(picture.snapshot().astype(int), axis=2).max() > 100  # something is coloured


def test_arrows_end_where_the_tile_lies_and_tell_by_how_much_they_are_too_long(stitched):
    image, to_picture, scale = paint(stitched.solution.layout, TileStore(), 2000)
    view = views.mosaic_view(
        stitched.layout, stitched.solution, stitched.pairs, stitched.placed_by, to_picture=to_picture,
        shape=image.shape, scale=scale, title="mine",
    )  # fmt: skip

    picture = imagej.show_mosaic(view, image)

    drawn = [m for m in picture.overlay if isinstance(m, Arrow)]
    factor = int(picture.title.split("arrows ")[1].split(" times")[0])
    assert factor > 1
    for arrow, told in zip(drawn, view.arrows, strict=True):
        np.testing.assert_allclose(arrow.end, told.end, atol=1e-3)
        np.testing.assert_allclose(
            np.subtract(arrow.end, arrow.start), factor * np.subtract(told.end, told.start), atol=factor * 2e-3
        )  # px: views round to 0.001


@pytest.mark.parametrize("shrink", [1, 2])
def test_a_mosaic_of_ones_own_may_be_reduced(stitched, shrink):
    image = paint(stitched.solution.layout, TileStore(), 2000)[0][::shrink, ::shrink]

    picture = imagej.show_mosaic(stitched, image)

    np.testing.assert_array_equal(picture.to_numpy(), image)
    outer = np.concatenate([m.corners for m in picture.overlay if isinstance(m, Outline)])
    np.testing.assert_allclose((*outer.min(0), *outer.max(0)), (0, 0, *image.shape[::-1]), atol=1.5)  # px of the edge


def test_a_mosaic_of_another_shape_is_refused(stitched):
    with pytest.raises(InputError, match=r"the image has 10 rows and 500 columns"):
        imagej.show_mosaic(stitched, np.zeros((10, 500), np.uint8))
    view = views.layout_view(stitched.layout, to_picture=Affine(), shape=(5, 6), scale=1.0)
    with pytest.raises(InputError, match="5 rows and 6 columns"):
        imagej.show_mosaic(view, np.zeros((6, 5), np.uint8))
    with pytest.raises(InputError, match="give the mosaic too"):
        imagej.show_mosaic(view)


def test_a_solution_alone_has_outlines_only(stitched):
    kinds = {type(m) for m in imagej.show_mosaic(stitched.solution).overlay}

    assert kinds == {Outline, Label}


def test_matches_join_the_same_tissue_in_both_slices(stitched):
    pair = max((p for p in stitched.pairs if isinstance(p, PairMatch)), key=lambda p: p.inliers)

    picture = imagej.show_matches(stitched, pair.moving, pair.fixed)

    stack = picture.to_numpy()
    lines = [m for m in picture.overlay if isinstance(m, Line)]
    assert stack.shape[0] == 2
    assert len(lines) >= 10
    assert {m.plane for m in picture.overlay if isinstance(m, Points)} == {1, 2}
    half = 10
    alike = []
    for line in lines:
        patches = []
        for plane, (x, y) in zip(stack, (line.start, line.end), strict=True):
            row, col = int(y), int(x)
            patches.append(plane[row - half : row + half + 1, col - half : col + half + 1].astype(float).ravel())
        if len(patches[0]) == len(patches[1]) == (2 * half + 1) ** 2 and min(p.std() for p in patches) > 0:
            alike.append(np.corrcoef(*patches)[0, 1])
    assert np.median(alike) > 0.5  # of patches of noisy tissue; strangers have about 0


def test_a_pair_that_was_not_matched_has_no_lines(stitched):
    first, second = stitched.pairs[0].fixed, stitched.pairs[0].moving
    lost = replace(stitched, pairs=(Rejected(first, second, "too few"),))

    assert imagej.show_matches(lost, first, second).overlay == ()
    with pytest.raises(InputError, match=f"{first} was compared with {second}"):
        imagej.show_matches(lost, first, "nobody")
    with pytest.raises(InputError, match="no pair has a tile 'nobody'"):
        imagej.show_matches(lost, "nobody", "either")


def test_a_window_needs_a_session_with_windows(stitched):
    with pytest.raises(InputError, match=r"headless=False"):
        imagej.show_layout(stitched.layout).open_window()
