"""Aligned volumes: the same pixels as warping each section whole, resumed, interrupted, with labels and channels."""

import errno
import struct

import cv2
import numpy as np
import pytest
import tifffile
import zarr
from real_images import shared_data

from demis_ij import fields, images
from demis_ij.errors import InputError
from demis_ij.formats.stacks import read_stack
from demis_ij.formats.warps import StackWarps
from demis_ij.geometry import Box
from demis_ij.images.warping import warped
from demis_ij.records import Affine, Field, Stack, Tile, Warp
from demis_ij.render import volume
from demis_ij.render.volume import planes_of, render_volume, unaligned
from demis_ij.sinks import volume_tiff
from demis_ij.sinks.volume import VolumeKind
from demis_ij.sinks.volume_tiff import TiffVolumeSink
from demis_ij.sinks.volume_zarr import ZarrVolumeSink

SHAPE, CANVAS = (300, 340), (310, 360)


def bent(seed, stride=16):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (8, 2)) * np.array(CANVAS[::-1])
    return fields.thin_plate(points, rng.normal(0, 4, (8, 2)), CANVAS, stride)


def texture(seed, dtype="uint8", shape=SHAPE):
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(0, 1, shape), (0, 0), 3)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    top = {"uint8": 255, "uint16": 60_000, "float32": 2.5}[dtype]
    return (smooth * top).astype(dtype)


def make(folder, count=3, dtype="uint8", numbers=(1, 2, 4)):
    folder.mkdir()
    for i in numbers[:count]:
        tifffile.imwrite(folder / f"s{i}.tif", texture(i, dtype))
    return read_stack(folder)


def warps_for(stack):
    warps = [Warp((bent(i), Affine.rigid(0.02 * i, -9, -4)), CANVAS) for i in range(len(stack))]
    return StackWarps(tuple(warps), stack.ids, stack.z)


def levels(path):
    group = zarr.open_group(path, mode="r")
    return [np.asarray(group[d["path"]]) for d in group.attrs["multiscales"][0]["datasets"]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_volume_is_each_section_warped_with_an_empty_plane_for_a_missing_one(tmp_path, dtype):
    stack = make(tmp_path / "in", dtype=dtype)
    warps = warps_for(stack)
    outputs = [(ZarrVolumeSink(), tmp_path / "v.ome.zarr"), (TiffVolumeSink(), tmp_path / "v.tif")]
    done = render_volume(stack, warps, outputs, block_px=128)
    assert done.kind.shape == (4, *CANVAS)
    assert done.planes == (0, 1, 3)
    zarr_volume, tiff_volume = levels(tmp_path / "v.ome.zarr")[0], tifffile.imread(tmp_path / "v.tif")
    blank = np.nan if dtype == "float32" else 0
    for tile, warp, plane in zip(stack, warps.warps, done.planes, strict=True):
        wanted, mask = warped(*images.section(tile), warp, interpolation="cubic")
        wanted = np.where(mask, wanted, blank)
        np.testing.assert_array_equal(zarr_volume[plane], wanted)
        np.testing.assert_array_equal(tiff_volume[plane], wanted)
        assert 0.7 < mask.mean() < 1
    for each in (zarr_volume, tiff_volume):
        np.testing.assert_array_equal(each[2], np.full(CANVAS, blank, each.dtype))
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_blocks_and_threads_do_not_change_a_pixel(tmp_path):
    stack = make(tmp_path / "in")
    found = []
    for name, block, threads in (("a", 4096, 1), ("b", 100, 3)):
        path = tmp_path / f"{name}.ome.zarr"
        render_volume(stack, warps_for(stack), [(ZarrVolumeSink(), path)], block_px=block, threads=threads)
        found.append(levels(path)[0])
    np.testing.assert_array_equal(*found)


def test_an_ome_zarr_is_calibrated_and_read_back_as_a_stack_section_by_section(tmp_path):
    stack = make(tmp_path / "in")
    stack = Stack(stack.sections, stack.z, (4.0, "nm"), (40.0, "nm"))
    path = tmp_path / "v.ome.zarr"
    render_volume(stack, warps_for(stack), [(ZarrVolumeSink(), path)], block_px=256)
    told = zarr.open_group(path, mode="r").attrs["multiscales"][0]
    assert [(a["name"], a["unit"]) for a in told["axes"]] == [(a, "nanometer") for a in "zyx"]
    scales = [d["coordinateTransformations"][0]["scale"] for d in told["datasets"]]
    assert scales == [[40, 4, 4], [40, 8, 8]]
    assert [d["coordinateTransformations"][1]["translation"] for d in told["datasets"]] == [[0, 0, 0], [0, 2, 2]]
    large, small = levels(path)
    assert small.shape == (4, 155, 180)
    inner = large[1, 100:200, 100:200].astype(float)
    mean = inner.reshape(50, 2, 50, 2).mean((1, 3))
    np.testing.assert_allclose(small[1, 50:100, 50:100], mean, atol=0.5)
    back = read_stack(path)
    assert (len(back), back.pixel_size, back.thickness) == (4, (4.0, "nanometer"), (40.0, "nanometer"))
    np.testing.assert_array_equal(images.read(back[1].path, back[1].page), large[1])


def test_a_tiff_stack_is_one_that_imagej_opens(tmp_path, monkeypatch):
    stack = make(tmp_path / "in", dtype="uint16")
    stack = Stack(stack.sections, stack.z, (4.0, "nm"), (0.04, "µm"))
    for name, most in (("small", volume_tiff.MOST_OFFSET), ("large", 1000)):  # as if it passed 4 GiB
        monkeypatch.setattr(volume_tiff, "MOST_OFFSET", most)
        path = tmp_path / f"{name}.tif"
        render_volume(stack, warps_for(stack), [(TiffVolumeSink(), path)])
        with tifffile.TiffFile(path) as file:
            assert len(file.pages) == (4 if name == "small" else 1)
            told = file.imagej_metadata
            assert (told["images"], told["slices"], told["spacing"], told["unit"]) == (4, 4, 40.0, "nm")
            assert told["min"] < told["max"]
            assert file.series[0].shape == (4, *CANVAS)
        assert path.read_bytes()[:4] == b"MM\0*"
        back = read_stack(path)
        assert (len(back), back.pixel_size, back.thickness) == (4, (4.0, "nm"), (40.0, "nm"))
        np.testing.assert_array_equal(
            np.stack([images.read(t.path, t.page) for t in back]), tifffile.imread(tmp_path / "small.tif")
        )
        assert images.header(path, back[3].page) == (CANVAS, np.dtype(np.uint16))


def test_the_directories_of_slices_point_at_their_pixels():
    end = 1000 + 3 * 20 * 2
    raw = volume_tiff.directories((3, 4, 5), np.dtype(">u2"), 1000, end)
    size = len(raw) // 2
    for k in (1, 2):
        one = raw[(k - 1) * size : k * size]
        count = struct.unpack(">H", one[:2])[0]
        entries = [struct.unpack(">HHII", one[2 + 12 * i : 14 + 12 * i]) for i in range(count)]
        tags = {e[0]: e[3] for e in entries}
        assert tags[273] == 1000 + 40 * k
        assert tags[279] == 40
        assert sorted(tags) == list(tags)  # TIFF wants them in order
        assert struct.unpack(">I", one[-4:])[0] == (end + size if k == 1 else 0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint32", "uint64"])
def test_labels_keep_their_type_and_are_never_mixed(tmp_path, dtype):
    folder = tmp_path / "labels"
    folder.mkdir()
    top = min(int(np.iinfo(dtype).max), 2**40)
    names = np.array([0, 3, 77, top], dtype)
    made = names[np.random.default_rng(0).integers(0, 4, (3, 30, 34)).repeat(10, 1).repeat(10, 2)]
    group = zarr.open_group(tmp_path / "l.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=made)
    group.attrs["multiscales"] = [{"version": "0.4", "axes": ["z", "y", "x"], "datasets": [{"path": "0"}]}]
    labels = read_stack(tmp_path / "l.zarr")
    warps = StackWarps(tuple(Warp((bent(i),), CANVAS) for i in range(3)))
    render_volume(labels, warps, [(ZarrVolumeSink(), tmp_path / "v.ome.zarr")], labels=True, block_px=256)
    large, small = levels(tmp_path / "v.ome.zarr")
    assert large.dtype == dtype
    assert set(np.unique(large)) == set(names.tolist())
    np.testing.assert_array_equal(small, large[:, ::2, ::2])
    wanted, mask = warped(made[1], None, warps.warps[1], interpolation="nearest")
    np.testing.assert_array_equal(large[1], np.where(mask, wanted, 0))


def test_labels_that_imagej_cannot_hold_are_refused_and_others_become_floats(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    for i, top in enumerate((5, 70_000)):
        tifffile.imwrite(folder / f"l{i}.tif", np.full((20, 20), top, np.uint32))
    warps = StackWarps((Warp.identity((20, 20)),) * 2)
    render_volume(read_stack(folder), warps, [(TiffVolumeSink(), tmp_path / "l.tif")], labels=True)
    found = tifffile.imread(tmp_path / "l.tif")
    assert found.dtype.kind == "f"
    assert np.unique(found).tolist() == [5, 70_000]
    tifffile.imwrite(folder / "l1.tif", np.full((20, 20), 2**24 + 1, np.uint32))
    with pytest.raises(InputError, match="16777217 is larger than ImageJ can hold"):
        render_volume(read_stack(folder), warps, [(TiffVolumeSink(), tmp_path / "m.tif")], labels=True, resume=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["l.tif", "labels"]


def test_grey_values_that_are_no_labels_are_refused(tmp_path):
    stack = make(tmp_path / "in", dtype="float32")
    with pytest.raises(InputError, match="labels are whole numbers"):
        render_volume(stack, warps_for(stack), [(ZarrVolumeSink(), tmp_path / "v.ome.zarr")], labels=True)


def test_another_channel_follows_the_same_warps_and_must_be_of_the_same_sizes(tmp_path):
    stack, other = make(tmp_path / "in"), make(tmp_path / "other", dtype="uint16")
    path = tmp_path / "c.ome.zarr"
    render_volume(other, warps_for(stack), [(ZarrVolumeSink(), path)], aligned=stack)
    wanted, mask = warped(*images.section(other[0]), warps_for(stack).warps[0], interpolation="cubic")
    np.testing.assert_array_equal(levels(path)[0][0], np.where(mask, wanted, 0))
    tifffile.imwrite(tmp_path / "other" / "s2.tif", texture(0, shape=(300, 341)))
    with pytest.raises(InputError, match=r"section s2\.tif is 341x300 px, the one that was aligned .* 340x300 px"):
        render_volume(read_stack(tmp_path / "other"), warps_for(stack), [(ZarrVolumeSink(), path)], aligned=stack)
    short = Stack(other.sections[:2], other.z[:2])
    with pytest.raises(InputError, match="has 2 sections, the aligned stack 3"):
        render_volume(short, StackWarps(warps_for(stack).warps[:2]), [(ZarrVolumeSink(), path)], aligned=stack)


@pytest.mark.parametrize(("sink", "name"), [(ZarrVolumeSink, "v.ome.zarr"), (TiffVolumeSink, "v.tif")])
def test_an_interrupted_volume_goes_on_where_it_stopped(tmp_path, monkeypatch, sink, name):
    stack = make(tmp_path / "in", dtype="float32")
    warps, path = warps_for(stack), tmp_path / name
    whole = tmp_path / f"whole_{name}"
    render_volume(stack, warps, [(sink(), whole)])

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_volume(stack, warps, [(sink(), path)], progress=stop)
    assert not path.exists()
    assert (tmp_path / f".{name}.partial").is_dir()
    seen, read_again, source = [], [], volume._source
    monkeypatch.setattr(volume, "_source", lambda tile, labels: read_again.append(tile.id) or source(tile, labels))
    done = render_volume(stack, warps, [(sink(), path)], progress=lambda d, n: seen.append((d, n)))
    assert done.resumed == 2
    assert read_again == ["s4.tif"]
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    read = (lambda p: levels(p)[0]) if sink is ZarrVolumeSink else tifffile.imread
    np.testing.assert_array_equal(read(path), read(whole))
    assert not (tmp_path / f".{name}.partial").exists()


def test_a_full_disk_leaves_nothing_that_looks_whole_in_any_sink(tmp_path, monkeypatch):
    stack = make(tmp_path / "in")

    def full(self, section, pixels, mask, box):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TiffVolumeSink, "write", full)
    outputs = [(ZarrVolumeSink(), tmp_path / "v.ome.zarr"), (TiffVolumeSink(), tmp_path / "v.tif")]
    with pytest.raises(OSError, match="No space left"):
        render_volume(stack, warps_for(stack), outputs)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".v.ome.zarr.partial", ".v.tif.partial", "in"]
    monkeypatch.undo()
    assert render_volume(stack, warps_for(stack), outputs).resumed == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "v.ome.zarr", "v.tif"]


def test_another_warp_or_image_begins_anew_and_nothing_is_kept_where_nobody_wants_it(tmp_path):
    stack = make(tmp_path / "in")
    warps, path = warps_for(stack), tmp_path / "v.ome.zarr"

    def stop(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_volume(stack, warps, [(ZarrVolumeSink(), path)], progress=stop)
    moved = StackWarps((Warp((Affine.translation(1, 0),), CANVAS), *warps.warps[1:]))
    assert render_volume(stack, moved, [(ZarrVolumeSink(), path)]).resumed == 0
    np.testing.assert_array_equal(levels(path)[0][0, :300, :339], images.read(stack[0].path)[:, 1:])
    with pytest.raises(KeyboardInterrupt):
        render_volume(stack, warps, [(ZarrVolumeSink(), path)], progress=stop, resume=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "v.ome.zarr"]  # the earlier volume stays whole


def test_a_section_that_cannot_be_read_leaves_an_empty_plane_and_a_warning(tmp_path):
    stack = make(tmp_path / "in")
    stack[1].path.write_bytes(b"no image")
    done = render_volume(stack, warps_for(stack), [(ZarrVolumeSink(), tmp_path / "v.ome.zarr")])
    assert len(done.warnings) == 1
    assert "section s2.tif is left empty" in done.warnings[0]
    found = levels(tmp_path / "v.ome.zarr")[0]
    assert found[0].any()
    assert not found[1].any()
    for tile in stack:
        tile.path.unlink()
    with pytest.raises(InputError, match="none of 3 sections can be read"):
        render_volume(stack, warps_for(stack), [(ZarrVolumeSink(), tmp_path / "w.ome.zarr")])


@pytest.mark.parametrize(("sink", "name"), [(ZarrVolumeSink, "v.ome.zarr"), (TiffVolumeSink, "v.tif")])
@pytest.mark.parametrize("is_mended", [False, True])
def test_a_section_that_could_not_be_read_is_tried_and_told_again_after_an_interruption(
    tmp_path, monkeypatch, sink, name, is_mended
):
    stack = make(tmp_path / "in")
    warps, path = warps_for(stack), tmp_path / name
    source, lost = volume._source, {"s1.tif"}

    def read(tile, labels):
        if tile.id in lost:
            msg = "the disk is away"
            raise InputError(msg)
        return source(tile, labels)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(volume, "_source", read)
    with pytest.raises(KeyboardInterrupt):
        render_volume(stack, warps, [(sink(), path)], progress=stop)
    lost -= {"s1.tif"} if is_mended else set()

    done = render_volume(stack, warps, [(sink(), path)])

    assert done.resumed == 1
    found = levels(path)[0] if sink is ZarrVolumeSink else tifffile.imread(path)
    assert found[0].any() == is_mended
    assert len(done.warnings) == (not is_mended)
    assert is_mended or "s1.tif is left empty" in done.warnings[0]


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    stack = make(tmp_path / "in")
    warps, sink = warps_for(stack), ZarrVolumeSink()
    for change, why in (
        ({"warps": StackWarps(warps.warps[:2])}, r"2 warp\(s\) for 3 sections"),
        ({"interpolation": "lanczos"}, "nearest, linear, cubic"),
        ({"block_px": 0}, "one pixel a side"),
    ):
        given = {"warps": warps, **change}
        with pytest.raises(InputError, match=why):
            render_volume(stack, given.pop("warps"), [(sink, tmp_path / "v.ome.zarr")], **given)
    (tmp_path / "mine").mkdir()
    for bad in (ZarrVolumeSink(), TiffVolumeSink()):
        with pytest.raises(InputError, match="is there already"):
            render_volume(stack, warps, [(bad, tmp_path / "mine")])
    with pytest.raises(InputError, match="thickness in 'parsec'"):
        render_volume(Stack(stack.sections, stack.z, None, (1.0, "parsec")), warps, [(sink, tmp_path / "v.ome.zarr")])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "mine"]


@pytest.mark.parametrize("sink", [ZarrVolumeSink, TiffVolumeSink])
def test_a_sink_takes_blocks_in_any_order_and_refuses_one_that_does_not_fit(tmp_path, sink):
    kind, made = VolumeKind((2, 50, 60), np.dtype(np.uint8)), sink()
    with pytest.raises(InputError, match="open"):
        made.write(0, np.zeros((1, 1), np.uint8), np.ones((1, 1), bool), Box(0, 0, 1, 1))
    made.open(tmp_path / "v", kind, block=32)
    part = np.full((10, 20), 7, np.uint8)
    made.write(1, part, np.ones(part.shape, bool), Box(40, 40, 60, 50))
    made.write(1, part, np.zeros(part.shape, bool), Box(0, 0, 20, 10))
    for section, box in ((2, Box(0, 0, 20, 10)), (0, Box(50, 0, 70, 10)), (0, Box(0, 0, 10, 10))):
        with pytest.raises(InputError, match="does not fit"):
            made.write(section, part, np.ones(part.shape, bool), box)
    made.finish(1)
    made.close()
    path = tmp_path / "v"
    found = levels(path)[0] if path.is_dir() else tifffile.imread(path)
    assert found.shape == (2, 50, 60)
    assert (found == 7).sum() == 200
    made.abort()
    made.abort()


def test_an_unaligned_volume_shows_sections_where_they_are_thought_to_lie(tmp_path):
    tiles = []
    for i, (shape, at) in enumerate((((20, 30), (0, 0)), ((10, 16), (7, 5)), ((12, 12), (-3, -4)))):
        tifffile.imwrite(tmp_path / f"{i}.tif", np.full(shape, 10 + i, np.uint8))
        tiles.append(Tile(str(i), tmp_path / f"{i}.tif", shape, Affine.translation(*at)))
    stack = Stack(tuple(tiles))
    warps = unaligned(stack)
    assert (warps.shape, warps.origin_xy) == ((24, 33), (-3, -4))
    render_volume(stack, warps, [(TiffVolumeSink(), tmp_path / "v.tif")])
    found = tifffile.imread(tmp_path / "v.tif")
    assert (found[0, 4:24, 3:33] == 10).all()
    assert (found[1, 9:19, 10:26] == 11).all()
    assert (found[2, 0:12, 0:12] == 12).all()
    assert [(v > 0).sum() for v in found] == [600, 160, 144]


def test_numbers_that_are_no_whole_steps_apart_have_no_gaps():
    tiles = tuple(Tile(str(i), None, (4, 4)) for i in range(3))
    assert planes_of(Stack(tiles, (0, 1, 3))) == ((0, 1, 3), 4)
    assert planes_of(Stack(tiles, (0, 1.5, 3))) == ((0, 1, 2), 3)


def test_real_sections_go_through_with_their_masks(tmp_path):
    stack = read_stack(shared_data("em_lung_sem_12"))
    few = Stack(stack.sections[:3], stack.z[:3])
    field = Field(np.zeros((2, 26, 26), np.float32), 32)
    warps = StackWarps(tuple(Warp((field, Affine.translation(5 * i, -2 * i)), (800, 800)) for i in range(3)))
    render_volume(few, warps, [(ZarrVolumeSink(), tmp_path / "v.ome.zarr")])
    found = levels(tmp_path / "v.ome.zarr")[0]
    for i, tile in enumerate(few):
        image, mask = images.section(tile)
        part = np.where(mask, image, 0)[: 800 - 2 * i, 5 * i :]
        np.testing.assert_array_equal(found[i, 2 * i :, : 800 - 5 * i], part)
