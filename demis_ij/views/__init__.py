"""What there is to look at, as plain numbers: outlines, arrows, seams and matches, for ImageJ and for Jupyter.

A view lies over one picture. All its coordinates are px of that picture with integers at pixel *corners*, as ImageJ's
ROIs and SVG have them (our centre coordinates plus a half). What it measures (moves, residuals, uncertainties) stays in
full-resolution px, whatever the scale of the picture.
"""

from demis_ij.display.colours import residual_colour
from demis_ij.views.drawn import Drawn, beside, draw
from demis_ij.views.files import View, as_json, from_json, read, write
from demis_ij.views.mosaic import ArrowView, MosaicView, SeamView, TileView, layout_view, mosaic_view
from demis_ij.views.overlaps import is_wide, overlap_polygon, seam_line
from demis_ij.views.pair import PairView, pair_view

__all__ = [
    "ArrowView", "Drawn", "MosaicView", "PairView", "SeamView", "TileView", "View", "as_json", "beside", "draw",
    "from_json", "is_wide", "layout_view", "mosaic_view", "overlap_polygon", "pair_view", "read", "residual_colour",
    "seam_line", "write",
]  # fmt: skip
