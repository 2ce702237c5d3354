"""The solved copy of a TrakEM2 project, and new projects."""

from __future__ import annotations

import gzip
import re
import shutil
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trakem2_projects import PATCH_6, UNUID, layer, patch, patches, project, projects, transforms

from demis_ij import formats
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.trakem2_bytes import start_tags
from demis_ij.formats.trakem2_matrix import from_corner_frame
from demis_ij.records import Affine, Layout, Tile

MATRIX = re.compile(rb"matrix\([^)]*\)")
moves = st.builds(Affine.rigid, st.floats(-0.1, 0.1), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
any_folder = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def save(folder, text, name="p.xml"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode("iso-8859-1")
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def moved_by(document, change, pick=lambda tile: True):
    """Every layout with the picked tiles moved by ``change`` in the world."""
    return [layout.moved({t.id: change @ t.to_world for t in layout if pick(t)}) for layout in document.layouts]


@any_folder
@given(data=projects(), change=moves, seed=st.integers(0, 7))
def test_only_the_transform_texts_of_moved_unlocked_tiles_differ(tmp_path, data, change, seed):
    path = save(tmp_path, data)
    document = formats.read(path)
    layouts = moved_by(document, change, lambda tile: (int(tile.id) + seed) % 2 == 0)
    free = {
        t.id
        for before, after in zip(document.layouts, layouts, strict=True)
        for t, new in zip(before, after, strict=True)
        if not t.locked and np.abs(t.to_world.matrix - new.to_world.matrix).max() > 1e-6
    }

    out = formats.write_solved(document, layouts, overwrite=True)

    written = out.read_bytes()
    assert path.read_bytes() == data
    # blank the matrices of the moved patches in both, tag by tag: what is left must be equal byte for byte
    blanked = []
    for text in (data, written):
        parts, last = [], 0
        for tag in start_tags(text, frozenset({"t2_patch"})):
            oid = tag.attributes["oid"]
            if text[oid.start : oid.end].decode() in free:
                at = tag.attributes["transform"]
                assert MATRIX.fullmatch(text[at.start : at.end])
                parts += [text[last : at.start]]
                last = at.end
        blanked.append(b"".join([*parts, text[last:]]))
    assert blanked[0] == blanked[1]
    assert (written != data) == bool(free)


@any_folder
@given(data=projects(), change=moves)
def test_what_was_written_is_read_back_and_locked_tiles_stay(tmp_path, data, change):
    document = formats.read(save(tmp_path, data))
    layouts = moved_by(document, change)
    again = formats.read(formats.write_solved(document, layouts, overwrite=True))
    for old, wanted, found in zip(document.layouts, layouts, again.layouts, strict=True):
        assert old.ids == found.ids
        for tile in found:
            truth = old[tile.id].to_world if tile.locked else wanted[tile.id].to_world
            # px at coordinates up to 2e4: 1e-8 is 2000 times their float64 step
            np.testing.assert_allclose(tile.to_world(tile.corners), truth(tile.corners), atol=1e-8)


@any_folder
@given(oid=st.integers(5, 10**9), data=st.data())
def test_the_tokenizer_agrees_with_expat_on_every_patch(oid, data):
    text = data.draw(patches(oid))
    element = ElementTree.fromstring(text)
    (tag,) = start_tags(text.encode("iso-8859-1"), frozenset({"t2_patch"}))
    raw = text.encode("iso-8859-1")
    found = {k: raw[a.start : a.end].decode("iso-8859-1").replace("&apos;", "'") for k, a in tag.attributes.items()}
    # expat turns line breaks in values into blanks; there are none in the values made here
    assert found == {key.lower(): value for key, value in element.attrib.items()}


def test_a_coordinate_transform_is_kept_exact_by_multiplying_from_the_left(tmp_path):
    document = formats.read(save(tmp_path, project(layer(patch(), PATCH_6))))
    change = Affine.rigid(0.01, 30, -20)
    text = formats.write_solved(document, moved_by(document, change)).read_bytes()
    lines = PATCH_6.encode().splitlines()
    for line in lines[2:]:  # the coordinate transform, untouched
        assert line in text
    old = Affine(0.999847695, -0.0174524064, 0.0174524064, 0.999847695, 885.5, 8.25)
    found = [float(v) for v in MATRIX.findall(text)[-1][7:-1].split(b",")]
    a, b, c, d, e, f = found
    new = from_corner_frame(Affine(a, c, b, d, e, f))
    np.testing.assert_allclose(new.matrix, (change @ from_corner_frame(old)).matrix, atol=1e-9)  # px


def test_a_transform_that_is_not_affine_moves_rigidly_with_its_tile(tmp_path):
    bent = transforms(("PolynomialTransform2D", "0 1 0 0.00001 0 0 0 0 1 0 0 0"))
    document = formats.read(save(tmp_path, project(layer(patch("5", "matrix(1,0,0,1,7,9)", inside=bent)))))
    out = formats.write_solved(document, moved_by(document, Affine.translation(10, 20)))
    assert b'transform="matrix(1.0,0.0,0.0,1.0,17.0,29.0)"' in out.read_bytes()
    again = formats.read(out)
    assert again.layouts[0]["5"].to_world.tx == pytest.approx(document.layouts[0]["5"].to_world.tx + 10, abs=1e-9)


def test_a_layout_that_did_not_move_gives_an_identical_file(tmp_path):
    data = project(layer(patch("5", "matrix(1,0,0,1,1.10,2.50)"), PATCH_6)).encode()
    path = save(tmp_path, data)
    document = formats.read(path)
    nearly = moved_by(document, Affine.translation(1e-10, 0))
    for layouts in (document.layouts, nearly, []):
        assert formats.write_solved(document, layouts, overwrite=True).read_bytes() == data


def test_one_section_can_be_written_and_the_others_stay(tmp_path):
    document = formats.read(save(tmp_path, project(layer(patch("5")), layer(patch("6"), oid="44", z="1"))))
    (_, second) = moved_by(document, Affine.translation(5, 5))
    again = formats.read(formats.write_solved(document, [second]))
    assert [layout.tiles[0].to_world.tx for layout in again.layouts] == [0, 5]


def test_names_gzip_and_unuid_are_kept(tmp_path):
    text = project(layer(patch()))
    for name, wanted in (("p.xml", "p.demis.xml"), ("q.xml.gz", "q.demis.xml.gz")):
        document = formats.read(save(tmp_path, text, name))
        out = formats.write_solved(document, moved_by(document, Affine.translation(1, 0)))
        assert out == tmp_path / wanted
        data = out.read_bytes()
        assert data.startswith(b"\x1f\x8b") == name.endswith(".gz")
        data = gzip.decompress(data) if name.endswith(".gz") else data
        assert f'unuid="{UNUID}"'.encode() in data


def test_nothing_is_overwritten_unless_asked_for_and_the_original_never(tmp_path):
    path = save(tmp_path, project(layer(patch())))
    data = path.read_bytes()
    document = formats.read(path)
    layouts = moved_by(document, Affine.translation(1, 0))
    out = formats.write_solved(document, layouts)
    first = out.read_bytes()
    with pytest.raises(InputError, match=r"p\.demis\.xml exists"):
        formats.write_solved(document, moved_by(document, Affine.translation(2, 0)))
    assert out.read_bytes() == first
    formats.write_solved(document, moved_by(document, Affine.translation(2, 0)), overwrite=True)
    assert out.read_bytes() != first
    (tmp_path / "link.xml").symlink_to(path)
    for target in (path, tmp_path / "link.xml"):
        with pytest.raises(InputError, match="never overwritten"):
            formats.write_solved(document, layouts, target, overwrite=True)
    assert path.read_bytes() == data
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.xml", "p.demis.xml", "p.xml"]  # nothing half-written


def test_a_project_that_changed_since_it_was_read_is_not_copied(tmp_path):
    path = save(tmp_path, project(layer(patch())))
    document = formats.read(path)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(FormatError, match="has changed since"):
        formats.write_solved(document, document.layouts)


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path):
    document = formats.read(save(tmp_path, project(layer(patch()))))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        formats.write_solved(document, document.layouts, tmp_path / "file" / "sub")


def test_a_tile_the_project_does_not_have_is_refused(tmp_path):
    document = formats.read(save(tmp_path, project(layer(patch()))))
    stranger = Layout((Tile("99", tmp_path / "x.tif", (10, 10)),))
    with pytest.raises(InputError, match="'99'"):
        formats.write_solved(document, [stranger])


def test_raw_ampersands_stay_raw(tmp_path):
    text = project(layer(patch(path="R&D/a.tif")))
    document = formats.read(save(tmp_path, text))
    out = formats.write_solved(document, moved_by(document, Affine.translation(3, 0)))
    assert out.read_text() == text.replace(
        'matrix(1.0,0.0,0.0,1.0,0.0,0.0)" title="t"', 'matrix(1.0,0.0,0.0,1.0,3.0,0.0)" title="t"'
    )


def test_a_patch_without_transform_gets_one_when_it_moves(tmp_path):
    text = project(layer(patch().replace(' transform="matrix(1.0,0.0,0.0,1.0,0.0,0.0)"', "")))
    document = formats.read(save(tmp_path, text))
    again = formats.read(formats.write_solved(document, moved_by(document, Affine.translation(3, 4))))
    assert again.layouts[0]["5"].to_world == Affine.translation(3, 4)


# --- another folder, and relinked images ------------------------------------------------------------------------------


def test_in_another_folder_images_mipmaps_and_storage_stay_true(tmp_path):
    source = tmp_path / "in"
    (source / "tiles").mkdir(parents=True)
    (source / "tiles" / "a.tif").touch()
    (source / "ä.tif").touch()
    text = project(
        '<t2_stack oid="58" file_path="stack.tif"/>',
        layer(
            patch("5", path="tiles/a.tif-----#slice=2", extra=' original_path="raw/a.tif"'),
            patch("6", path="ä.tif"),
            patch("7", path="/abs/c.tif"),
            patch("8", path="http://host/d.tif"),
            patch("9", path="C:/d.tif"),
        ),
    )
    document = formats.read(save(source, text))
    out = formats.write_solved(document, document.layouts, tmp_path / "out" / "deep")
    assert out == tmp_path / "out" / "deep" / "p.demis.xml"
    again = formats.read(out)
    for tile in document.layouts[0]:
        found = again.layouts[0][tile.id]
        assert found.path.resolve() == tile.path.resolve() or not tile.path.is_absolute()
        assert (found.page, found.to_world) == (tile.page, tile.to_world)
    written = out.read_bytes().decode("iso-8859-1")
    for wanted in (
        'file_path="../../in/tiles/a.tif-----#slice=2"',
        'original_path="../../in/raw/a.tif"',
        'file_path="../../in/ä.tif"',
        'file_path="/abs/c.tif"',
        'file_path="http://host/d.tif"',
        'file_path="C:/d.tif"',
        '<t2_stack oid="58" file_path="../../in/stack.tif"/>',
        f'storage_folder="{source.as_posix()}/"',
        f'mipmaps_folder="{source.as_posix()}/trakem2.{UNUID}/trakem2.mipmaps/"',
        f'unuid="{UNUID}"',
    ):
        assert wanted in written, wanted


def test_paths_stay_true_through_linked_folders(tmp_path):
    source, real = tmp_path / "in", tmp_path / "a" / "b" / "real"
    (source / "tiles").mkdir(parents=True)
    (source / "tiles" / "a.tif").touch()
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "same").symlink_to(source)
    data = project(layer(patch("5", path="tiles/a.tif")))
    document = formats.read(save(source, data))
    out = formats.write_solved(document, document.layouts, tmp_path / "link")
    assert formats.read(out).layouts[0]["5"].path.is_file()
    assert formats.write_solved(document, document.layouts, tmp_path / "same").read_text() == data


def test_in_another_folder_transforms_kept_in_side_files_are_still_found(tmp_path):
    source = tmp_path / "in"
    file = source / f"trakem2.{UNUID}" / "trakem2.cts" / "12" / "34.7.ct"
    file.parent.mkdir(parents=True)
    file.write_text('<ict_transform class="mpicbg.trakem2.transform.AffineModel2D" data="2.0 0.0 0.0 2.0 0.0 0.0"/>')
    document = formats.read(save(source, project(layer(patch("7", extra=' ct_id="1234"')))))
    out = formats.write_solved(document, moved_by(document, Affine.translation(5, 6)), tmp_path / "out")
    found = formats.read(out).layouts[0]["7"].to_world
    np.testing.assert_allclose(found.matrix, (Affine.translation(5, 6) @ document.layouts[0]["7"].to_world).matrix)


def test_relinked_images_are_written_where_they_are(tmp_path):
    source, new = tmp_path / "in", tmp_path / "in" / "new & old"
    new.mkdir(parents=True)
    for name in ("a.tif", "b.tif", "数.tif"):
        (new / name).touch()
    text = project(layer(patch("5", path="/gone/a.tif"), patch("6", path="/gone/x.tif"), patch("7", path="b.tif")))
    path = save(source, text)
    document = formats.read(path, relink=new)
    out = formats.write_solved(document, document.layouts)
    assert (
        out.read_bytes()
        == text.replace("/gone/a.tif", "new &amp; old/a.tif").replace('"b.tif"', '"new &amp; old/b.tif"').encode()
    )
    assert formats.read(out).layouts[0]["5"].path == new / "a.tif"

    outside = formats.write_solved(document, document.layouts, tmp_path / "far")
    assert f'file_path="{new.as_posix().replace("&", "&amp;")}/a.tif"' in outside.read_text()
    shutil.move(new / "a.tif", new / "数a.tif")


# --- new projects -----------------------------------------------------------------------------------------------------


def tiles(folder, count=4, dtype=np.uint8, shape=(60, 80)):
    rng = np.random.default_rng(3)
    out = []
    for i in range(count):
        path = folder / f"tile & <{i}>é.png"
        cv2.imwrite(str(path), rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype))
        to_world = Affine.rigid(0.01 * i, 70.25 * i, -3.5 * i)
        out.append(Tile(path.name, path, shape, to_world, locked=i == 1, visible=i != 2))
    return tuple(out)


def test_a_new_project_is_read_back_as_it_was(tmp_path):
    layouts = [
        Layout(tiles(tmp_path), "0", (4.0, "nm")),
        Layout((Tile("300", tmp_path / "s.tif", (60, 80), page=4, section="2.5"),), "2.5", (4.0, "nm")),
    ]
    out = formats.write(tmp_path / "new.xml", layouts)
    document = formats.read(out)
    assert document.warnings == ()
    assert document.sections == ("0", "2.5")
    for wanted, found in zip(layouts, document.layouts, strict=True):
        assert found.pixel_size == (4.0, "nm")
        for a, b in zip(wanted, found, strict=True):
            assert (a.path, a.page, a.shape, a.locked, a.visible) == (b.path, b.page, b.shape, b.locked, b.visible)
            np.testing.assert_allclose(a.to_world.matrix, b.to_world.matrix, atol=1e-10)  # px
    data = out.read_bytes()
    root = ElementTree.fromstring(data)
    oids = [e.get("oid") for e in root.iter() if e.get("oid")]
    assert len(set(oids)) == len(oids)
    assert all(oid.isdecimal() for oid in oids)
    data.decode("iso-8859-1")
    assert b"tile &amp; &lt;0&gt;\xe9.png" in data
    again = formats.write(tmp_path / "again.xml", layouts).read_bytes()
    assert re.search(rb'unuid="(\d{13}\.\d+\.\d+)"', data)[1] != re.search(rb'unuid="(\d+\.\d+\.\d+)"', again)[1]


def test_the_header_of_a_new_project_suits_trakem2s_line_parser(tmp_path):
    lines = formats.write(tmp_path / "new.xml", [Layout(tiles(tmp_path))]).read_text("iso-8859-1").splitlines()
    first = next(i for i, line in enumerate(lines) if "<!DOCTYPE" in line)
    last = next(i for i, line in enumerate(lines) if "]" in line)
    assert lines[0] == '<?xml version="1.0" encoding="ISO-8859-1"?>'
    assert lines[first].rstrip().endswith("[")
    assert last > first + 2
    assert all(re.fullmatch(r"\t<!ELEMENT \w+ .*>", line) for line in lines[first + 1 : last])
    assert not any("iict_transform_list" in line for line in lines)


@pytest.mark.parametrize(("dtype", "kind"), [(np.uint8, "0"), (np.uint16, "1")])
def test_type_and_display_range_come_from_the_images(tmp_path, dtype, kind):
    layout = Layout(tiles(tmp_path, 2, dtype))
    found = list(ElementTree.parse(formats.write(tmp_path / "n.xml", [layout])).iter("t2_patch"))
    assert {e.get("type") for e in found} == {kind}
    low, high = {(float(e.get("min")), float(e.get("max"))) for e in found}.pop()
    if dtype == np.uint8:
        assert (low, high) == (0, 255)
    else:  # uniform noise over the whole range
        assert low < 2000
        assert high > 63000


def test_a_colour_image_is_type_4_and_sizes_come_from_headers(tmp_path):
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((30, 40, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "d.jpg"), np.zeros((30, 40, 3), np.uint8))
    layout = Layout(tuple(Tile(n, tmp_path / n, (0, 0)) for n in ("c.png", "d.jpg", "absent.png")))
    root = ElementTree.parse(formats.write(tmp_path / "n.xml", [layout]))
    found = [(e.get("type"), e.get("o_width"), e.get("o_height")) for e in root.iter("t2_patch")]
    assert found == [("4", "40", "30"), ("4", "40", "30"), ("0", "40", "30")]  # the absent one: as the others


def test_a_size_nobody_knows_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.png.*size is unknown"):
        formats.write(tmp_path / "n.xml", [Layout((Tile("a", tmp_path / "absent.png", (0, 0)),))])
    assert list(tmp_path.iterdir()) == []


def test_numeric_ids_become_oids_and_others_are_numbered(tmp_path):
    given = Layout(tuple(Tile(i, tmp_path / f"{i}.tif", (10, 10)) for i in ("17", "5000")))
    assert formats.read(formats.write(tmp_path / "a.xml", [given])).layouts[0].ids == ("17", "5000")
    low = Layout(tuple(Tile(i, tmp_path / f"{i}.tif", (10, 10)) for i in ("3", "5000")))
    assert formats.read(formats.write(tmp_path / "b.xml", [low])).layouts[0].ids == ("5", "6")


def test_masks_and_wordy_sections_are_refused_unless_the_loss_is_accepted(tmp_path):
    masked = Layout((Tile("17", tmp_path / "a.tif", (10, 10), mask_path=tmp_path / "m.png"),))
    wordy = [Layout((Tile(str(i), tmp_path / "a.tif", (10, 10)),), name) for i, name in ((17, "left"), (18, "right"))]
    for layouts, says in (([masked], "masks of 1 tile"), (wordy, "left, right")):
        with pytest.raises(InputError, match=says):
            formats.write(tmp_path / "n.xml", layouts)
        formats.write(tmp_path / "n.xml", layouts, allow_lossy=True, overwrite=True)
