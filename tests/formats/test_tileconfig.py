"""TileConfiguration files of Fiji's Grid/Collection stitching."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demis_ij import formats
from demis_ij.errors import FormatError, InputError
from demis_ij.records import Affine, Layout, Tile

PLAIN = """# Define the number of dimensions we are working on
dim = 2

# Define the image coordinates
t_r0_c0.tif; ; (0.0, 0.0)
my tile [2].tif; ; (921.5,3.25)
sub/c.tif ;  ; ( -1e2 , 4 )
"""


def save(folder, text, name="TileConfiguration.txt"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_names_positions_and_order_are_read(tmp_path):
    document = formats.read(save(tmp_path, PLAIN))
    (layout,) = document.layouts
    assert document.format == "tileconfig"
    assert layout.ids == ("t_r0_c0.tif", "my tile [2].tif", "sub/c.tif")
    assert [t.path for t in layout] == [tmp_path / i for i in layout.ids]
    assert [(t.to_world.tx, t.to_world.ty) for t in layout] == [(0, 0), (921.5, 3.25), (-100, 4)]
    assert all(t.shape == (0, 0) and t.page is None for t in layout)


def test_series_are_pages_and_z_is_the_section(tmp_path):
    text = (
        "dim=3\nmultiseries = true\nstack.czi; 0; (0, 0, 0)\nstack.czi; 1; (1843.2, 0, 0)\nstack.czi; 2; (0, 0, 7.5)\n"
    )
    document = formats.read(save(tmp_path, text))
    assert document.sections == ("0", "7.5")
    assert document.layouts[0].ids == ("stack.czi; 0", "stack.czi; 1")
    assert document.layouts[0]["stack.czi; 1"].page == 1


@pytest.mark.parametrize("encode", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_usual_encoding_and_line_end_is_read(tmp_path, encode, end):
    text = "dim = 2\nfläche.tif; ; (1.5, 2)\n".replace("\n", end)
    document = formats.read(save(tmp_path, text.encode(encode), "a.txt"))
    assert document.format == "tileconfig"
    assert document.layouts[0].ids == ("fläche.tif",)


def test_absolute_and_windows_paths_are_kept(tmp_path):
    text = "dim = 2\nabsolutepath = true\n/data/a.tif; ; (0, 0)\nC:\\data\\b.tif; ; (1, 0)\n"
    layout = formats.read(save(tmp_path, text)).layouts[0]
    assert [str(t.path) for t in layout] == ["/data/a.tif", "C:/data/b.tif"]


BAD = {
    "no tile": ("dim = 2\n# nothing\n", "holds no tile"),
    "a name twice": ("dim = 2\na.tif; ; (0,0)\n\na.tif; ; (1,0)\n", r"line 4: tile 'a.tif' again, first on line 2"),
    "a series twice": ("a.tif; 1; (0,0)\na.tif; 1; (1,0)\n", r"'a.tif; 1' again"),
    "two fields": ("dim = 2\na.tif; (0,0)\n", r"line 2: 2 field\(s\)"),
    "four fields": ("dim = 2\na.tif; ; (0,0); x\n", r"line 2: 4 field\(s\)"),
    "no tuple": ("dim = 2\na.tif; ; 0, 0\n", "line 2: 'name; series"),
    "a cut tuple": ("dim = 2\na.tif; ; (0, 0)\nb.tif; ; (1, 2", "line 3"),
    "NaN": ("dim = 2\na.tif; ; (NaN, 0)\n", "line 2: position: 'NaN' is not finite"),
    "infinite": ("dim = 2\na.tif; ; (inf, 0)\n", "not finite"),
    "a word": ("dim = 2\na.tif; ; (left, 0)\n", "line 2: position: 'left' is no number"),
    "three of two": ("dim = 2\na.tif; ; (0, 0, 0)\n", "dim says 2"),
    "two of three": ("dim = 3\na.tif; ; (0, 0)\n", "dim says 3"),
    "one dimension": ("dim = 1\na.tif; ; (0)\n", "dim = 1"),
    "a wordy series": ("dim = 2\na.tif; first; (0,0)\n", "series 'first'"),
    "no name": ("dim = 2\n; ; (0,0)\n", "line 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_file_is_refused_with_its_line(tmp_path, name):
    text, says = BAD[name]
    with pytest.raises(FormatError, match=says):
        formats.read(save(tmp_path, text))


positions = st.floats(-1e6, 1e6, allow_nan=False)


@given(
    xy=st.lists(st.tuples(positions, positions), min_size=1, max_size=6), z=st.sampled_from([(0,), (0, 1), (2.5, -3)])
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back_exactly(tmp_path, xy, z):
    layouts = [
        Layout(
            tuple(
                Tile(f"s{k}/t {i}.tif", tmp_path / f"s{k}/t {i}.tif", (0, 0), Affine.translation(x, y), f"{h:g}")
                for i, (x, y) in enumerate(xy)
            ),
            f"{h:g}",
            source=tmp_path / "TileConfiguration.txt",
        )
        for k, h in enumerate(z)
    ]
    path = formats.write(tmp_path / "TileConfiguration.txt", layouts, overwrite=True)
    assert list(formats.read(path).layouts) == layouts


def test_pages_are_written_as_series(tmp_path):
    layout = Layout(
        tuple(Tile(f"s.tif; {i}", tmp_path / "s.tif", (0, 0), page=i) for i in range(3)), source=tmp_path / "c"
    )
    path = formats.write(tmp_path / "c", [layout], format="tileconfig")
    assert "multiseries = true" in path.read_text()
    assert formats.read(path).layouts == (layout,)


def test_a_turn_is_refused_or_on_request_written_so_that_the_centre_stays(tmp_path):
    tile = Tile("a", tmp_path / "a.tif", (101, 201), Affine.rigid(0.1, 30, 40))
    with pytest.raises(InputError, match=r"rotation, scale or shear of 1 tile.*--lossy"):
        formats.write(tmp_path / "TileConfiguration.txt", [Layout((tile,))])
    assert list(tmp_path.iterdir()) == []
    path = formats.write(tmp_path / "TileConfiguration.txt", [Layout((tile,))], allow_lossy=True)
    found = formats.read(path).layouts[0].tiles[0].to_world
    np.testing.assert_allclose(found([100, 50]), tile.to_world([100, 50]), atol=1e-9)  # px


def test_a_solved_copy_is_the_registered_file_with_every_other_line_as_it_was(tmp_path):
    document = formats.read(save(tmp_path, PLAIN))
    (layout,) = document.layouts
    moved = layout.moved({"my tile [2].tif": Affine.translation(920.25, 4.5)})
    path = formats.write_solved(document, [moved])
    assert path == tmp_path / "TileConfiguration.registered.txt"
    assert path.read_text() == PLAIN.replace("(921.5,3.25)", "(920.25, 4.5)")
    again = formats.read(path)
    out = formats.write_solved(again, again.layouts)
    assert out.name == "TileConfiguration.demis.registered.txt"
    turned = layout.moved({"t_r0_c0.tif": Affine.rigid(0.1)})
    assert "rotation" in formats.solved_losses(document, [turned])[0]
    with pytest.raises(InputError, match="rotation"):
        formats.write_solved(document, [turned], overwrite=True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_solved_copy_keeps_encoding_and_line_ends(tmp_path, encoding, end):
    text = "dim = 2\n\nfl\u00e4che\x85.tif; ; (1.5, 2)\nb.tif; ; (0, 0)".replace("\n", end)
    document = formats.read(save(tmp_path, text.encode(encoding)))
    moved = document.layouts[0].moved({"fl\u00e4che\x85.tif": Affine.translation(1.5, 7.0)})
    out = formats.write_solved(document, [moved])
    assert out.read_bytes() == text.replace("(1.5, 2)", "(1.5, 7.0)").encode(encoding)


def test_in_another_folder_names_lead_back_to_the_images(tmp_path):
    text = PLAIN + "/abs/d.tif; ; (5, 5)\n"
    document = formats.read(save(tmp_path, text))
    path = formats.write_solved(document, document.layouts, tmp_path / "out")
    found = [t.path.resolve() for t in formats.read(path).layouts[0]]
    assert found == [t.path.resolve() for t in document.layouts[0]]
    assert "/abs/d.tif; ; (5, 5)" in path.read_text()


def test_relinked_names_are_written(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "t_r0_c0.tif").touch()
    document = formats.read(save(tmp_path, PLAIN), relink=tmp_path / "new")
    text = formats.write_solved(document, document.layouts).read_text()
    assert "\nnew/t_r0_c0.tif; ; (0.0, 0.0)\n" in text
    assert "\nmy tile [2].tif; ; (921.5" in text
