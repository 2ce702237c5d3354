"""Warps as TrakEM2's coordinate transforms: image pixel to world, evaluated by our own reader of such projects."""

import numpy as np
import pytest
import tifffile

from demis_ij import fields, formats
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.stacks import read_stack
from demis_ij.formats.trakem2_ct import bounding_box, parse_transforms
from demis_ij.formats.trakem2_matrix import from_corner_frame, parse_matrix
from demis_ij.formats.trakem2_project import parse_project
from demis_ij.formats.warps import StackWarps
from demis_ij.formats.warps_trakem2 import SPLINE_CLASS, transform_of, write_project
from demis_ij.formats.warps_virtual_stack import read_transforms, write_transforms
from demis_ij.records import Affine, Field, Stack, Tile, Warp

IMAGE = (150, 200)
CANVAS = (160, 220)


def bent(seed=0, sd=2.0, stride=8):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (8, 2)) * np.array(CANVAS[::-1])
    return fields.thin_plate(points, rng.normal(0, sd, (8, 2)), CANVAS, stride)


WARPS = (
    Warp((Affine.rigid(0.1, -8, -6),), CANVAS),
    Warp((bent(1), Affine.translation(-10, -5)), CANVAS),
    Warp((bent(2), Affine.rigid(-0.2, -5, 25)), CANVAS),
)


@pytest.fixture
def stack(tmp_path):
    folder = tmp_path / "sections"
    folder.mkdir()
    for i in (1, 2, 4):
        tifffile.imwrite(folder / f"s_{i:02d}.tif", np.full(IMAGE, 10 * i, np.uint8))
    return read_stack(folder)


def to_world(path):
    """Return, for each layer, the map from image pixel to world that TrakEM2 uses, and the patch."""
    out = []
    for layer in parse_project(path, path.read_bytes()).layers:
        (patch,) = layer.patches
        matrix = from_corner_frame(parse_matrix(path, patch))
        transform, columns = parse_transforms(patch.specs), int(patch.attributes["mres"])
        x, y, w, h = bounding_box(transform, columns, IMAGE) if patch.specs else (0, 0, *IMAGE[::-1])
        assert (float(patch.attributes["width"]), float(patch.attributes["height"])) == (w, h)
        assert (patch.attributes["o_width"], patch.attributes["o_height"]) == ("200", "150")
        out.append((layer.z, lambda p, m=matrix, t=transform, b=(x, y): m(t(p) - np.array(b)), patch))
    return out


def test_a_project_sends_each_pixel_to_where_the_warp_takes_it_from(tmp_path, stack):
    said = write_project(tmp_path / "stack.xml", stack, StackWarps(WARPS, stack.ids, stack.z))
    assert len(said) == 1
    assert "2 warp(s) written as cubic B-splines" in said[0]
    layers = to_world(tmp_path / "stack.xml")
    assert [z for z, _, _ in layers] == [1, 2, 4]  # the missing section leaves a gap
    at = np.random.default_rng(5).uniform(20, 130, (400, 2))
    for (_, world, _), warp in zip(layers, WARPS, strict=True):
        away = np.linalg.norm(warp(world(at)) - at, axis=1)
        assert np.percentile(away, 99) < 0.2  # px: what the node distance of 8 px costs a smooth spline


def test_an_affine_warp_is_the_patchs_matrix_exactly_and_no_transform(tmp_path, stack):
    write_project(tmp_path / "stack.xml", stack, StackWarps((WARPS[0],) * 3))
    at = np.array([[0.0, 0], [199, 149]])
    for _, world, patch in to_world(tmp_path / "stack.xml"):
        assert not patch.specs
        np.testing.assert_allclose(WARPS[0](world(at)), at, atol=1e-9)


def test_a_project_is_read_as_a_layout_again_with_the_affine_part_and_says_so(tmp_path, stack):
    write_project(tmp_path / "stack.xml", stack, StackWarps(WARPS))
    document = formats.read(tmp_path / "stack.xml")
    assert [len(layout) for layout in document.layouts] == [1, 1, 1]
    assert len(document.warnings) == 2
    assert all("have a coordinate transform that is not affine" in line for line in document.warnings)
    assert [t.path.name for layout in document.layouts for t in layout] == ["s_01.tif", "s_02.tif", "s_04.tif"]
    again = read_stack(tmp_path / "stack.xml")
    assert again.z == (1, 2, 4)


def test_the_canvas_and_the_distance_of_layers_are_the_projects(tmp_path, stack):
    thick = Stack(stack.sections, stack.z, (4.0, "nm"), (40.0, "nm"))
    write_project(tmp_path / "stack.xml", thick, StackWarps(WARPS))
    text = (tmp_path / "stack.xml").read_text("latin-1")
    assert 'layer_width="220.0" layer_height="160.0"' in text
    assert [z for z, _, _ in to_world(tmp_path / "stack.xml")] == [10, 20, 40]
    again = read_stack(tmp_path / "stack.xml")
    assert (again.z, again.pixel_size, again.thickness) == ((1, 2, 4), (4.0, "nm"), (40.0, "nm"))
    # what TrakEM2's parser cannot read: a list of this name, whose end it does not see
    assert "iict_transform_list" not in text


def test_unknown_parts_go_on_and_are_said(tmp_path, stack):
    offsets = bent(3).offsets.copy()
    offsets[:, :6, :8] = np.nan
    said = write_project(tmp_path / "s.xml", stack, StackWarps((Warp((Field(offsets, 8),), CANVAS),) * 3))
    assert any("3 warp(s) are unknown in places" in line for line in said)


def test_a_bend_that_a_mesh_of_32_columns_cannot_show_gets_a_finer_one():
    rng = np.random.default_rng(1)
    wave = rng.normal(0, 1, (2, 101, 101)).astype(np.float32)
    for _ in range(30):
        wave = (np.roll(wave, 1, 1) + np.roll(wave, -1, 1) + np.roll(wave, 1, 2) + np.roll(wave, -1, 2)) / 4
    warp = Warp((Field(wave / wave.std() * 3, 10),), (1000, 1000))
    _, found = transform_of(warp, (1000, 1000))
    _, coarse = transform_of(warp, (1000, 1000), columns=32)
    assert found.columns > 32
    assert found.mesh_px <= 0.1 < coarse.mesh_px


def test_what_trakem2_cannot_open_is_refused(tmp_path, stack):
    (tmp_path / "v.zarr").mkdir()
    (tmp_path / "v.zarr" / ".zgroup").write_text("{}")
    planes = Stack(tuple(Tile(f"z{i}", tmp_path / "v.zarr", IMAGE, page=i) for i in range(3)))
    with pytest.raises(InputError, match="TrakEM2 opens no OME-Zarr"):
        write_project(tmp_path / "s.xml", planes, StackWarps(WARPS))
    with pytest.raises(InputError, match=r"2 warp\(s\) for 3 sections"):
        write_project(tmp_path / "s.xml", stack, StackWarps(WARPS[:2]))


def test_a_b_spline_is_what_bunwarpjs_own_class_says():
    # computed with BSplineModel of bUnwarpJ (a74bd32) as CubicBSplineTransform asks it; its weights are float32
    golden = {
        (0, 0): (32.52777918676536, 40.7777797414197), (119, 79): (52.69444738990734, 63.05555948946217),
        (119, 0): (63.94444856213205, 50.77778033746615), (0, 79): (54.944448025690235, 55.75000365906297),
        (59.5, 39.5): (39.80555773278079, 49.22222533159789), (17.25, 63.75): (40.867999058116595, 47.18030451556167),
        (100, 3): (65.85397561103147, 51.406350932122756),
    }  # fmt: skip
    x = [(k * 37) % 101 - 0.25 * k for k in range(25)]
    y = [(k * 53) % 97 + 0.5 * k for k in range(25)]
    found = parse_transforms([(SPLINE_CLASS, " ".join(map(str, [120, 80, 2, *x, *y])))])
    np.testing.assert_allclose(found(np.array(list(golden), float)), list(golden.values()), atol=1e-5)


@pytest.mark.parametrize("data", ["120 80 2 1 2 3", "120 80 0", "a", "0 80 1 " + "1 " * 32])
def test_a_b_spline_without_its_numbers_is_refused(data):
    with pytest.raises(ValueError, match="CubicBSplineTransform"):
        parse_transforms([(SPLINE_CLASS, data)])


def test_a_virtual_stacks_files_lead_from_image_to_canvas(tmp_path, stack):
    said = write_transforms(tmp_path / "xml", stack, StackWarps(WARPS))
    assert "mesh of 32 columns" in said[0]
    assert sorted(p.name for p in (tmp_path / "xml").iterdir()) == ["s_01.xml", "s_02.xml", "s_04.xml"]
    line = (tmp_path / "xml" / "s_01.xml").read_text().splitlines()[0]
    assert line.index("class=") < line.index("data=")
    name, data = line.split('"')[1], line.split('"')[3]
    at = np.array([[0.0, 0], [100, 50]])
    np.testing.assert_allclose(WARPS[0](parse_transforms([(name, data)])(at)), at, atol=1e-9)


def test_a_virtual_stacks_files_come_back_as_warps(tmp_path, stack):
    write_transforms(tmp_path / "xml", stack, StackWarps(WARPS))
    back = read_transforms(tmp_path / "xml", stack, CANVAS, stride=4)
    assert back.ids == stack.ids
    at = np.random.default_rng(6).uniform(0, 1, (600, 2)) * (np.array(CANVAS[::-1]) - 1)
    for found, warp in zip(back.warps, WARPS, strict=True):
        wanted = warp(at)
        inside = ((wanted > 8) & (wanted < np.array(IMAGE[::-1]) - 8)).all(axis=1)
        away = np.linalg.norm(found(at) - wanted, axis=1)[inside]
        assert inside.sum() > 200
        assert np.percentile(away, 99) < 0.3  # px: the spline's share, and bilinear nodes every 4 px


def test_the_plug_ins_own_file_is_read_line_by_line(tmp_path, stack):
    (tmp_path / "xml").mkdir()
    for name in ("s_01", "s_02", "s_04"):
        (tmp_path / "xml" / f"{name}.xml").write_text(
            '<ict_transform_list>\n'
            '\t<iict_transform class="mpicbg.trakem2.transform.RigidModel2D" data="0.0 14.25 -3.5" />\n'
            '\t<iict_transform class="mpicbg.trakem2.transform.TranslationModel2D" data="1 2" />\n'
            '</ict_transform_list>\n'
        )  # fmt: skip
    back = read_transforms(tmp_path / "xml", stack, CANVAS, origin_xy=(5, 0))
    # world = image + (15.25, -1.5); canvas pixel (0, 0) is world (5, 0): image = canvas + 5 - 15.25, + 1.5
    np.testing.assert_allclose(back.warps[0]([50, 60]), [50 + 5 - 15.25, 60 + 1.5], atol=1e-4)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<nothing/>", "holds no transform"),
        ('<ict_transform class="a.B" data="1"/>', "not known"),
        ('<ict_transform class="x.RigidModel2D" data="1 2"/>', "3 were needed"),
    ],
)
def test_a_transform_file_that_cannot_be_read_is_named(tmp_path, stack, text, why):
    (tmp_path / "xml").mkdir()
    for name in ("s_01", "s_02", "s_04"):
        (tmp_path / "xml" / f"{name}.xml").write_text(text)
    with pytest.raises(FormatError, match=r"s_01\.xml") as refused:
        read_transforms(tmp_path / "xml", stack, CANVAS)
    assert why in str(refused.value)


def test_a_folder_with_too_few_files_is_refused(tmp_path, stack):
    (tmp_path / "xml").mkdir()
    with pytest.raises(FormatError, match=r"0 transform file\(s\) for 3 sections"):
        read_transforms(tmp_path / "xml", stack, CANVAS)
