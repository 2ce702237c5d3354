"""Stacks from a folder, a TIFF, an OME-Zarr, a layout and a run: order, numbers, gaps, sizes, and what is refused."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
import zarr
from real_images import shared_data

from demis_ij import formats, images
from demis_ij.errors import DemisError, FormatError, InputError
from demis_ij.formats.stacks import read_stack
from demis_ij.formats.stacks_files import section_numbers
from demis_ij.images import opening
from demis_ij.records import Affine, Layout, Stack, Tile

SHAPE = (40, 50)


def picture(seed, shape=SHAPE, dtype=np.uint8):
    return np.random.default_rng(seed).integers(1, 255, shape).astype(dtype)


def folder(tmp_path, names, **kind):
    where = tmp_path / "in"
    where.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        cv2.imwrite(str(where / name), picture(i, **kind))
    return where


# --- a folder ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_in_natural_order_and_numbered_by_its_names(tmp_path):
    stack = read_stack(folder(tmp_path, ["s10.png", "s9.png", "s8.png", "notes.txt.png.bak"][:3]))
    assert stack.ids == ("s8.png", "s9.png", "s10.png")
    assert stack.z == (8, 9, 10)
    assert stack.warnings == ()
    assert all(t.shape == SHAPE and t.to_world == Affine() for t in stack)
    assert stack.source == tmp_path / "in"


def test_numbers_that_are_missing_leave_a_gap_and_are_said(tmp_path):
    stack = read_stack(folder(tmp_path, [f"s_{i:03d}.png" for i in (1, 2, 5, 6)]))
    assert stack.z == (1, 2, 5, 6)
    assert stack.missing == (3, 4)
    assert stack.warnings == ("2 section(s) are missing, by the numbers of the others: 3, 4; they leave a gap",)


def test_every_third_slice_is_a_neighbour(tmp_path):
    stack = read_stack(folder(tmp_path, [f"z{i}.png" for i in (3, 6, 12)]))
    assert stack.z == (1, 2, 4)
    assert section_numbers([0, 40, 80]) == (0, 1, 2)
    assert section_numbers([5, 25, 55]) == (0, 2, 5)
    assert section_numbers([0, 1, np.pi]) is None
    assert section_numbers([1, 1, 2]) is None


def test_numbers_that_rather_are_dates_number_nothing(tmp_path):
    stack = read_stack(folder(tmp_path, ["t0812.png", "t1130.png", "t1745.png"]))
    assert (stack.z, stack.warnings) == ((0, 1, 2), ())


def test_names_without_numbers_are_counted(tmp_path):
    assert read_stack(folder(tmp_path, ["front.png", "back.png"])).z == (0, 1)


def test_a_pattern_chooses_files_and_says_where_the_number_stands(tmp_path):
    names = ["a1_raw_7.png", "a2_raw_5.png", "a3_raw_4.png", "a1_mask_7.png"]
    where = folder(tmp_path, names)
    assert read_stack(where, pattern="a*_raw_{i}.png").ids == ("a3_raw_4.png", "a2_raw_5.png", "a1_raw_7.png")
    assert read_stack(where, pattern="a*_raw_{i}.png").z == (4, 5, 7)
    assert read_stack(where, pattern="*_raw_*.png").ids == ("a1_raw_7.png", "a2_raw_5.png", "a3_raw_4.png")
    with pytest.raises(InputError, match=r"no file name fits the pattern 'b_\{i\}\.png'"):
        read_stack(where, pattern="b_{i}.png")


def test_smaller_sections_lie_in_the_middle_of_the_largest_by_whole_pixels(tmp_path):
    where = folder(tmp_path, ["s1.png", "s2.png"])
    cv2.imwrite(str(where / "s3.png"), picture(3, (31, 40)))
    stack = read_stack(where)
    assert [t.shape for t in stack] == [SHAPE, SHAPE, (31, 40)]
    assert [t.to_world for t in stack] == [Affine(), Affine(), Affine.translation(5, 4)]
    assert stack.warnings == ("sections differ in size (50x40, 40x31 px); they lie in the middle of the largest",)


def test_a_section_that_cannot_be_read_is_left_out_and_leaves_a_gap(tmp_path):
    where = folder(tmp_path, ["s1.png", "s2.png", "s3.png", "s4.png"])
    whole = (where / "s2.png").read_bytes()
    (where / "s2.png").write_bytes(whole[: len(whole) // 2])
    stack = read_stack(where)
    assert stack.z == (1, 3, 4)
    assert stack.missing == (2,)
    assert "section s2.png is left out" in stack.warnings[0]
    assert "truncated" in stack.warnings[0]
    assert len(stack.warnings) == 2


def test_sections_of_another_type_or_in_colour_are_said(tmp_path):
    where = folder(tmp_path, ["s1.png", "s2.png"])
    cv2.imwrite(str(where / "s3.png"), picture(3, dtype=np.uint16))
    cv2.imwrite(str(where / "s4.png"), picture(4, (*SHAPE, 3)))
    said = read_stack(where).warnings
    assert said == (
        "1 section(s) are not uint8 as most are (first: s3.png, uint16); grey values are not stretched",
        "1 section(s) are in colour (first: s4.png) and are read as grey (luma)",
    )


@pytest.mark.parametrize("names", [["one.png"], []])
def test_one_section_or_none_is_refused_in_one_line(tmp_path, names):
    with pytest.raises(InputError) as refused:
        read_stack(folder(tmp_path, names))
    assert ("one section was found, two at least" if names else "no image") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_path_that_is_nothing_is_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path / "text"):
        (tmp_path / "text").write_text("hello")
        with pytest.raises(DemisError, match=path.name):
            read_stack(path)


def test_options_that_do_not_belong_are_refused(tmp_path):
    where = folder(tmp_path, ["s1.png", "s2.png"])
    with pytest.raises(InputError, match="channel belongs to tiff or ome-zarr"):
        read_stack(where, channel=1)
    with pytest.raises(InputError, match="'film' is not one of folder, tiff"):
        read_stack(where, format="film")


def test_masks_go_by_name_or_by_order_and_must_fit(tmp_path):
    where = folder(tmp_path, ["s1.png", "s2.png"])
    masks = tmp_path / "masks"
    masks.mkdir()
    hole = np.full(SHAPE, 255, np.uint8)
    hole[10:20, 10:20] = 0
    for name in ("s1.tif", "s2.tif", "s9.tif"):
        tifffile.imwrite(masks / name, hole)
    stack = read_stack(where, masks=masks)
    assert [t.mask_path.name for t in stack] == ["s1.tif", "s2.tif"]
    assert images.section(stack[0])[1].sum() == 40 * 50 - 100
    (masks / "s1.tif").rename(masks / "m1.tif")
    with pytest.raises(InputError, match=r"3 mask\(s\) for 2 sections"):
        read_stack(where, masks=masks)
    (masks / "s9.tif").unlink()
    assert [t.mask_path.name for t in read_stack(where, masks=masks)] == ["m1.tif", "s2.tif"]
    tifffile.imwrite(masks / "s2.tif", hole[:39])
    with pytest.raises(InputError, match=r"section s2\.png: the mask .* is 50x39 px, the section 50x40"):
        read_stack(where, masks=masks)


def test_a_mask_that_has_changed_since_or_an_image_is_refused_when_it_is_read(tmp_path):
    stack = read_stack(folder(tmp_path, ["s1.png", "s2.png"]))
    tifffile.imwrite(tmp_path / "m.tif", np.ones((3, 4), np.uint8))
    with pytest.raises(InputError, match=r"the mask .* is 4x3 px, the tile 50x40"):
        images.section(replace(stack[0], mask_path=tmp_path / "m.tif"))
    with pytest.raises(InputError, match=r"section s1\.png: .* is 50x40 px, the stack says 50x41"):
        images.section(replace(stack[0], shape=(41, 50)))


def test_nan_is_no_data(tmp_path):
    values = picture(0, dtype=np.float32)
    values[5, 7] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", np.stack([values, values]))
    grey, mask = images.section(read_stack(tmp_path / "a.tif")[1])
    assert grey.dtype == np.float32
    assert np.argwhere(~mask).tolist() == [[5, 7]]


def test_real_sections_are_twelve_in_order():
    stack = read_stack(shared_data("em_lung_sem_12"))
    assert stack.z == tuple(range(1, 13))
    assert {t.shape for t in stack} == {(800, 800)}
    assert stack.warnings == ()


# --- a TIFF -----------------------------------------------------------------------------------------------------------


def test_the_pages_of_a_tiff_are_sections(tmp_path):
    made = np.stack([picture(i) for i in range(12)])
    tifffile.imwrite(tmp_path / "a.tif", made)
    stack = read_stack(tmp_path / "a.tif")
    assert stack.ids == tuple(f"a.tif:{i:02d}" for i in range(12))
    np.testing.assert_array_equal(images.read(stack[7].path, stack[7].page), made[7])


def test_a_channel_of_an_imagej_hyperstack_is_chosen_and_its_calibration_read(tmp_path):
    made = np.stack([[picture(2 * z + c) for c in range(2)] for z in range(3)])
    told = {"axes": "ZCYX", "spacing": 40, "unit": "nm"}
    tifffile.imwrite(tmp_path / "a.tif", made, imagej=True, resolution=(0.25, 0.25), metadata=told)
    stack = read_stack(tmp_path / "a.tif", channel=1)
    np.testing.assert_array_equal(images.read(stack[2].path, stack[2].page), made[2, 1])
    assert (stack.pixel_size, stack.thickness) == ((4.0, "nm"), (40.0, "nm"))
    assert stack.warnings == ("a.tif: 2 channels; channel 1 (counted from 0) is read",)
    with pytest.raises(InputError, match="channel 2 was asked for, there are 2"):
        read_stack(tmp_path / "a.tif", channel=2)


def test_pages_of_several_sizes_are_sections_too_and_thumbnails_are_not(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(picture(0))
        file.write(picture(1, (10, 10)), subfiletype=1)
        file.write(picture(2, (36, 50)))
    stack = read_stack(tmp_path / "a.tif")
    assert [(t.page, t.shape) for t in stack] == [(0, SHAPE), (2, (36, 50))]


def test_a_tiff_of_sections_and_times_is_refused(tmp_path):
    made = np.zeros((2, 3, 8, 9), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", made, imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(InputError, match="2 T x 3 Z planes, a stack has one axis"):
        read_stack(tmp_path / "a.tif")


def test_a_tiff_of_one_page_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture(0))
    with pytest.raises(InputError, match="one section was found"):
        read_stack(tmp_path / "a.tif")


# --- an OME-Zarr ------------------------------------------------------------------------------------------------------


def ome_zarr(path, made, axes, *, version=2, scale=None):
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.create_array("full", data=made, chunks=(1,) * (made.ndim - 2) + (16, 16))
    units = {"z": "nanometer", "y": "nanometer", "x": "nanometer"}
    transforms = [{"type": "scale", "scale": scale or [1] * len(axes)}]
    told = {
        "axes": [{"name": a, "type": "space"} | ({"unit": units[a]} if a in units and scale else {}) for a in axes],
        "datasets": [{"path": "full", "coordinateTransformations": transforms}],
    }
    if version == 2:
        group.attrs["multiscales"] = [{"version": "0.4", **told}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [told]}
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_an_ome_zarr_is_read_by_section_and_only_where_it_is_asked_for(tmp_path, version):
    made = np.random.default_rng(0).integers(0, 60_000, (2, 5, *SHAPE)).astype(np.uint16)
    path = ome_zarr(tmp_path / "v.zarr", made, "czyx", version=version, scale=[1, 30, 4, 4])
    stack = read_stack(path, channel=1)
    assert len(stack) == 5
    assert (stack.pixel_size, stack.thickness) == ((4.0, "nanometer"), (30.0, "nanometer"))
    np.testing.assert_array_equal(images.read(stack[3].path, stack[3].page), made[1, 3])
    assert images.header(path, stack[3].page) == (SHAPE, np.dtype(np.uint16))
    for chunk in (path / "full").rglob("*"):  # all but one chunk are broken: it is still read
        name = chunk.relative_to(path / "full").as_posix().removeprefix("c/").replace(".", "/")
        if chunk.is_file() and name[0].isdigit() and name != "1/3/1/2":
            chunk.write_bytes(b"broken")
    part = opening.opened(stack[3])[16:32, 32:48]
    np.testing.assert_array_equal(part, made[1, 3, 16:32, 32:48])
    with pytest.raises(InputError, match=r"v\.zarr: plane \(1, 3\) cannot be read"):
        opening.opened(stack[3])[0:16, 0:16]


def test_an_ome_zarr_without_z_or_that_is_none_is_refused(tmp_path):
    path = ome_zarr(tmp_path / "v.zarr", np.zeros((3, *SHAPE), np.uint8), "tyx")
    with pytest.raises(FormatError, match="a stack has a z axis, found t, y, x"):
        read_stack(path)
    zarr.open_group(tmp_path / "w.zarr", mode="w", zarr_format=2)
    with pytest.raises(FormatError, match=r"w\.zarr: is no OME-Zarr"):
        read_stack(tmp_path / "w.zarr")
    path = ome_zarr(tmp_path / "x.zarr", np.zeros((3, *SHAPE), np.uint8), "zyx")
    with pytest.raises(InputError, match="plane 3 was asked for, the file has 3"):
        images.read(path, 3)


# --- a layout ---------------------------------------------------------------------------------------------------------


def layout_file(tmp_path, placed, name="p.xml"):
    where = folder(tmp_path, [f"s{i}.png" for i in range(len(placed))])
    layouts = [
        Layout((Tile(str(20 + i), where / f"s{i}.png", SHAPE, at, z),), z, (4.0, "nm"))
        for i, (z, at) in enumerate(placed)
    ]
    return formats.write(tmp_path / name, layouts)


def test_a_trakem2_project_with_one_image_a_layer_is_a_stack_where_it_says(tmp_path):
    turn = Affine.rigid(0.1, 5, 6)
    path = layout_file(tmp_path, [("0", Affine()), ("10", turn), ("30", Affine.translation(1, 2))])
    stack = read_stack(path)
    assert stack.z == (0, 1, 3)
    assert (stack.pixel_size, stack.thickness) == ((4.0, "nm"), (40.0, "nm"))
    np.testing.assert_allclose(stack[1].to_world.matrix, turn.matrix, atol=1e-9)
    assert [t.path.name for t in stack] == ["s0.png", "s1.png", "s2.png"]
    assert any("missing" in line for line in stack.warnings)


def test_a_section_of_several_tiles_says_to_stitch_first(tmp_path):
    where = folder(tmp_path, ["s0.png", "s1.png", "s2.png"])
    tiles = [Tile(str(20 + i), where / f"s{i}.png", SHAPE, Affine.translation(30 * i, 0)) for i in range(3)]
    path = formats.write(tmp_path / "p.xml", [Layout(tuple(tiles[:1]), "0"), Layout(tuple(tiles[1:]), "1")])
    with pytest.raises(InputError, match=r"section 1 has 2 tiles .* stitch it first, then align the run folder"):
        read_stack(path)


def test_real_tiles_of_three_sections_are_a_stack_as_their_project_says(tmp_path):
    where = shared_data("lom_array_tomography_3sec")
    layouts = [
        Layout((Tile(str(30 + i), where / f"{name}1_10_2.tif", (1040, 1376), section=str(i)),), str(i))
        for i, name in enumerate("ABC")
    ]
    stack = read_stack(formats.write(tmp_path / "p.xml", layouts))
    assert [t.path.name for t in stack] == ["A1_10_2.tif", "B1_10_2.tif", "C1_10_2.tif"]
    assert stack.z == (0, 1, 2)
    assert images.section(stack[2])[0].shape == (1040, 1376)


# --- a run of stitch --------------------------------------------------------------------------------------------------


def run_folder(tmp_path, sections=("2", "10", "11"), mosaics=True):
    run = tmp_path / "run"
    run.mkdir()
    tiles = {}
    for k, section in enumerate(sections):
        for i, at in enumerate(((0, 0), (25, 4 + k))):
            tiles[f"{section}/t{i}"] = {
                "path": "t.png", "page": None, "section": section, "shape": [30, 30],
                "to_world": [[1, 0, at[0]], [0, 1, at[1]]],
            }  # fmt: skip
        if mosaics:
            tifffile.imwrite(run / f"mosaic_{section}.ome.tif", picture(k, (36, 55)))
    (run / "solution.json").write_text(json.dumps({"format_version": 1, "pixel_size": [4, "nm"], "tiles": tiles}))
    return run


def test_the_mosaics_of_a_run_are_a_stack_on_one_canvas_with_masks_of_their_tiles(tmp_path):
    stack = read_stack(run_folder(tmp_path))
    assert stack.ids == ("2", "10", "11")
    assert stack.z == (2, 10, 11)
    assert stack.pixel_size == (4.0, "nm")
    assert all(t.to_world == Affine() for t in stack)
    mask = images.section(stack[1])[1]
    covered = np.zeros((36, 55), bool)
    covered[0:30, 0:30] = covered[5:35, 25:55] = True
    assert not mask[~covered].any()
    inner = np.zeros((36, 55), bool)
    inner[1:29, 1:29] = inner[6:34, 26:54] = True
    assert mask[inner].all()
    again = read_stack(tmp_path / "run")
    assert [t.mask_path for t in again] == [t.mask_path for t in stack]


def test_a_run_without_mosaics_or_with_one_section_says_what_to_do(tmp_path):
    run = run_folder(tmp_path, mosaics=False)
    with pytest.raises(InputError, match=r"3 of 3 sections have no mosaic .*--mosaic ome-tiff"):
        read_stack(run)
    (run / "solution.json").write_text("{")
    with pytest.raises(FormatError, match="is no solution"):
        read_stack(run)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="the run has one section"):
        read_stack(run_folder(tmp_path / "other", sections=("0",)))


# --- the record -------------------------------------------------------------------------------------------------------


def test_a_stack_refuses_what_is_none(tmp_path):
    tiles = tuple(Tile(name, tmp_path / name, SHAPE) for name in "abc")
    for given, why in (
        (((), ()), "at least one section"),
        (((tiles[0], tiles[0]), ()), "'a' occurs twice"),
        ((tiles, (0, 1)), "as many section numbers"),
        ((tiles, (0, 2, 1)), "finite and rise"),
        ((tiles, (0, 1, np.nan)), "finite and rise"),
    ):
        with pytest.raises(InputError, match=why):
            Stack(*given)
    assert len(Stack(tiles)) == 3
    assert [t.id for t in Stack(tiles)] == ["a", "b", "c"]


def test_a_notebook_shows_what_is_known_of_a_stack(tmp_path):
    tiles = tuple(Tile(name, tmp_path / name, SHAPE) for name in "abc")
    stack = Stack(tiles, (3, 4, 7), (4.0, "nm"), (40.0, "nm"), tmp_path / "<in>", ("2 section(s) are missing",))
    shown = stack._repr_html_()
    for text in ("3 to 7", "50 x 40 px", "4 nm", "40 nm", "&lt;in&gt;", "2 section(s) are missing"):
        assert text in shown
    assert "with a mask" not in shown
