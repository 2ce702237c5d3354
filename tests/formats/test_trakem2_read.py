"""TrakEM2 projects as they are found: what is read, what is tolerated, what is refused."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from trakem2_projects import (
    CALIBRATION,
    DOCTYPE,
    END,
    LAYER_SET,
    PATCH_6,
    PROJECT,
    UNUID,
    layer,
    patch,
    project,
    transforms,
)

from demis_ij import formats
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.trakem2_matrix import to_corner_frame
from demis_ij.records import Affine


def save(folder, text, name="p.xml"):
    path = folder / name
    data = text if isinstance(text, bytes) else text.encode("iso-8859-1")
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(folder, *layers, **options):
    return formats.read(save(folder, project(*layers)), **options)


def test_a_patch_with_a_coordinate_transform_lies_where_trakem2_itself_puts_it(tmp_path):
    tile = read(tmp_path, layer(patch(), PATCH_6)).layouts[0]["6"]
    # Golden values of the real classes, before the half pixel between TrakEM2's corner frame and ours:
    at = [[0, 0], [1024, 0], [0, 1024], [512, 512]]
    golden = [
        [885.0088023557, 7.7413499493],
        [1908.8170995074, 27.6603021823],
        [868.1613822418, 1031.6032608935],
        [1388.4892408746, 529.6317815379],
    ]
    linear = np.array([[0.999847695, -0.0174524064], [0.0174524064, 0.999847695]])
    half = linear @ [0.5, 0.5] - [0.5, 0.5]
    np.testing.assert_allclose(tile.to_world(at), np.array(golden) + half, atol=1e-9)  # px: the digits given
    assert tile.shape == (1024, 1024)
    assert tile.locked is False


@pytest.mark.parametrize(("shift", "left"), [("4 2", (0, 0)), ("4.75 2.5", (0.75, 0.5)), ("-4.75 -2.5", (-0.75, -0.5))])
def test_a_shift_inside_a_coordinate_transform_does_nothing_but_for_its_fraction(tmp_path, shift, left):
    # TrakEM2 takes the transformed image's box, cut to whole pixels toward zero, as the patch's own frame
    inside = transforms(("AffineModel2D", "1 0 0.02 1 0 0"), ("TranslationModel2D", shift))
    tile = read(tmp_path, layer(patch("5", "matrix(1,0,0,1,100,200)", inside=inside))).layouts[0]["5"]
    np.testing.assert_allclose(tile.to_world([0.0, 0.0]), np.add((100, 200), left), atol=1e-12)
    np.testing.assert_allclose(tile.to_world([0.0, 50.0]), np.add((101, 250), left), atol=1e-12)


def test_a_translation_is_the_same_in_both_frames_and_a_turn_differs_by_half_a_pixel_of_its_linear_part(tmp_path):
    turn = "matrix(0.0,1.0,-1.0,0.0,10.0,20.0)"
    layout = read(tmp_path, layer(patch("5", "matrix(1,0,0,1,3.5,-4.25)"), patch("6", turn))).layouts[0]
    np.testing.assert_allclose(layout["5"].to_world([0.0, 0.0]), [3.5, -4.25], atol=0)
    # a quarter turn sends the corner frame's (0.5, 0.5), centre of pixel (0, 0), to (9.5, 20.5): pixel (9, 20)
    np.testing.assert_allclose(layout["6"].to_world([0.0, 0.0]), [9.0, 20.0], atol=1e-12)
    assert to_corner_frame(layout["6"].to_world).tx == pytest.approx(10, abs=1e-12)


def test_each_layer_is_a_section_in_the_order_of_the_file_named_by_its_z_and_where_needed_its_oid(tmp_path):
    document = read(
        tmp_path,
        layer(patch("10"), oid="7", z="3.0"),
        layer(patch("11"), oid="8", z="0.5"),
        layer(patch("12"), oid="9", z="3.0"),
        layer(oid="20", z="99.0"),
    )
    assert document.sections == ("3_7", "0.5", "3_9")
    assert [layout.ids for layout in document.layouts] == [("10",), ("11",), ("12",)]
    assert {t.section for layout in document.layouts for t in layout} == {"3_7", "0.5", "3_9"}


def test_calibration_flags_paths_and_slices_are_carried(tmp_path):
    document = read(
        tmp_path,
        layer(
            patch("5", path="tiles/stack.tif-----#slice=3", extra=' locked="true"'),
            patch("6", path="C:/data/b.tif", extra=' visible="false"'),
            patch("7", path="/abs/c.tif"),
            patch("8", path="tiles\\d.tif"),
        ),
    )
    layout = document.layouts[0]
    assert layout.pixel_size == (4.0, "nm")
    assert layout.source == document.path
    assert (layout["5"].path, layout["5"].page, layout["5"].locked) == (tmp_path / "tiles/stack.tif", 2, True)
    assert (str(layout["6"].path), layout["6"].visible) == ("C:/data/b.tif", False)
    assert (str(layout["7"].path), layout["7"].page) == ("/abs/c.tif", None)
    assert layout["8"].path == tmp_path / "tiles/d.tif"
    assert not layout["7"].locked
    assert layout["7"].visible


def test_a_calibration_in_pixels_is_no_pixel_size(tmp_path):
    text = project(layer(patch()), calibration=CALIBRATION.replace('unit="nm"', 'unit="pixel"'))
    assert formats.read(save(tmp_path, text)).layouts[0].pixel_size is None


def test_gzip_is_recognised_by_its_bytes(tmp_path):
    text = project(layer(patch()))
    assert formats.read(save(tmp_path, text, "p.xml.gz")).format == "trakem2"
    (tmp_path / "q.xml").write_bytes(gzip.compress(text.encode()))
    assert formats.read(tmp_path / "q.xml").layouts[0].ids == ("5",)


def test_raw_ampersands_and_angle_brackets_are_read_and_said(tmp_path):
    document = read(tmp_path, layer(patch(path="R&D <1>/a&amp;b.tif")))
    assert document.layouts[0]["5"].path == tmp_path / "R&D <1>/a&b.tif"
    assert any("not well formed" in warning for warning in document.warnings)
    assert not any("not well formed" in w for w in read(tmp_path, layer(patch(path="R&amp;D.tif"))).warnings)


def test_latin_1_is_read_and_utf_8_written_under_its_name_is_found(tmp_path):
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "größe.tif").touch()
    good = read(tmp_path, layer(patch(path="tiles/größe.tif")))
    assert good.layouts[0]["5"].path == tmp_path / "tiles/größe.tif"
    mangled = formats.read(save(tmp_path, project(layer(patch(path="tiles/größe.tif"))).encode("utf-8"), "q.xml"))
    assert mangled.layouts[0]["5"].path == tmp_path / "tiles/größe.tif"


def test_other_encodings_are_read_and_copied(tmp_path):
    text = project(layer(patch(path="tiles/größe.tif")))
    bare = text.replace(' encoding="ISO-8859-1"', "")
    for name, data in {
        "undeclared Latin-1": bare.encode("latin-1"),
        "undeclared UTF-8": bare.encode("utf-8"),
        "UTF-8 with a mark": bare.encode("utf-8-sig"),
        "Windows": text.replace("ISO-8859-1", "windows-1252").encode("cp1252"),
        "UTF-16": bare.encode("utf-16"),
    }.items():
        document = formats.read(save(tmp_path, data))
        assert document.layouts[0]["5"].path == tmp_path / "tiles/größe.tif", name
        moved = [document.layouts[0].moved({"5": Affine.translation(3, 0)})]
        if name == "UTF-16":
            with pytest.raises(FormatError, match="UTF-16"):
                formats.write_solved(document, moved)
            continue
        out = formats.write_solved(document, moved, overwrite=True)
        assert out.read_bytes() == data.replace(b'1.0,0.0,0.0)" title="t', b'1.0,3.0,0.0)" title="t')
        far = formats.read(formats.write_solved(document, moved, tmp_path / "far", overwrite=True))
        assert far.layouts[0]["5"].path.resolve() == tmp_path / "tiles/größe.tif", name


def test_an_unknown_entity_is_a_bare_ampersand(tmp_path):
    assert read(tmp_path, layer(patch(path="a&nbsp;b.tif"))).layouts[0]["5"].path == tmp_path / "a&nbsp;b.tif"


FOREIGN = """<trakem2>
 <project id='0' unuid='1.2.3'/>
 <t2_layer_set oid='3'>
  <t2_layer oid='4' thickness='0' z='7'>
   <T2_PATCH OID='tile-a' WIDTH='64' HEIGHT='48' TRANSFORM='matrix(1 0 0 1 5 6)' FILE_PATH='a.png'/>
   <t2_patch oid='9' file_path='b.png' o_width='64' o_height='48'/>
  </t2_layer>
 </t2_layer_set>
</trakem2>"""


def test_a_foreign_file_with_single_quotes_capitals_and_little_else_is_read(tmp_path):
    document = formats.read(save(tmp_path, FOREIGN))
    layout = document.layouts[0]
    assert layout.ids == ("tile-a", "9")
    assert layout["tile-a"].shape == (48, 64)
    assert (layout["tile-a"].to_world.tx, layout["9"].to_world.tx) == (5, 0)
    assert layout.pixel_size is None
    assert layout.section == "7"
    assert any("oid that is no number" in warning for warning in document.warnings)


def test_images_at_a_web_address_stay_in_the_layout_with_a_warning(tmp_path):
    document = read(tmp_path, layer(patch(path="http://host/a.tif"), patch("6")))
    assert document.layouts[0].ids == ("5", "6")
    assert any("web address" in w and "5" in w for w in document.warnings)


def test_a_moved_folder_is_found_beside_the_project_or_where_relink_says(tmp_path):
    (tmp_path / "a.tif").touch()
    new = tmp_path / "new"
    for folder in ("g1", "g2"):
        (new / folder).mkdir(parents=True)
        (new / folder / "b.tif").touch()
    path = save(tmp_path, project(layer(patch("5", path="/gone/a.tif"), patch("6", path="/gone/g2/b.tif"))))

    beside = formats.read(path)
    assert beside.layouts[0]["5"].path == tmp_path / "a.tif"
    assert str(beside.layouts[0]["6"].path) == "/gone/g2/b.tif"
    assert any("found beside it" in w for w in beside.warnings)

    relinked = formats.read(path, relink=new)
    assert relinked.layouts[0]["6"].path == new / "g2/b.tif"  # the longer common tail wins
    assert any("1 image(s) are not below" in w for w in relinked.warnings)

    path = save(tmp_path, project(layer(patch("6", path="/gone/b.tif"))))
    doubtful = formats.read(path, relink=new)
    assert str(doubtful.layouts[0]["6"].path) == "/gone/b.tif"
    assert any("more than once" in w for w in doubtful.warnings)
    with pytest.raises(InputError, match="no folder"):
        formats.read(path, relink=tmp_path / "nowhere")


# --- annotations ----------------------------------------------------------------------------------------------------

NODES = '<t2_node x="1" y="2" lid="4"><t2_node x="1" y="2" lid="44"/></t2_node>'
IN_LAYER_SET = {
    "treelines": f'<t2_treeline oid="50" transform="matrix(1,0,0,1,0,0)">{NODES}</t2_treeline>',
    "area trees": f'<t2_areatree oid="51">{NODES}</t2_areatree>',
    "area lists": '<t2_area_list oid="52"><t2_area layer_id="4"><t2_path d="M 0 0"/></t2_area>'
    '<t2_area layer_id="44"><t2_path d="M 0 0"/></t2_area></t2_area_list>',
    "connectors": f'<t2_connector oid="53">{NODES}</t2_connector>',
    "pipes": '<t2_pipe oid="54" layer_ids="4,44" d="M 1,2 C 1,2 3,4 5,6"/>',
    "balls": '<t2_ball oid="55"><t2_ball_ob x="1" y="1" r="2" layer_id="4"/>'
    '<t2_ball_ob x="1" y="1" r="2" layer_id="44"/></t2_ball>',
    "polylines": '<t2_polyline oid="56" layer_ids="4,44" d="M 1,2 L 3,4"/>',
    "dissectors": '<t2_dissector oid="57"><t2_dd_item radius="8" tag="1" points="[1,2,4]">'
    '<t2_dd_point x="1" y="2" layer_id="4"/><t2_dd_point x="1" y="2" layer_id="44"/></t2_dd_item></t2_dissector>',
    "stacks": '<t2_stack oid="58" file_path="stack.tif"/>',
}
IN_LAYER = {
    "labels": '<t2_label oid="60" transform="matrix(1,0,0,1,5,5)">text</t2_label>',
    "profiles": '<t2_profile oid="61" d="M 1,2 C 3,4 5,6 7,8"/>',
}


@pytest.mark.parametrize("kind", IN_LAYER_SET)
def test_an_annotation_of_the_layer_set_is_counted_in_the_sections_it_has_points_in(tmp_path, kind):
    document = read(tmp_path, IN_LAYER_SET[kind], layer(patch("5")), layer(patch("6"), oid="44", z="1.0"))
    assert document.annotations == {"0": {kind: 1}, "1": {kind: 1}}


@pytest.mark.parametrize("kind", [k for k in IN_LAYER_SET if k != "stacks"])
def test_an_annotation_leaves_the_other_sections_free(tmp_path, kind):
    only_44 = IN_LAYER_SET[kind].replace('lid="4"', 'lid="44"').replace('layer_id="4"', 'layer_id="44"')
    only_44 = only_44.replace('layer_ids="4,44"', 'layer_ids="44"')
    document = read(tmp_path, only_44, only_44, layer(patch("5")), layer(patch("6"), oid="44", z="1.0"))
    assert document.annotations == {"1": {kind: 2}}


@pytest.mark.parametrize("kind", IN_LAYER)
def test_an_annotation_inside_a_layer_is_counted_there(tmp_path, kind):
    document = read(tmp_path, layer(patch("5")), layer(patch("6"), IN_LAYER[kind], oid="44", z="1.0"))
    assert document.annotations == {"1": {kind: 1}}


def test_an_empty_treeline_has_nothing_to_leave_behind(tmp_path):
    assert read(tmp_path, '<t2_treeline oid="50"></t2_treeline>', layer(patch())).annotations == {}


def test_tiles_inside_a_nested_layer_set_are_left_alone_and_counted(tmp_path):
    nested = f'<t2_layer_set oid="70"><t2_layer oid="71" z="0">{patch("72")}</t2_layer></t2_layer_set>'
    document = read(tmp_path, layer(patch("5"), nested, patch("6")))
    assert document.layouts[0].ids == ("5", "6")
    assert any("1 tile(s) lie in layer sets inside layers" in w for w in document.warnings)


# --- coordinate transforms out of the ordinary ----------------------------------------------------------------------


def test_a_polynomial_transform_is_an_affine_map_after_a_lens_exactly(tmp_path):
    bent = transforms(("PolynomialTransform2D", "0 1 0 0.00001 0 0 0 0 1 0 0 0"))  # x' = x + 1e-5 x^2
    document = read(tmp_path, layer(patch(inside=bent)))
    tile = document.layouts[0]["5"]
    at = np.array([[0.0, 0], [1023, 0], [300, 700], [511.5, 511.5]])
    np.testing.assert_allclose(tile.in_world(at), np.stack([at[:, 0] + 1e-5 * at[:, 0] ** 2, at[:, 1]], 1), atol=1e-9)
    assert document.warnings == ()


def test_a_transform_that_is_no_polynomial_is_replaced_by_the_nearest_affine_with_its_departure_said(tmp_path):
    points = "0 0 0 0 1 1023 0 1023 0 1 0 1023 0 1023 1 1023 1023 1023 1023 1 511 511 530 511 1"
    bent = transforms(("MovingLeastSquaresTransform2", f"affine 2 1.0 {points}"))
    document = read(tmp_path, layer(patch(inside=bent)))
    assert document.layouts[0]["5"].lens is None
    (warning,) = document.warnings
    assert "not affine" in warning
    assert "px away" in warning


def test_the_box_comes_from_a_mesh_as_fine_as_the_patch_says(tmp_path):
    # y' = y + (x - 512)^2 / 1000: the lowest vertex is (512, 0) with 33 columns, the middle (512, 49.5) with two
    bend = transforms(("PolynomialTransform2D", "0 1 0 0 0 0 262.144 -1.024 1 0.001 0 0"))
    fine = patch("5", inside=bend, size=(1025, 100)).replace('mres="32"', 'mres="33"')
    coarse = patch("6", inside=bend, size=(1025, 100)).replace('mres="32"', 'mres="2"')
    layout = read(tmp_path, layer(fine, coarse)).layouts[0]
    assert layout["5"].to_world.ty - layout["6"].to_world.ty == pytest.approx(49)


def test_an_unknown_transform_class_is_said_and_the_patch_is_scaled_to_its_size(tmp_path):
    text = patch(inside='<ict_transform class="my.own.Swirl" data="1 2"/>').replace(
        'width="1024.0"', 'width="2048.0"', 1
    )
    document = read(tmp_path, layer(text))
    assert document.layouts[0]["5"].to_world.a == 2
    assert any("my.own.Swirl" in w and "oid=5" in w for w in document.warnings)


def test_a_transform_kept_in_a_side_file_is_read_or_its_absence_refused(tmp_path):
    text = project(layer(patch("7", extra=' ct_id="1234"')))
    with pytest.raises(FormatError, match=r"oid=7.*ct_id=1234.*12/34\.7\.ct"):
        formats.read(save(tmp_path, text))
    file = tmp_path / f"trakem2.{UNUID}" / "trakem2.cts" / "12" / "34.7.ct"
    file.parent.mkdir(parents=True)
    file.write_text('<ict_transform class="mpicbg.trakem2.transform.AffineModel2D" data="2.0 0.0 0.0 2.0 0.0 0.0"/>')
    assert formats.read(save(tmp_path, text)).layouts[0]["7"].to_world.a == 2
    file.write_text("nothing")
    with pytest.raises(FormatError, match="holds no coordinate transform"):
        formats.read(save(tmp_path, text))


# --- refused ----------------------------------------------------------------------------------------------------------

BAD = {
    "no tile": (project(layer()), "holds no tile"),
    "another root": ("<?xml version='1.0'?>\n<!-- trakem2_ --><SpimData/>", "root element is <spimdata>"),
    "truncated": (project(layer(patch()))[:-200], r"line \d+: truncated XML: it ends inside <t2_\w+>"),
    "an encoding of no one": (project(layer(patch())).replace("ISO-8859-1", "klingon"), "klingon"),
    "truncated in a tag": (DOCTYPE + PROJECT + LAYER_SET + '<t2_layer oid="4" z="0"><t2_patch oid="5', "truncated XML"),
    "crossed tags": (project(layer(patch())).replace("</t2_layer>", "</t2_lair>"), r"line \d+: not well-formed"),
    "oid twice": (project(layer(patch("5"), patch("5"))), r"line \d+, t2_patch oid=5: oid 5 again, first on line \d+"),
    "oid twice in two layers": (
        project(layer(patch("5")), layer(patch("5"), oid="44", z="1")),
        "oid 5 again",
    ),
    "no oid": (project(layer(patch("").replace('oid=""', ""))), "without oid"),
    "no path": (project(layer(patch(path=""))), "oid=5: a t2_patch without file_path"),
    "NaN in the matrix": (
        project(layer(patch(transform="matrix(1,0,0,NaN,0,0)"))),
        "oid=5: transform: 'NaN' is not finite",
    ),
    "infinite shift": (project(layer(patch(transform="matrix(1,0,0,1,1e999,0)"))), "is not finite"),
    "five numbers": (project(layer(patch(transform="matrix(1,0,0,1,0)"))), r"oid=5: transform 'matrix\(1,0,0,1,0\)'"),
    "words in the matrix": (project(layer(patch(transform="matrix(1,0,0,one,0,0)"))), "'one' is no number"),
    "a flat matrix": (project(layer(patch(transform="matrix(1,1,1,1,0,0)"))), "flattens"),
    "a wordy width": (
        project(layer(patch())).replace('o_width="1024"', 'o_width="wide"'),
        "o_width: 'wide' is no number",
    ),
    "a negative height": (project(layer(patch(size=(10, -3)))), "is no size"),
    "a wordy z": (project(layer(patch(), z="top")), "t2_layer oid=4: z: 'top' is no number"),
    "a patch outside": (project(layer(), patch()), "outside any t2_layer"),
    "data that do not fit": (
        project(layer(patch(inside=transforms(("AffineModel2D", "1 0 0"))))),
        r"oid=5: coordinate transform: AffineModel2D: 3 number\(s\), 6 were needed",
    ),
    "NaN in a transform": (
        project(layer(patch(inside=transforms(("AffineModel2D", "1 0 0 NaN 0 0"))))),
        "not finite",
    ),
    "no class": (project(layer(patch(inside='<ict_transform data="1"/>'))), "without class"),
    "empty": ("  \n", "is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_project_is_refused_with_line_or_element(tmp_path, name):
    text, says = BAD[name]
    path = save(tmp_path, text)
    before = path.read_bytes()
    with pytest.raises(FormatError, match=says) as caught:
        formats.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [1, 5, 20, 200, -1, -8])
def test_a_truncated_gzip_is_refused_at_every_length(tmp_path, keep):
    whole = gzip.compress(project(layer(patch())).encode())
    path = tmp_path / "p.xml.gz"
    path.write_bytes(whole[:keep])
    with pytest.raises(FormatError, match=r"p\.xml\.gz"):
        formats.read(path)


def test_a_gzip_with_a_damaged_middle_is_refused(tmp_path):
    whole = bytearray(gzip.compress(project(*(layer(patch(str(i)), z=str(i)) for i in range(5, 40))).encode()))
    whole[len(whole) // 2] ^= 0xFF
    path = tmp_path / "p.xml.gz"
    path.write_bytes(bytes(whole))
    with pytest.raises(FormatError, match="gzip"):
        formats.read(path)


def test_end_of_the_hand_made_text_is_what_the_tests_think():
    assert project(layer(patch())).endswith(END)
