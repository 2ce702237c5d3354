"""Sections that are larger than a block: the same comes out, and no more than a block is ever read."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from demis_ij.align import ArraySections, StackSections, align
from demis_ij.align import sections as prepared
from demis_ij.align.sections import Pyramid, prepare
from demis_ij.config.aligning import AlignConfig
from demis_ij.errors import InputError
from demis_ij.formats.stacks import read_stack
from demis_ij.images.warping import Pixels
from demis_ij.records import Affine
from demis_ij.testing.matcher_contract import tissue

SHAPE = (333, 450)
LEVELS = (8, 4, 2)


class Counted:
    """Pixels that know the largest part of them that was asked for at once."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.shape, self.dtype = pixels, pixels.shape, pixels.dtype
        self.most, self.read = 0, 0

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        part = self.pixels[key]
        self.most, self.read = max(self.most, part.size), self.read + part.size
        return part


class CountedSections:
    """Sections that are no arrays, as those in files."""

    ids, z, to_world = ("0", "1"), (0.0, 1.0), (Affine(), Affine())

    def __init__(self, pictures: list[np.ndarray]) -> None:
        self.images = [Counted(p) for p in pictures]
        self.masks = [Counted(np.ones(p.shape, bool)) for p in pictures]

    def shape(self, index: int) -> tuple[int, int]:
        return self.images[index].shape

    def opened(self, index: int) -> tuple[Pixels, Pixels]:
        return self.images[index], self.masks[index]


def picture(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    light = np.linspace(1.0, 0.5, shape[1])
    return (tissue(shape, np.random.default_rng(seed)) * light).astype(np.uint8)


def levels_of(sections: prepared.Sections, folder=None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what is kept of the first section, the finest level first."""
    pyramid = Pyramid(folder)
    looked = prepare(sections, 0, LEVELS, AlignConfig(), 22.0, pyramid)
    assert (looked.problem, looked.shape) == ("", SHAPE)
    return [tuple(np.array(a) for a in pyramid.get(0, q)) for q in sorted(LEVELS)]


@pytest.mark.parametrize("on_disk", [False, True])
def test_blocks_give_every_level_that_the_whole_gives(monkeypatch, tmp_path, on_disk):
    image = picture(1)
    mask = np.ones(SHAPE, bool)
    mask[100:180, 250:] = False
    whole = levels_of(ArraySections([image], [mask]))

    monkeypatch.setattr(prepared, "BLOCK_PX", 64)
    blocks = levels_of(ArraySections([image], [mask]), tmp_path / "kept" if on_disk else None)

    for (grey, known), (grey_2, known_2), level in zip(whole, blocks, sorted(LEVELS), strict=True):
        assert grey.shape == tuple(-(-n // level) for n in SHAPE)
        assert np.abs(grey.astype(int) - grey_2).max() <= 1  # grey level: rounding
        np.testing.assert_array_equal(known, known_2)


def test_of_a_section_no_more_than_a_block_is_read_at_a_time(monkeypatch):
    monkeypatch.setattr(prepared, "BLOCK_PX", 64)
    sections = CountedSections([picture(1), picture(2)])

    result = align(sections, AlignConfig(coarse="none", threads=1, largest_px=128, coarsest_px=40, rounds=(1,)))

    assert len(result.warps) == 2
    for part in (*sections.images, *sections.masks):
        assert part.most <= 64 * 64
        assert part.read == 2 * SHAPE[0] * SHAPE[1]  # once to know its brightness, once to even it out


def test_of_a_large_tiled_tiff_the_same_levels_come_as_of_an_array(monkeypatch, tmp_path):
    image = picture(3)
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, image, tile=(64, 64), compression="zlib")
    whole = levels_of(ArraySections([image]))
    monkeypatch.setattr(prepared, "BLOCK_PX", 64)
    monkeypatch.setattr(prepared, "_WHOLE_PX", 10_000)

    stack = StackSections(read_stack(tmp_path))

    assert not isinstance(stack.opened(0)[0], np.ndarray)
    for (grey, known), (grey_2, known_2) in zip(whole, levels_of(stack), strict=True):
        assert np.abs(grey.astype(int) - grey_2).max() <= 1
        np.testing.assert_array_equal(known, known_2)


def test_a_block_that_cannot_be_read_makes_the_section_a_missing_one():
    class Broken(Counted):
        def __getitem__(self, key):
            raise InputError("s.tif: truncated: a tile is missing")

    sections = CountedSections([picture(1), picture(2)])
    sections.images[0] = Broken(picture(1))

    looked = prepare(sections, 0, LEVELS, AlignConfig(), 22.0, Pyramid())

    assert looked.problem == "missing: s.tif: truncated: a tile is missing"
    assert looked.shape == SHAPE
