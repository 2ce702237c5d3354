"""Images: read a tile or its header, find where there is no data, normalise, warp.

An image is a 2-D array ``[row, col]`` of uint8, uint16 or float32. "No data" is a mask (False), never a grey value.
"""

from demis_ij.images.calibration import pixel_size
from demis_ij.images.masks import data_mask
from demis_ij.images.reading import header, read, with_shapes
from demis_ij.images.sections import section
from demis_ij.images.store import TileStore, normalise
from demis_ij.images.warping import warped

__all__ = [
    "TileStore", "data_mask", "header", "normalise", "pixel_size", "read", "section", "warped", "with_shapes",
]  # fmt: skip
