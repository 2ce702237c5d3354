"""TrakEM2's text list: path x y z."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demis_ij import formats
from demis_ij.errors import FormatError, InputError
from demis_ij.records import Affine, Layout, Tile

TABS = """# path\tx\ty\tz
tiles/t r0 c0.tif\t0\t0\t0

tiles/b.tif\t921.5\t3.0\t0\t# good
tiles/c.tif\t0\t0\t1\t1024\t512\t-\t-\t-
stack.tif-----#slice=3\t1\t2\t1
"""


def save(folder, text, name="list.txt"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_tabs_comments_sections_sizes_and_slices_are_read(tmp_path):
    document = formats.read(save(tmp_path, TABS))
    assert document.format == "text"
    assert document.sections == ("0", "1")
    first, second = document.layouts
    assert first.ids == ("tiles/t r0 c0.tif", "tiles/b.tif")
    assert first["tiles/b.tif"].to_world == Affine.translation(921.5, 3)
    assert first["tiles/b.tif"].path == tmp_path / "tiles/b.tif"
    assert second["tiles/c.tif"].shape == (512, 1024)
    slice_3 = second["stack.tif-----#slice=3"]
    assert (slice_3.path, slice_3.page) == (tmp_path / "stack.tif", 2)


@pytest.mark.parametrize(
    "line", ["a.tif 1.5 -2 7", "a.tif\t1.5\t-2\t7", "a.tif,1.5,-2,7", "a.tif, 1.5, -2, 7", "  a.tif   1.5  -2  7 # x"]
)
def test_blanks_tabs_and_commas_separate(tmp_path, line):
    document = formats.read(save(tmp_path, line + "\r\n"))
    tile = document.layouts[0]["a.tif"]
    assert (tile.to_world, tile.section) == (Affine.translation(1.5, -2), "7")


def test_a_line_with_the_names_of_the_columns_is_left_out(tmp_path):
    document = formats.read(save(tmp_path, "Path,X,Y,Z\na.tif,1,2,3\n", "list.csv"))
    assert document.layouts[0].ids == ("a.tif",)


def test_a_missing_z_is_section_0_and_windows_paths_are_read(tmp_path):
    document = formats.read(save(tmp_path, "g0000\\t01\\a.tif\t5\t6\n"))
    (tile,) = document.layouts[0]
    assert (tile.section, tile.id, tile.path) == ("0", "g0000\\t01\\a.tif", tmp_path / "g0000/t01/a.tif")


BAD = {
    "no tile": ("# only a comment\n", "holds no tile"),
    "a path twice": ("a.tif 0 0 0\nb.tif 0 0 0\na.tif 5 5 1\n", "line 3: tile 'a.tif' again, first on line 1"),
    "NaN": ("a.tif 0 nan 0\n", "line 1: y: 'nan' is not finite"),
    "infinite z": ("a.tif 0 0 inf\n", "line 1: z: 'inf' is not finite"),
    "a word": ("a.tif 0 0 0\nb.tif left 0 0\n", "line 2: x: 'left' is no number"),
    "a path with blanks": ("my tile.tif 0 0 0\n", "a path with blanks needs tabs"),
    "too few": ("a.tif 0 0 0\nb.tif 0\n", r"line 2: 2 column\(s\)"),
    "too many": ("a.tif 0 0 0\na b c d e f g h i j\n", r"line 2: 10 column\(s\)"),
    "half a pixel wide": ("a.tif 0 0 0 10.5 20\n", "width: '10.5'"),
    "no path": ("\t0\t0\t0\n\t1\t1\t1\n", "line 1"),
    "SBEMimage's nanometres": ("tiles\\g0000_s00314.tif;-398553;-147855;7850;314\n", "nm"),
    "a letter": ("Dear all, here are the tiles we spoke of.\n", "line 1"),
    "binary": (b"a.tif 0 0 0\n\x00\x01\x02", "zero bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_list_is_refused_with_its_line(tmp_path, name):
    text, says = BAD[name]
    with pytest.raises(FormatError, match=says):
        formats.read(save(tmp_path, text), format="text")


numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(
    xy=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5), z=st.sampled_from([("0",), ("0", "1.5", "-2")])
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back_exactly(tmp_path, xy, z):
    layouts = [
        Layout(
            tuple(
                Tile(f"s {k}/t {i}.tif", tmp_path / f"s {k}/t {i}.tif", (0, 0), Affine.translation(x, y), section)
                for i, (x, y) in enumerate(xy)
            ),
            section,
            source=tmp_path / "l.txt",
        )
        for k, section in enumerate(z)
    ]
    path = formats.write(tmp_path / "l.txt", layouts, overwrite=True)
    assert list(formats.read(path).layouts) == layouts


def test_slices_round_trip(tmp_path):
    tile = Tile("s.tif-----#slice=4", tmp_path / "s.tif", (0, 0), page=3)
    path = formats.write(tmp_path / "l.txt", [Layout((tile,))])
    assert formats.read(path).layouts[0].tiles == (tile,)


def test_paths_that_a_list_cannot_hold_and_turns_are_refused(tmp_path):
    for name in ("a\tb.tif", "a #1.tif"):
        with pytest.raises(FormatError, match="cannot stand in a text list"):
            formats.write(tmp_path / "l.txt", [Layout((Tile("a", tmp_path / name, (0, 0)),))])
    with pytest.raises(InputError, match="rotation"):
        formats.write(tmp_path / "l.txt", [Layout((Tile("a", tmp_path / "a.tif", (9, 9), Affine.rigid(0.1)),))])
    assert list(tmp_path.iterdir()) == []


def test_a_solved_copy_keeps_every_other_line(tmp_path):
    document = formats.read(save(tmp_path, TABS, "list.csv"))
    first, second = document.layouts
    moved = first.moved({"tiles/b.tif": Affine.translation(920.0, 2.5)})
    path = formats.write_solved(document, [moved, second])
    assert path == tmp_path / "list.demis.csv"
    assert path.read_text() == TABS.replace("921.5\t3.0\t0\t# good", "920.0\t2.5\t0")
    elsewhere = formats.write_solved(document, [moved], tmp_path / "out")
    again = formats.read(elsewhere)
    for a, b in zip(document.layouts, again.layouts, strict=True):
        assert [t.path.resolve() for t in a] == [t.path.resolve() for t in b]
    assert again.layouts[0].tiles[1].to_world == Affine.translation(920.0, 2.5)
