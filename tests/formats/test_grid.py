"""Grids of tiles without a layout file."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_images import shared_data

from demis_ij import formats
from demis_ij.errors import InputError
from demis_ij.formats.grid import ORDERS, STAGE_AXES, STARTS, flip_axes, grid_layout, natural_key, running_numbers
from demis_ij.records import Affine, Layout, Tile

SHAPE = (100, 200)


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def cells(layout, overlap=0.1):
    """{id: (row, col)} from the positions."""
    step_x, step_y = SHAPE[1] * (1 - overlap), SHAPE[0] * (1 - overlap)
    return {t.id: (round(t.to_world.ty / step_y), round(t.to_world.tx / step_x)) for t in layout}


def numbered(tmp_path, count=6):
    return touch(tmp_path / "grid", *(f"t{i}.tif" for i in range(1, count + 1)))


WALKS = {
    "row": [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)],
    "column": [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)],
    "snake-row": [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0)],
    "snake-column": [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2)],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("start", STARTS)
def test_running_numbers_walk_in_their_order_from_their_corner(tmp_path, order, start):
    layout = grid_layout(numbered(tmp_path), rows=2, cols=3, order=order, start=start, shape=SHAPE)
    wanted = [
        (1 - row if start.startswith("bottom") else row, 2 - col if start.endswith("right") else col)
        for row, col in WALKS[order]
    ]
    assert cells(layout) == {f"t{i + 1}.tif": cell for i, cell in enumerate(wanted)}
    assert layout.ids == tuple(f"t{i}.tif" for i in range(1, 7))
    assert (layout["t1.tif"].path, layout["t1.tif"].shape) == (tmp_path / "grid" / "t1.tif", SHAPE)


def test_the_step_is_the_tile_less_its_overlap_along_each_axis(tmp_path):
    folder = numbered(tmp_path, 4)
    layout = grid_layout(folder, cols=2, overlap=(0.25, 0.1), shape=SHAPE)
    assert layout["t4.tif"].to_world == Affine.translation(150, 90)
    assert cells(grid_layout(folder, rows=2, shape=SHAPE))["t3.tif"] == (1, 0)


def test_one_row_from_right_to_left(tmp_path):
    layout = grid_layout(numbered(tmp_path, 3), rows=1, start="top-right", shape=SHAPE)
    assert cells(layout) == {"t1.tif": (0, 2), "t2.tif": (0, 1), "t3.tif": (0, 0)}


def test_a_number_that_is_left_out_leaves_a_hole(tmp_path):
    folder = touch(tmp_path / "g", "1-001.jpg", "1-003.jpg", "1-004.jpg", "1-010.jpg", "1-012.jpg")
    layout = grid_layout(folder, rows=3, cols=4, shape=SHAPE)
    assert list(cells(layout).values()) == [(0, 0), (0, 2), (0, 3), (2, 1), (2, 3)]


def test_missing_first_tiles_leave_holes_where_the_numbers_fit_the_grid(tmp_path):
    folder = touch(tmp_path / "g", "t02.tif", "t03.tif", "t04.tif")
    assert list(cells(grid_layout(folder, rows=2, cols=3, shape=SHAPE)).values()) == [(0, 1), (0, 2), (1, 0)]
    folder = touch(tmp_path / "h", "t11.tif", "t12.tif", "t13.tif")  # the 1 that they share is no prefix here
    assert list(cells(grid_layout(folder, rows=4, cols=4, shape=SHAPE)).values()) == [(0, 2), (0, 3), (1, 0)]
    with pytest.raises(InputError, match="outside 3 x 5 tiles counted from 0"):
        grid_layout(touch(tmp_path / "k", "t0.tif", "t15.tif"), rows=3, cols=5, shape=SHAPE)


def test_without_running_numbers_the_missing_places_can_be_named(tmp_path):
    folder = touch(tmp_path / "g", "north.tif", "east.tif", "south.tif")
    assert list(cells(grid_layout(folder, rows=2, cols=2, missing=[2], shape=SHAPE)).items()) == [
        ("east.tif", (0, 0)),
        ("north.tif", (1, 0)),
        ("south.tif", (1, 1)),
    ]
    with pytest.raises(InputError, match="do not fill 2 x 2"):
        grid_layout(folder, rows=2, cols=2, shape=SHAPE)


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["a1.tif", "a2.tif", "a10.tif"], [1, 2, 10]),
        (["WJE0680001.Jpg", "WJE0680002.Jpg", "WJE0680008.Jpg"], [1, 2, 8]),
        (["x100_10pct_001_A001_I.tif", "x100_10pct_001_A012_I.tif"], [1, 12]),
        (["s3_t0.tif", "s3_t1.tif"], [0, 1]),
        (["2024-01-05_1.tif", "2024-01-09_2.tif"], [1, 2]),  # a date and a counter: the smaller span counts
        (["a1b1.tif", "a1b2.tif", "a2b1.tif"], None),
        (["a1.tif", "b2.tif"], None),
        (["a.tif", "b.tif"], None),
    ],
)
def test_the_running_number_is_the_digits_that_differ(tmp_path, names, numbers):
    assert running_numbers([tmp_path / n for n in names]) == numbers


def test_natural_order_counts_as_people_do(tmp_path):
    names = ["t10.tif", "t9.tif", "T1.tif", "t2b.tif"]
    assert [p.name for p in sorted((tmp_path / n for n in names), key=natural_key)] == [
        "T1.tif",
        "t2b.tif",
        "t9.tif",
        "t10.tif",
    ]


@pytest.mark.parametrize(
    ("pattern", "make", "base"),
    [
        ("tile_{row}_{col}.tif", "tile_{r}_{c}.tif", 0),
        ("tile_{row:03d}-{col:03d}.tif", "tile_{r:03d}-{c:03d}.tif", 1),
        ("ex[Grid@{x} {y}].jpg", "ex[Grid@{c} {r}].jpg", 0),
        ("Tile_{yyy}-{xxx}-000000_*.tif", "Tile_{r:03d}-{c:03d}-000000_0-000.tif", 1),
        ("img (r{y}+c{x})$.png", "img (r{r}+c{c})$.png", 1),
    ],
)
def test_rows_and_columns_are_read_from_names(tmp_path, pattern, make, base):
    places = [(r, c) for r in range(3) for c in range(2) if (r, c) != (0, 1)]
    names = {make.format(r=r + base, c=c + base): (r, c) for r, c in places}
    layout = grid_layout(touch(tmp_path / "g", *names, "overview.tif"), pattern=pattern, shape=SHAPE)
    assert cells(layout) == names
    turned = grid_layout(tmp_path / "g", pattern=pattern, start="bottom-right", shape=SHAPE)
    assert cells(turned) == {name: (2 - r, 1 - c) for name, (r, c) in names.items()}


@pytest.mark.parametrize("first", [0, 1, 95])
def test_a_pattern_with_i_counts_from_0_from_1_or_from_where_the_numbers_begin(tmp_path, first):
    names = [f"s{i:04d}.tif" for i in range(first, first + 6)]
    layout = grid_layout(touch(tmp_path / "g", *names), rows=2, cols=3, pattern="s{iiii}.tif", shape=SHAPE)
    assert cells(layout) == dict(zip(names, WALKS["row"], strict=True))
    without = names[1:]
    (tmp_path / "g" / names[0]).unlink()
    layout = grid_layout(tmp_path / "g", rows=2, cols=3, first=first, shape=SHAPE)
    assert cells(layout)[without[-1]] == (1, 2)
    assert len(layout) == 5


BAD = {
    "an empty folder": ([], {"rows": 1}, "no image"),
    "no size": (["t1.tif", "t2.tif"], {}, "needs its rows or its columns"),
    "too many": ([f"t{i}.tif" for i in range(1, 6)], {"rows": 2, "cols": 2}, r"'t5\.tif' is number 5, outside 2 x 2"),
    "no row": (["t1.tif"], {"rows": 0}, "rows = 0"),
    "another pattern": (["t1.tif"], {"rows": 1, "pattern": "x{i}.tif"}, "no file name fits the pattern"),
    "a bad pattern": (["t1.tif"], {"rows": 1, "pattern": "x{row}.tif"}, "it needs {i}, or {row} and {col}"),
    "a field twice": (["t1.tif"], {"pattern": "{x}{y}{xx}.tif"}, "stands twice"),
    "a place twice": (["a1_1.tif", "b1_1.tif"], {"pattern": "*{x}_{y}.tif"}, "same row and column"),
    "a number twice": (["a1.tif", "b1.tif"], {"rows": 2, "pattern": "*{i}.tif"}, "same number 1"),
    "too many rows": (["a0_0.tif", "a3_0.tif"], {"rows": 2, "pattern": "a{row}_{col}.tif"}, "go up to 4 rows, 2"),
    "an unknown order": (["t1.tif"], {"rows": 1, "order": "spiral"}, "order 'spiral'.*snake-row"),
    "an unknown corner": (["t1.tif"], {"rows": 1, "start": "middle"}, "start 'middle'"),
    "unknown axes": (["t1.tif"], {"rows": 1, "stage_axes": "+x+z"}, r"stage axes '\+x\+z'"),
    "a full overlap": (["t1.tif"], {"rows": 1, "overlap": 1.0}, "overlap 1.0"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_grid_that_cannot_be_is_refused_in_one_line(tmp_path, name):
    names, options, says = BAD[name]
    with pytest.raises(InputError, match=says) as caught:
        grid_layout(touch(tmp_path / "g", *names), shape=SHAPE, **options)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_unreadable_tiles_are_refused(tmp_path):
    with pytest.raises(InputError, match="a folder of tiles was needed"):
        grid_layout(tmp_path / "nowhere", rows=1)
    with pytest.raises(InputError, match=r"no tile of the grid can be read.*t1\.tif"):
        grid_layout(numbered(tmp_path), rows=2)


def test_the_tile_size_is_read_from_the_first_image_that_can_be(tmp_path):
    folder = numbered(tmp_path, 3)
    (folder / "t1.tif").write_bytes(b"no image")
    cv2.imwrite(str(folder / "t2.tif"), np.zeros((50, 60), np.uint8))
    layout = grid_layout(folder, rows=1, overlap=0.5)
    assert [t.to_world.tx for t in layout] == [0, 30, 60]
    assert all(t.shape == (0, 0) for t in layout)  # only one was looked at


def test_files_of_several_folders_keep_different_ids(tmp_path):
    files = [touch(tmp_path / d, "t.tif") / "t.tif" for d in ("a1", "a2")]
    assert grid_layout(files, rows=1, cols=2, shape=SHAPE).ids == tuple(p.as_posix() for p in files)


@pytest.mark.parametrize("axes", STAGE_AXES)
def test_stage_axes_flip_and_swap_the_grid(tmp_path, axes):
    layout = grid_layout(numbered(tmp_path), rows=2, cols=3, stage_axes=axes, shape=SHAPE)
    for name, (row, col) in dict(zip(layout.ids, WALKS["row"], strict=True)).items():
        stage = {"+x": col, "-x": 2 - col, "+y": row, "-y": 1 - row}
        assert cells(layout)[name] == (stage[axes[2:]], stage[axes[:2]])


@given(axes=st.sampled_from(STAGE_AXES), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_flipping_axes_moves_centres_only_and_undoes_itself(axes, seed):
    rng = np.random.default_rng(seed)
    tiles = tuple(
        Tile(str(i), f"{i}.tif", (80, 120), Affine.rigid(rng.uniform(-0.1, 0.1), *rng.uniform(-1e3, 1e3, 2)))
        for i in range(4)
    )
    layout = Layout(tiles)
    flipped = flip_axes(layout, axes)
    for before, after in zip(layout, flipped, strict=True):
        x, y = before.to_world([59.5, 39.5])
        stage = {"+x": x, "-x": -x, "+y": y, "-y": -y}
        np.testing.assert_allclose(after.to_world([59.5, 39.5]), [stage[axes[:2]], stage[axes[2:]]], atol=1e-9)
        assert (after.to_world.a, after.to_world.b) == (before.to_world.a, before.to_world.b)
    back = {"+y-x": "-y+x", "-y+x": "+y-x"}.get(axes, axes)
    for before, after in zip(layout, flip_axes(flipped, back), strict=True):
        np.testing.assert_allclose(after.to_world.matrix, before.to_world.matrix, atol=1e-9)  # px


# --- real grids -----------------------------------------------------------------------------------------------------


def test_names_with_blanks_and_brackets_of_a_real_sem_grid():
    layout = grid_layout(
        shared_data("sem_stitch2d_2x3"), pattern="stitch2d_ex[Grid@{x} {y}].jpg", overlap=(0.26, 0.107)
    )
    assert len(layout) == 6
    # px; measured with SIFT: a step right is (379.6, 3.7), a step down (-5.7, 395)
    right, down = layout["stitch2d_ex[Grid@1 0].jpg"].to_world, layout["stitch2d_ex[Grid@0 1].jpg"].to_world
    assert (right.tx, right.ty) == pytest.approx((379.6, 3.7), abs=6)
    assert (down.tx, down.ty) == pytest.approx((-5.7, 395), abs=6)


def test_a_real_column_snake_with_a_missing_tile():
    layout = grid_layout(
        shared_data("lom_dendrite_6x15_quarter"), rows=15, cols=6, order="snake-column", overlap=(0.067, 0.08)
    )
    assert len(layout) == 89
    x, y = (np.array([getattr(t.to_world, k) for t in layout]) for k in ("tx", "ty"))
    assert len(np.unique(x.round(6))) == 6
    assert len(np.unique(y.round(6))) == 15

    def at(name):
        return np.array([layout[name].to_world.tx, layout[name].to_world.ty])

    np.testing.assert_allclose(at("1-003.jpg") - at("1-001.jpg"), [0, 2 * 484 * 0.92], atol=1e-6)
    # px; measured with SIFT: 15 to 16 is a step right, 16 to 17 a step up, 30 to 31 right, 31 to 32 down
    for a, b, step in (
        (15, 16, (603.8, -3.2)),
        (16, 17, (-0.6, -433.8)),
        (30, 31, (603.1, -1.2)),
        (31, 32, (0.7, 440)),
    ):
        np.testing.assert_allclose(at(f"1-{b:03d}.jpg") - at(f"1-{a:03d}.jpg"), step, atol=15)


def test_a_real_row_that_runs_from_right_to_left():
    folder = shared_data("sem_zircon_bse_cl")
    for strip, count in (("zirconBSE", 4), ("zirconCL", 8)):
        layout = grid_layout(folder / strip / "1", rows=1, start="top-right", overlap=0.1)
        steps = np.diff([t.to_world.tx for t in layout])
        assert len(layout) == count
        np.testing.assert_allclose(steps, -1152)  # 1280 px tiles


def test_a_real_row_snake_agrees_with_its_own_tile_configuration():
    folder = shared_data("lom_lscm_3x4")
    layout = grid_layout(folder, rows=3, cols=4, order="snake-row", overlap=0.1)
    (nominal,) = formats.read(folder / "TileConfiguration.txt").layouts
    assert set(layout.ids) == set(nominal.ids)
    for tile in layout:
        np.testing.assert_allclose(tile.to_world.matrix, nominal[tile.id].to_world.matrix, atol=3)  # px: 921.6 or 921
