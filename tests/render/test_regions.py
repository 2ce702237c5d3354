import hashlib
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorstore
import tifffile
import zarr

from demis_ij.config import RenderConfig
from demis_ij.errors import InputError
from demis_ij.images import TileStore
from demis_ij.jobs.mosaics import run_render
from demis_ij.pools import open_pool
from demis_ij.records import Affine, Layout, Tile
from demis_ij.render import Canvas, blocks, check_memory, memory, render, spreading
from demis_ij.render import writing as render_writing
from demis_ij.render.blending import Style
from demis_ij.render.memory import region_bytes
from demis_ij.render.regions import Plan, Regions, make_region_from
from demis_ij.sinks.frame import Frame, Region
from demis_ij.sinks.imagej_tiff import ImageJTiffSink
from demis_ij.sinks.ome_tiff import OmeTiffSink
from demis_ij.sinks.ome_zarr import OmeZarrSink
from demis_ij.sinks.png import PngSink

SIDE = 640
"""Of a tile. Blocks of 64 px make chunks of 256 and regions of 2048 px: six, the last without a tile."""


def tiles_in(folder, rows=4, cols=7, seed=3):
    """Tiles of noise, turned a little, two of them with a hole, one at the far end missing."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), 2)
    image = cv2.normalize(image, None, 1, 254, cv2.NORM_MINMAX)
    tiles = []
    for k in range(rows * cols - 1):
        path = folder / f"{k}.tif"
        tifffile.imwrite(path, np.roll(image, 37 * k, axis=(0, 1)).astype(np.uint8))
        mask = None
        if k in {3, 11}:
            mask = folder / f"{k}_mask.png"
            data = np.full((SIDE, SIDE), 255, np.uint8)
            data[100:400, 200:500] = 0
            cv2.imwrite(str(mask), data)
        placed = Affine.translation(k % cols * 580 + rng.uniform(-4, 4), k // cols * 580 + rng.uniform(-4, 4))
        tiles.append(Tile(str(k), path, (SIDE, SIDE), placed @ Affine.rigid(rng.uniform(-0.01, 0.01)), mask_path=mask))
    return Layout(tuple(tiles), pixel_size=(4.0, "nm"))


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    return tiles_in(tmp_path_factory.mktemp("tiles"))


SINKS = {
    "m.ome.zarr": lambda: OmeZarrSink("0.4"),
    "s.ome.zarr": lambda: OmeZarrSink("0.5", "light"),
    "m.ome.tif": lambda: OmeTiffSink("light"),
    "m.png": lambda: PngSink(700),
    "m.tif": lambda: ImageJTiffSink(2**21),
}


def outputs(folder):
    folder.mkdir(exist_ok=True)
    return [(make(), folder / name) for name, make in SINKS.items()]


def draw(layout, folder, names=tuple(SINKS), **options):
    wanted = [(sink, path) for sink, path in outputs(folder) if path.name in names]
    return render(layout, TileStore(), wanted, **{"correct_intensity": False, "block_px": 64, **options})


def files_of(folder):
    """Every file that is not hidden, and a digest of its bytes."""
    found = [p for p in folder.rglob("*") if p.is_file() and not p.relative_to(folder).parts[0].startswith(".")]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


@pytest.fixture(scope="module")
def drawn(layout, tmp_path_factory):
    """The mosaics, drawn one region after the other; not to be changed."""
    folder = tmp_path_factory.mktemp("drawn")
    draw(layout, folder)
    return folder


def copy_of(folder, to):
    shutil.copytree(folder, to)
    return to


def levels_of(folder):
    group = zarr.open_group(folder, mode="r")
    return [group[k][:] for k in sorted(group.array_keys())]


def test_a_frame_is_cut_into_regions_that_hold_every_level_once():
    frame = Frame((5000, 9001), "uint8", 256)

    seen = []
    for stage in range(frame.stages):
        for number in frame.levels(stage):
            seen.append(number)
            boxes = [frame.box(region, number) for region in frame.regions(stage)]
            assert sum(b.width * b.height for b in boxes) == np.prod(frame.shapes[number])
            assert max(b.x1 for b in boxes) == frame.shapes[number][1]
    assert seen == list(range(len(frame.shapes)))
    assert {c for r in frame.regions(1) for c in frame.children(r)} == set(frame.regions(0))
    assert list(Frame((10, 10), "uint8").regions(0)) == [Region(0, 0, 0)]


def test_regions_hold_the_pixels_that_blocks_give(layout, drawn):
    canvas = Canvas.of(layout)
    pixels, mask = np.zeros(canvas.shape, np.uint8), np.zeros(canvas.shape, bool)
    for box, part, inside in blocks(layout, TileStore(), canvas, dtype=np.uint8):
        pixels[box.slices], mask[box.slices] = np.where(inside, part, 0), inside

    for found in (
        levels_of(drawn / "m.ome.zarr")[0],
        levels_of(drawn / "s.ome.zarr")[0],
        tifffile.imread(drawn / "m.ome.tif"),
    ):
        np.testing.assert_array_equal(found, pixels)
    assert not mask.all()


def test_threads_processes_and_their_number_change_no_byte(layout, drawn, tmp_path):
    draw(layout, tmp_path / "threads", threads=3)
    with open_pool(2) as pool:
        draw(layout, tmp_path / "pool", pool=pool)

    expected = files_of(drawn)
    assert len(expected) > 100
    assert files_of(tmp_path / "threads") == expected
    assert files_of(tmp_path / "pool") == expected


class WithoutFive(TileStore):
    """A disk that does not give one tile, for a while."""

    def image(self, tile):
        if tile.id == "5":
            msg = "5.tif: not now"
            raise InputError(msg)
        return super().image(tile)


def test_a_tile_that_can_be_read_again_comes_into_every_level_also_after_a_kill(layout, drawn, tmp_path, monkeypatch):
    zarr_only, path = ("m.ome.zarr",), tmp_path / "m.ome.zarr"
    first = render(layout, WithoutFive(), [(OmeZarrSink("0.4"), path)], correct_intensity=False, block_px=64)
    assert first.warnings == ("tile 5 is left out of the mosaic: 5.tif: not now",)
    real = render_writing.make_region_from

    def until_second_stage(task, source):
        if task.region.stage:
            raise KeyboardInterrupt
        return real(task, source)

    with monkeypatch.context() as patch:
        patch.setattr(render_writing, "make_region_from", until_second_stage)
        with pytest.raises(KeyboardInterrupt):
            draw(layout, tmp_path, zarr_only)
    draw(layout, tmp_path, zarr_only)

    for found, wanted in zip(levels_of(path), levels_of(drawn / "m.ome.zarr"), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_both_versions_of_ome_zarr_and_the_tiff_hold_the_same_levels(drawn):
    old, new = levels_of(drawn / "m.ome.zarr"), levels_of(drawn / "s.ome.zarr")
    with tifffile.TiffFile(drawn / "m.ome.tif") as file:
        tiff = [level.asarray() for level in file.series[0].levels]

    assert [a.shape for a in old] == [a.shape for a in tiff]
    for a, b, c in zip(old, new, tiff, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_a_sharded_mosaic_is_read_by_tensorstore_whatever_its_compression(layout, drawn, tmp_path):
    group = zarr.open_group(drawn / "s.ome.zarr", mode="r")
    (image,) = group.attrs["ome"]["multiscales"]
    assert group.metadata.zarr_format == 3
    assert group.attrs["ome"]["version"] == "0.5"
    assert "version" not in image
    raw = tmp_path / "raw" / "s.ome.zarr"
    raw.parent.mkdir()
    render(layout, TileStore(), [(OmeZarrSink("0.5", "none"), raw)], correct_intensity=False, block_px=64)

    for n, dataset in enumerate(image["datasets"]):
        for folder in (drawn / "s.ome.zarr", raw):
            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder / dataset["path"])}}
            found = tensorstore.open(spec, read=True).result()
            np.testing.assert_array_equal(found.read().result(), levels_of(drawn / "m.ome.zarr")[n])
    shards = [p for p in (drawn / "s.ome.zarr" / "0").rglob("*") if p.is_file() and p.name != "zarr.json"]
    assert len(shards) == 5, "a file a region; the last one holds no tile"


def test_the_older_format_is_read_by_tensorstore(drawn):
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(drawn / "m.ome.zarr" / "1")}}

    np.testing.assert_array_equal(tensorstore.open(spec).result().read().result(), levels_of(drawn / "m.ome.zarr")[1])


def test_many_chunks_are_sharded_unless_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr("demis_ij.sinks.ome_zarr.MOST_FILES", 10)
    for version, sharded in (("auto", True), ("0.4", False), ("0.5", True)):
        sink = OmeZarrSink(version)
        sink.start(tmp_path / "a.ome.zarr", Frame((4000, 4000), "uint8"), None)
        assert sink.is_sharded is sharded
        sink.abort()


class Stop(Exception):
    pass


def stop_after(count):
    def progress(done, _all):
        if done == count:
            raise Stop

    return progress


@pytest.mark.parametrize("count", [2, 5, 6])
def test_what_was_stopped_is_gone_on_with_and_ends_in_the_same_bytes(layout, drawn, tmp_path, count):
    with pytest.raises(Stop):
        draw(layout, tmp_path / "a", progress=stop_after(count))
    assert files_of(tmp_path / "a") == {}, "nothing has a real name yet"

    result = draw(layout, tmp_path / "a")

    assert result.kept == count
    assert files_of(tmp_path / "a") == files_of(drawn)
    assert not list((tmp_path / "a").glob(".*.partial"))


def test_a_mark_that_was_cut_off_is_no_mark(layout, drawn, tmp_path):
    names = ("m.ome.zarr",)
    with pytest.raises(Stop):
        draw(layout, tmp_path / "a", names, progress=stop_after(4))
    marks = tmp_path / "a" / ".m.ome.zarr.partial" / "regions.jsonl"
    marks.write_bytes(marks.read_bytes()[:-9])

    result = draw(layout, tmp_path / "a", names)

    assert result.kept == 3
    assert files_of(tmp_path / "a") == {k: v for k, v in files_of(drawn).items() if k.startswith(names)}


def test_what_another_layout_left_unfinished_does_no_harm(layout, drawn, tmp_path):
    other = Layout(tuple(replace(t, to_world=Affine.translation(3, 5) @ t.to_world) for t in layout))
    other = other.moved({"0": Affine.translation(4100, 2060)})  # into the region that holds no tile
    with pytest.raises(Stop):
        draw(other, tmp_path / "a", canvas=Canvas.of(layout), progress=stop_after(6))
    assert (tmp_path / "a" / ".s.ome.zarr.partial" / "mosaic" / "0" / "c" / "1" / "2").is_file()

    result = draw(layout, tmp_path / "a")

    assert result.kept == 0
    assert files_of(tmp_path / "a") == files_of(drawn)


def test_leftovers_of_another_size_are_removed(layout, tmp_path):
    names = ("m.ome.zarr",)
    with pytest.raises(Stop):
        draw(layout, tmp_path / "a", names, progress=stop_after(3))

    draw(Layout(layout.tiles[:2]), tmp_path / "a", names)

    fresh = tmp_path / "b"
    draw(Layout(layout.tiles[:2]), fresh, names)
    assert files_of(tmp_path / "a") == files_of(fresh)


@pytest.mark.parametrize("name", ["m.ome.zarr", "s.ome.zarr"])
def test_only_what_changed_is_drawn_anew_and_the_bytes_are_those_of_drawing_all(layout, drawn, tmp_path, name):
    again = copy_of(drawn, tmp_path / "again")
    moved = layout.moved({"0": Affine.translation(0.4, -0.3) @ layout["0"].to_world})
    canvas = Canvas.of(layout)

    result = draw(moved, again, (name,), canvas=canvas)

    # tile 0 lies in the first region, which has one smaller copy of the second stage above it
    assert (result.drawn, result.kept) == (2, 4)
    fresh = tmp_path / "fresh"
    draw(moved, fresh, (name,), canvas=canvas)
    wanted = files_of(fresh)
    assert {k: v for k, v in files_of(again).items() if k.startswith(name)} == wanted
    assert wanted != {k: v for k, v in files_of(drawn).items() if k.startswith(name)}
    assert files_of(drawn)["m.png"] == files_of(again)["m.png"]


def test_a_tile_replaced_on_disk_is_drawn_anew_with_its_gain(layout, tmp_path):
    own = Layout(tuple(replace(t, path=shutil.copy(t.path, tmp_path / t.path.name)) for t in layout))
    own = Layout(tuple(replace(t, path=tmp_path / t.path.name) for t in own))
    names = ("m.ome.zarr",)
    draw(own, tmp_path / "a", names)
    tifffile.imwrite(own["26"].path, np.full((SIDE, SIDE), 77, np.uint8))

    changed = draw(own, tmp_path / "a", names)
    same = draw(own, tmp_path / "a", names)
    dimmed = draw(own, tmp_path / "a", names, intensity={"0": (0.5, 1.0)})

    assert 0 < changed.drawn < 6
    assert same.drawn == 0
    assert dimmed.drawn == 2
    fresh = tmp_path / "b"
    draw(own, fresh, names, intensity={"0": (0.5, 1.0)})
    assert files_of(tmp_path / "a") == files_of(fresh)


def test_workers_that_have_drawn_a_tile_draw_the_one_that_has_replaced_it(layout, tmp_path):
    own = Layout(tuple(replace(t, path=Path(shutil.copy(t.path, tmp_path / t.path.name))) for t in layout.tiles[:2]))
    names = ("s.ome.zarr",)
    with open_pool(2) as pool:
        draw(own, tmp_path / "a", names, pool=pool)
        tifffile.imwrite(own["0"].path, np.full((SIDE, SIDE), 77, np.uint8))
        draw(own, tmp_path / "b", names, pool=pool)
    draw(own, tmp_path / "c", names)
    assert files_of(tmp_path / "b") == files_of(tmp_path / "c") != files_of(tmp_path / "a")


def test_redrawing_that_is_stopped_leaves_the_earlier_mosaic(layout, drawn, tmp_path):
    again = copy_of(drawn, tmp_path / "again")
    moved = Layout(tuple(replace(t, to_world=Affine.translation(0.5, 0.5) @ t.to_world) for t in layout))
    before = files_of(again)

    with pytest.raises(Stop):
        draw(moved, again, ("m.ome.zarr",), canvas=Canvas.of(layout), progress=stop_after(4))

    assert files_of(again) == before


def test_tiles_that_are_gone_leave_no_data_where_they_were(layout, drawn, tmp_path):
    again = copy_of(drawn, tmp_path / "again")
    fewer = Layout(layout.tiles[:14])
    canvas = Canvas.of(layout)

    draw(fewer, again, ("m.ome.zarr",), canvas=canvas)

    fresh = tmp_path / "fresh"
    draw(fewer, fresh, ("m.ome.zarr",), canvas=canvas)
    assert {k: v for k, v in files_of(again).items() if k.startswith("m.ome.zarr")} == files_of(fresh)


def test_a_tile_that_could_not_be_read_is_tried_again(layout, tmp_path):
    lost = layout.tiles[0].path.with_suffix(".away")
    names = ("m.ome.zarr",)
    layout.tiles[0].path.replace(lost)
    try:
        with pytest.raises(Stop):
            draw(layout, tmp_path / "a", names, progress=stop_after(3), dtype=np.uint8)
        without = draw(layout, tmp_path / "a", names, dtype=np.uint8)
    finally:
        lost.replace(layout.tiles[0].path)

    whole = draw(layout, tmp_path / "a", names)

    assert len(without.warnings) == 1
    assert "tile 0 is left out" in without.warnings[0]
    assert without.kept == 2
    assert (whole.warnings, whole.drawn) == ((), 2)


def test_memory_that_is_too_small_is_one_line_that_says_how_much_is_needed(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "PROGRAM_BYTES", 0)
    said = r"--memory 10M is too small: one process needs 2\dM to draw a mosaic of these tiles"
    with open_pool(1, memory_bytes=10 << 20) as pool, pytest.raises(InputError, match=said):
        draw(layout, tmp_path / "a", pool=pool)
    assert files_of(tmp_path / "a") == {}

    with open_pool(1, memory_bytes=30 << 20) as pool:
        draw(layout, tmp_path / "a", ("m.png",), pool=pool)


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_a_region_takes_no_more_memory_than_is_counted_for_it(layout, tmp_path, kind):
    store, canvas = TileStore(), Canvas.of(layout)
    frame = Frame(canvas.shape, kind)
    plan = Plan(canvas, frame, Style("linear", "feather", None), 1 << 29)
    sink = OmeZarrSink("0.5", "light")
    sink.start(tmp_path / "a.ome.zarr", frame, None)
    task = next(Regions(plan, layout, {t.id: (1.02, 3.0) for t in layout}).tasks(0))
    for tile in layout:
        store.mask(tile)  # what a store holds is counted by itself

    tracemalloc.start()
    try:
        make_region_from(replace(task, parts=(sink.part,)), store)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    sink.abort()
    assert region_bytes(frame) / 4 < most < region_bytes(frame)


def test_too_little_memory_is_refused_before_anything_is_written(layout, tmp_path):
    with open_pool(1, memory_bytes=60 << 20) as pool, pytest.raises(InputError, match="--memory 60M is too small"):
        run_render([layout], tmp_path / "out", RenderConfig(formats=("ome-zarr",)), pool=pool)
    assert not (tmp_path / "out").exists()
    with open_pool(1) as pool:
        check_memory(layout, 512, pool)


@pytest.mark.parametrize("count", [0, 1, 5, 16, 100])
def test_workers_get_neighbours_in_a_row_and_single_regions_at_the_end(count):
    runs = list(spreading.in_runs(iter(range(count)), lambda: 2))

    assert [k for run in runs for k in run] == list(range(count))
    assert all(runs)
    assert max((len(run) for run in runs), default=0) == min(spreading.MOST_IN_A_ROW, -(-count // 5))
    assert [len(run) for run in runs[-4:]] == [1] * min(count, 4)


def test_tasks_are_drawn_only_as_workers_need_them():
    seen = []
    runs = spreading.in_runs((seen.append(k) or k for k in range(1000)), lambda: 2)

    next(runs)
    assert len(seen) <= 4 * spreading.MOST_IN_A_ROW


def test_workers_of_dask_give_the_bytes_of_one_process(layout, drawn, tmp_path):
    names = ("s.ome.zarr", "m.ome.tif")
    draw(layout, tmp_path / "one", names, correct_intensity=True)
    with open_pool(2, "local") as pool:
        draw(layout, tmp_path / "plain", names, pool=pool)
        draw(layout, tmp_path / "evened", names, pool=pool, correct_intensity=True)

    assert files_of(tmp_path / "plain") == {k: v for k, v in files_of(drawn).items() if k.startswith(names)}
    assert files_of(tmp_path / "evened") == files_of(tmp_path / "one")
    assert files_of(tmp_path / "evened") != files_of(tmp_path / "plain")
