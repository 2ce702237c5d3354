"""Rendering that was stopped anywhere is gone on with by the same call, and by no other."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from demis_ij.config import RenderConfig
from demis_ij.errors import InputError
from demis_ij.jobs import mosaics
from demis_ij.records import Affine, Layout, Lens, Tile

KINDS = RenderConfig(formats=("ome-zarr", "png"), block_px=256)


@pytest.fixture
def stack(tmp_path):
    """Three sections of two tiles, one of which lacks an image."""
    rng = np.random.default_rng(2)
    layouts = []
    for section in "abc":
        tiles = []
        for k in range(2):
            path = tmp_path / f"{section}{k}.tif"
            if (section, k) != ("a", 1):
                tifffile.imwrite(path, rng.integers(1, 255, (300, 300), np.uint8))
            tiles.append(Tile(str(k), path, (300, 300), Affine.translation(250 * k, 0), section))
        layouts.append(Layout(tuple(tiles), section, (4.0, "nm")))
    return layouts


def bytes_of(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*") if p.is_file() and not p.relative_to(folder).parts[0].startswith(".")
    }  # fmt: skip


class Stopped(BaseException):
    """Stands for Ctrl-C, or a kill."""


@pytest.mark.parametrize("at", range(4))
def test_a_stopped_call_goes_on_section_by_section_and_tells_all_again(stack, tmp_path, monkeypatch, at):
    files, warnings = mosaics.run_render(stack, tmp_path / "whole", KINDS)
    assert len(files) == 6
    assert any("a1.tif" in line for line in warnings)
    drawn = []
    real = mosaics.draw_mosaic

    def drawing(layout, *rest, **options):
        if len(drawn) == at:
            raise Stopped
        drawn.append(layout.section)
        return real(layout, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(mosaics, "draw_mosaic", drawing)
        if at < 3:
            with pytest.raises(Stopped):
                mosaics.run_render(stack, tmp_path / "out", KINDS)
        else:  # all are drawn, and then
            patch.setattr(mosaics._Begun, "end", lambda self: (_ for _ in ()).throw(Stopped))
            with pytest.raises(Stopped):
                mosaics.run_render(stack, tmp_path / "out", KINDS)
    first = list(drawn)

    with monkeypatch.context() as patch:
        drawn.clear()
        patch.setattr(
            mosaics, "draw_mosaic", lambda layout, *a, **k: (drawn.append(layout.section), real(layout, *a, **k))[1]
        )
        again, said = mosaics.run_render(stack, tmp_path / "out", KINDS)

    assert [*first, *drawn] == ["a", "b", "c"]
    assert said == warnings
    assert [p.name for p in again] == [p.name for p in files]
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")
    with pytest.raises(InputError, match="exists already"):
        mosaics.run_render(stack, tmp_path / "out", KINDS)


def test_files_of_another_call_are_not_taken_for_those_of_this_one(stack, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(mosaics._Begun, "end", lambda self: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            mosaics.run_render(stack, out, KINDS)
    before = bytes_of(out)

    with pytest.raises(InputError, match="exists already"):
        mosaics.run_render(stack, out, RenderConfig(formats=("ome-zarr", "png"), block_px=256, blend="none"))
    tifffile.imwrite(stack[2].tiles[0].path, np.full((300, 300), 9, np.uint8))
    with pytest.raises(InputError, match="exists already"):
        mosaics.run_render(stack, out, KINDS)

    assert bytes_of(out) == before


def test_what_is_drawn_into_a_folder_is_drawn_by_one_process_at_a_time(stack, tmp_path, monkeypatch):
    out, tried, refused = tmp_path / "out", [], []
    real = mosaics.draw_mosaic

    def enter():
        with pytest.raises(InputError, match="is in use: process") as caught:
            mosaics.run_render(stack[1:], out, KINDS)
        refused.append(str(caught.value))

    def drawing(layout, *rest, **options):
        if not tried:
            tried.append(layout.section)
            thread = threading.Thread(target=enter)
            thread.start()
            thread.join()
        return real(layout, *rest, **options)

    monkeypatch.setattr(mosaics, "draw_mosaic", drawing)
    mosaics.run_render(stack, out, KINDS)
    assert (tried, len(refused)) == (["a"], 1)
    assert not (out / ".lock").exists()
    assert len(list(out.glob("mosaic_*"))) == 6


def test_files_that_came_while_the_folder_was_another_s_are_not_written_over(stack, tmp_path, monkeypatch):
    out = tmp_path / "out"
    real = mosaics.occupied

    @contextmanager
    def late(folder):
        monkeypatch.setattr(mosaics, "occupied", real)
        mosaics.run_render(stack, folder, replace(KINDS, blend="none"))
        with real(folder):
            yield

    monkeypatch.setattr(mosaics, "occupied", late)
    with pytest.raises(InputError, match="exists already"):
        mosaics.run_render(stack, out, KINDS)
    mosaics.run_render(stack, tmp_path / "whole", replace(KINDS, blend="none"))
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


@pytest.mark.parametrize("changed", ["lens", "mask", "mask's pixels", "page", "pixel size"])
def test_another_lens_mask_page_or_scale_is_another_call(stack, tmp_path, monkeypatch, changed):
    mask = tmp_path / "mask.tif"
    tifffile.imwrite(tmp_path / "pages.tif", np.full((2, 300, 300), 7, np.uint8), photometric="minisblack")
    tifffile.imwrite(mask, np.full((300, 300), 255, np.uint8))
    tile = replace(stack[1].tiles[0], path=tmp_path / "pages.tif", page=0, mask_path=mask)
    layout = replace(stack[1], tiles=(tile, stack[1].tiles[1]))
    with monkeypatch.context() as patch:
        patch.setattr(mosaics._Begun, "end", lambda self: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            mosaics.run_render([layout], tmp_path / "out", KINDS)
    if changed == "mask's pixels":
        tifffile.imwrite(mask, np.zeros((300, 300), np.uint8))
        os.utime(mask, (1, 1))
    other = {
        "lens": replace(tile, lens=Lens.of_shape((300, 300), 2, (0.0, 0.5, 0.0), (0.0, 0.0, 0.0))),
        "mask": replace(tile, mask_path=None),
        "page": replace(tile, page=1),
    }.get(changed, tile)
    asked = replace(layout, tiles=(other, layout.tiles[1]))
    if changed == "pixel size":
        asked = replace(asked, pixel_size=(8.0, "nm"))

    with pytest.raises(InputError, match="exists already"):
        mosaics.run_render([asked], tmp_path / "out", KINDS)
