"""Rendering that was stopped anywhere is gone on with by the same call, and by no other."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from demis_ij.config import RenderConfig
from demis_ij.errors import InputError
from demis_ij.jobs import mosaics
from demis_ij.records import Affine, Layout, Tile

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
