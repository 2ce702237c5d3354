"""A mark must not outlive its data, and no kill between two renames may have anything drawn again."""

import errno
import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
import tifffile

from demis_ij.geometry import Box
from demis_ij.images import TileStore
from demis_ij.records import Affine, Layout, Tile
from demis_ij.render import render
from demis_ij.sinks import ome_zarr, scratch, syncing
from demis_ij.sinks.imagej_tiff import ImageJTiffSink
from demis_ij.sinks.ome_tiff import OmeTiffSink
from demis_ij.sinks.ome_zarr import OmeZarrSink
from demis_ij.sinks.png import PngSink
from demis_ij.sinks.volume import VolumeKind
from demis_ij.sinks.volume_tiff import TiffVolumeSink
from demis_ij.sinks.volume_zarr import ZarrVolumeSink

SINKS = {
    "m.ome.zarr": lambda: OmeZarrSink("0.4"),
    "s.ome.zarr": lambda: OmeZarrSink("0.5"),
    "m.ome.tif": OmeTiffSink,
    "m.tif": ImageJTiffSink,
    "m.png": lambda: PngSink(500),
}
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names of open files are not told here")


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Tiles of noise: four regions of chunks of 256 px and one of the second stage."""
    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(5)
    tiles = []
    for k in range(4):
        path = folder / f"{k}.tif"
        tifffile.imwrite(path, rng.integers(1, 255, (1200, 1200), np.uint8))
        tiles.append(Tile(str(k), path, (1200, 1200), Affine.translation(k % 2 * 1150, k // 2 * 1150)))
    return Layout(tuple(tiles), pixel_size=(4.0, "nm"))


def draw(layout, path, **options):
    path.parent.mkdir(exist_ok=True)
    chosen = {"correct_intensity": False, "block_px": 256, "threads": 1, **options}
    return render(layout, TileStore(), [(SINKS[path.name](), path)], **chosen)


def bytes_of(path):
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path.parent)): p.read_bytes() for p in files}


@pytest.fixture
def disk(monkeypatch):
    """Return what is done to files, in order: ("synced" or "named", path), and ("marked", names of regions)."""
    done = []
    sync, rename, mark = os.fsync, Path.replace, scratch.Scratch._append

    def synced(handle):
        done.append(("synced", Path(f"/proc/self/fd/{handle}").readlink()))
        sync(handle)

    def renamed(path, target):
        done.append(("named", Path(target)))
        return rename(path, target)

    def marked(self, region, what):
        done.append(("marked", region.name))
        mark(self, region, what)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(scratch.Scratch, "_append", marked)
    return done


@needs_proc
@pytest.mark.parametrize("name", SINKS)
def test_a_region_is_on_the_disk_with_its_folders_before_it_is_marked(layout, tmp_path, disk, name):
    written = {}
    sink = SINKS[name]()
    start = sink.start

    def started(path, frame, pixel_size, *, fresh=False):
        start(path, frame, pixel_size, fresh=fresh)
        part = sink.part
        for stage in range(frame.stages):
            for region in frame.regions(stage):
                written[region.name] = {*part.files(region), scratch.rest_file(part.folder, region)}

    sink.start = started
    there = set()

    def look(done, total):
        del total, done
        there.update(p for p in (tmp_path / f".{name}.partial").rglob("*") if p.is_file())

    render(
        layout, TileStore(), [(sink, tmp_path / name)],
        correct_intensity=False, block_px=256, threads=1, progress=look,
    )  # fmt: skip

    marks = [told for what, told in disk if what == "marked"]
    assert len(marks) == (5 if name.endswith("zarr") or name == "m.ome.tif" else len(marks))
    assert len(marks) >= 4
    for region in marks:
        before = {told for what, told in disk[: disk.index(("marked", region))] if what == "synced"}
        files = written[region] & there
        assert files
        assert files <= before
        assert {file.parent for file in files} <= before


@needs_proc
@pytest.mark.parametrize("name", SINKS)
def test_a_mosaic_is_on_the_disk_before_it_has_its_name_and_its_name_before_it_is_finished(
    layout, tmp_path, disk, name
):
    path = tmp_path / name
    draw(layout, path)

    named = disk.index(("named", path))
    before = {told for what, told in disk[:named] if what == "synced"}
    inside = tmp_path / f".{name}.partial"
    if name.endswith("zarr"):
        inside /= "mosaic"
        wanted = {inside / p.relative_to(path) for p in path.rglob("*")} | {inside}
    else:
        wanted = {inside / f"whole{name.removeprefix('m')}"}
    assert wanted <= before
    assert ("synced", tmp_path) in disk[named:]


def test_blocks_are_on_the_disk_too_before_the_mosaic_has_its_name(tmp_path, monkeypatch):
    synced = set()
    monkeypatch.setattr(syncing, "sync_file", lambda path: synced.add(path))
    sink = OmeZarrSink("0.4")
    pixels = np.ones((600, 600), np.uint8)
    sink.open(tmp_path / "m.ome.zarr", pixels.shape, pixels.dtype, None, 256)
    sink.write(pixels, pixels > 0, Box.of_shape(pixels.shape))
    sink.close()
    chunks = {p.relative_to(tmp_path / "m.ome.zarr") for p in (tmp_path / "m.ome.zarr").rglob("*") if p.is_file()}
    partial = tmp_path / ".m.ome.zarr.partial" / "mosaic"
    assert {partial / chunk for chunk in chunks} <= synced


def test_a_disk_that_cannot_keep_a_region_leaves_it_unmarked_and_ends_the_work(layout, tmp_path, monkeypatch):
    path = tmp_path / "s.ome.zarr"
    sync = syncing.sync_file

    def full(file):
        if file.match("*/mosaic/0/c/1/0"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr(syncing, "sync_file", full)
        with pytest.raises(OSError, match="No space"):
            draw(layout, path)
    assert not path.exists()
    marks = (tmp_path / ".s.ome.zarr.partial" / "regions.jsonl").read_text().splitlines()
    names = [json.loads(line)["region"] for line in marks]
    assert "0/1/0" not in names

    whole = draw(layout, tmp_path / "new" / "s.ome.zarr").drawn
    stay = set(names) - {"1/0/0"}  # the smaller copies, which are made from all regions
    assert draw(layout, path).drawn == whole - len(stay) >= 2


class Killed(BaseException):
    """Stands for a process that is no more: nothing tidies up."""


@pytest.fixture
def closing(monkeypatch):
    """Return what draws, is killed before a step of closing (a rename, a removal), and returns all steps until then."""

    def drawn(layout, path, killed_at=None):
        steps = []

        def step(what):
            steps.append(what)
            if len(steps) - 1 == killed_at:
                raise Killed

        with monkeypatch.context() as patch:
            _watched(patch, step)
            if killed_at is None:
                draw(layout, path)
            else:
                with pytest.raises(Killed):
                    draw(layout, path)
        return steps

    return drawn


def _watched(patch, step):
    rename, move, remove, leave = Path.replace, ome_zarr.shutil.move, scratch.discard, OmeZarrSink.abort

    def renamed(path, target):
        if path.name in {"mosaic", "head", "rest", "regions.jsonl", "drawn"}:
            step(f"{path.name} to {Path(target).name}")
        return rename(path, target)

    def moved(path, target):
        step(f"{Path(path).name} to {Path(target).name}")
        return move(path, target)

    def discarded(folder):
        step(f"without {folder.name}")
        remove(folder)

    def left(sink, *, keep=False):
        if keep:  # after the kill: nothing but what ends with the process
            sink.scratch.leave()
        else:
            leave(sink)

    patch.setattr(Path, "replace", renamed)
    patch.setattr(ome_zarr.shutil, "move", moved)
    patch.setattr(scratch, "discard", discarded)
    patch.setattr(OmeZarrSink, "abort", left)


@pytest.mark.parametrize("name", ["m.ome.zarr", "s.ome.zarr"])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_kill_at_any_step_of_closing_draws_nothing_again(layout, tmp_path, closing, name, is_there):
    shifted = layout.moved({"3": Affine.translation(1150.4, 1149.8)})
    path = tmp_path / "before" / name
    if is_there:
        draw(layout, path)
    closing(shifted, path, killed_at=1)  # the first one was at the start: what was there unfinished, which is nothing
    whole = tmp_path / "whole"
    shutil.copytree(path.parent, whole)
    steps = closing(shifted, whole / name)
    assert len(steps) >= 7 + is_there, steps

    for at in range(len(steps)):
        folder = tmp_path / str(at)
        shutil.copytree(path.parent, folder)
        assert closing(shifted, folder / name, killed_at=at) == steps[: at + 1]

        again = draw(shifted, folder / name)

        assert again.drawn == 0, f"killed before {steps[at]!r}"
        assert bytes_of(folder / name) == bytes_of(whole / name)
        assert not (folder / f".{name}.partial").exists()
        shutil.rmtree(folder)
    reference = tmp_path / "reference" / name
    draw(shifted, reference)
    assert bytes_of(whole / name) == bytes_of(reference)
    assert draw(shifted, whole / name).drawn == 0


def test_what_is_known_of_an_earlier_mosaic_is_never_taken_for_the_new_one(layout, tmp_path, monkeypatch):
    path = tmp_path / "a" / "m.ome.zarr"
    shifted = layout.moved({"3": Affine.translation(1150.4, 1149.8)})
    draw(layout, path)

    def killed(_self):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(scratch.Scratch, "keep_drawn", killed)
        with pytest.raises(Killed):
            draw(shifted, path)  # the new mosaic has its name; what is known of it is still in the hidden folder
    draw(layout, path)

    draw(layout, tmp_path / "b" / "m.ome.zarr")
    assert bytes_of(path) == bytes_of(tmp_path / "b" / "m.ome.zarr")


KIND = VolumeKind((2, 300, 400), np.dtype(np.uint8))


@needs_proc
@pytest.mark.parametrize("sink", [ZarrVolumeSink, TiffVolumeSink])
def test_a_section_of_a_volume_is_on_the_disk_before_it_is_marked(tmp_path, monkeypatch, sink):
    done = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda h: (done.append(Path(f"/proc/self/fd/{h}").readlink()), sync(h))[1])

    def renamed(path, target):
        done.append(f"named {Path(target).name}")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", renamed)
    path = tmp_path / ("v.ome.zarr" if sink is ZarrVolumeSink else "v.tif")
    volume = sink()
    volume.open(path, KIND, block=256, key="k")
    pixels = np.ones((300, 400), np.uint8)
    for section in range(2):
        done.clear()
        volume.write(section, pixels, pixels > 0, Box.of_shape(pixels.shape))
        volume.finish(section)
        marked = done.index("named sections.json")
        inside = tmp_path / f".{path.name}.partial"
        files = {inside / "volume.tif"}
        if sink is ZarrVolumeSink:
            files = set((inside / "volume").glob(f"*/{section}/**/*"))
            assert files
        assert files | {inside / "sections.json.part"} <= set(done[:marked])
        assert inside in done[marked:]
    done.clear()
    volume.close()
    named = done.index(f"named {path.name}")
    assert tmp_path in done[named:]


def write_sections(volume, path, killed_after=2):
    """Write the sections of a volume that are not finished, and be killed after some."""
    finished = volume.open(path, KIND, block=256, key="k")
    for section in range(2):
        if section == killed_after:
            raise Killed
        if section not in finished:
            pixels = np.full((300, 400), 7 + section, np.uint8)
            volume.write(section, pixels, pixels > 0, Box.of_shape(pixels.shape))
            volume.finish(section)
    volume.close()


@pytest.mark.parametrize("sink", [ZarrVolumeSink, TiffVolumeSink])
@pytest.mark.parametrize("killed_again_after", [0, 1])
def test_a_volume_killed_after_it_got_its_name_is_never_replaced_by_an_empty_one(
    tmp_path, monkeypatch, sink, killed_again_after
):
    path = tmp_path / ("v.ome.zarr" if sink is ZarrVolumeSink else "v.tif")

    def killed(_self, *, keep=False):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(sink, "abort", killed)
        with pytest.raises(Killed):
            write_sections(sink(), path)
    whole = bytes_of(path)

    with pytest.raises(Killed):
        write_sections(sink(), path, killed_again_after)
    write_sections(sink(), path)

    assert bytes_of(path) == whole
    assert not (tmp_path / f".{path.name}.partial").exists()


def test_only_files_of_a_volume_are_synced_as_files(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(syncing, "_synced", lambda path: not synced.append(path))
    monkeypatch.setattr(syncing, "sync_folder", lambda _folder: None)
    volume = ZarrVolumeSink()
    volume.open(tmp_path / "v.ome.zarr", KIND, block=256)
    pixels = np.ones((300, 400), np.uint8)
    volume.write(0, pixels, pixels > 0, Box.of_shape(pixels.shape))
    volume.finish(0)
    assert len(synced) == 5  # four chunks and the one of the smaller copy
    assert all(path.is_file() for path in synced)  # Windows opens no folder
    volume.abort()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_syncs_no_folders_is_written_to_all_the_same(tmp_path, monkeypatch, number):
    sync = os.fsync

    def no_folders(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        sync(handle)

    monkeypatch.setattr(os, "fsync", no_folders)
    (tmp_path / "part").write_text("all", encoding="utf-8")
    syncing.name_whole(tmp_path / "part", tmp_path / "whole")
    syncing.sync_all([tmp_path / "whole"], tmp_path)
    syncing.sync_tree(tmp_path, lambda _name: True)
    assert (tmp_path / "whole").read_text(encoding="utf-8") == "all"


def test_a_folder_that_the_disk_cannot_keep_is_still_said(tmp_path, monkeypatch):
    def failing(_handle):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        syncing.sync_folder(tmp_path)
