"""Layout and images become blocks of mosaic and validity mask; the blocks go into sinks.

``canvas``     where the mosaic lies, and its blocks
``sampling``   one tile on whole mosaic pixels: values, no data, distance to the edge of the data
``blending``   several tiles made one, where they overlap
``intensity``  a gain and an offset for each tile, solved on the overlaps
``mosaic``     the verbs: `blocks`, `render`, `preview`
``volume``     a stack and its warps: `render_volume`, `unaligned`
"""

from demis_ij.render.canvas import Canvas
from demis_ij.render.intensity import solve_intensity
from demis_ij.render.mosaic import Rendered, blocks, common_dtype, preview, render
from demis_ij.render.volume import RenderedVolume, render_volume, unaligned

__all__ = [
    "Canvas", "Rendered", "RenderedVolume", "blocks", "common_dtype", "preview", "render", "render_volume",
    "solve_intensity", "unaligned",
]  # fmt: skip
