"""A volume of made-up tissue without end along z, cut wherever a section is asked for."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.synth.capsules import Block
from demis_ij.synth.cut import Cut, cut, make_lattice
from demis_ij.synth.fields import Plane, Streams
from demis_ij.synth.neurites import blocks_at, grow_block
from demis_ij.synth.paint import paint
from demis_ij.synth.recipes import Recipe
from demis_ij.synth.styles import Style


class Volume:
    """Tissue in three dimensions behind a picture of one shape.

    Only the blocks of tissue around the last plane are kept in memory.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols) of every section.
    streams : Streams
    recipe : Recipe
    """

    def __init__(self, shape: tuple[int, int], streams: Streams, recipe: Recipe) -> None:
        self.shape, self.streams, self.recipe = shape, streams, recipe
        self._blocks: dict[int, Block] = {}

    def _around(self, z_px: float) -> list[Block]:
        """Return the blocks whose things may reach a plane, growing those that are not at hand."""
        near = blocks_at(z_px, self.recipe)
        self._blocks = {k: block for k, block in self._blocks.items() if k in near}
        for k in near:
            if k not in self._blocks:
                self._blocks[k] = grow_block(k, self.shape, self.streams, self.recipe)
        return [self._blocks[k] for k in near]

    def _cut(self, z_px: float) -> tuple[Cut, list[Block]]:
        blocks = self._around(z_px)
        lattice = make_lattice(self.shape, z_px, self.streams, self.recipe)
        return cut(blocks, lattice, self.streams, self.recipe, z_px), blocks

    def labels(self, z_px: float) -> NDArray[np.int32]:
        """Return which object owns each pixel of a plane."""
        plane, _ = self._cut(z_px)
        return plane.label[plane.index]

    def section(self, z_px: float) -> tuple[Plane, NDArray[np.int32]]:
        """Return the stain of a plane, 0 for resin and 1 for the heaviest metal, and which object owns each pixel."""
        plane, blocks = self._cut(z_px)
        return paint(plane, blocks, self.streams, self.recipe, z_px), plane.label[plane.index]


def grey(stain: Plane, look: Style) -> Plane:
    """Return stain as a microscope shows it: blurred, 0 to 255. The stain is left alone."""
    seen = np.asarray(cv2.GaussianBlur(stain, (0, 0), look.blur_px), np.float32)
    seen *= np.float32(look.dark - look.light)
    seen += np.float32(look.light)
    return np.asarray(np.clip(seen, 0, 255, out=seen), np.float32)
