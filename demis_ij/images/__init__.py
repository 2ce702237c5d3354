"""Images: read a tile or its header, find where there is no data, normalise.

An image is a 2-D array ``[row, col]`` of uint8, uint16 or float32. "No data" is a mask (False), never a grey value.
"""

from demis_ij.images.calibration import pixel_size
from demis_ij.images.masks import data_mask
from demis_ij.images.reading import header, read, with_shapes
from demis_ij.images.store import TileStore, normalise

__all__ = ["TileStore", "data_mask", "header", "normalise", "pixel_size", "read", "with_shapes"]
