"""One image and where it is data, as a tile names both."""

from __future__ import annotations

from demis_ij.errors import InputError
from demis_ij.images.masks import data_mask
from demis_ij.images.reading import Grey, Mask, read
from demis_ij.records import Tile


def section(tile: Tile) -> tuple[Grey, Mask]:
    """Return a section's grey values (uint8, uint16 or float32), and where they are data.

    Raises
    ------
    InputError
        When the image or its mask cannot be read, or one of them is not of the tile's size.
    """
    image = read(tile.path, tile.page)
    if min(tile.shape) > 0 and image.shape != tile.shape:
        msg = f"section {tile.id}: {tile.path} is {_size(image)}, the stack says {tile.shape[1]}x{tile.shape[0]}"
        raise InputError(msg)
    return image, tile_mask(tile, image)


def tile_mask(tile: Tile, image: Grey) -> Mask:
    """Return where a tile has data: `data_mask` of its image, and its own mask image.

    Raises
    ------
    InputError
        When the mask image cannot be read or is of another size.
    """
    mask = data_mask(image)
    if tile.mask_path is None:
        return mask
    own = read(tile.mask_path)
    if own.shape != image.shape:
        msg = f"tile {tile.id}: the mask {tile.mask_path} is {_size(own)}, the tile {_size(image).removesuffix(' px')}"
        raise InputError(msg)
    return mask & (own > 0)


def _size(image: Grey) -> str:
    return f"{image.shape[1]}x{image.shape[0]} px"
