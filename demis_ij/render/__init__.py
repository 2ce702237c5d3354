"""Layout and images become blocks of mosaic and validity mask; the blocks go into sinks.

``canvas``     where the mosaic lies, and its blocks
``placed``     one tile where it is drawn, and where its images come from
``interpolation``  pixels of an image at other places
``edges``      how far inside a tile's data mosaic pixels lie
``sampling``   one tile on whole mosaic pixels: values, no data, weight
``tiling``     which parts of a cell one tile has for itself
``blending``   several tiles made one, where they overlap
``overlaps``   what overlaps say of brightness and contrast, group by group
``intensity``  a gain and an offset for each tile, solved on the overlaps
``drawing``    one block of a mosaic
``mosaic``     `blocks` and `preview`
``worker_tiles``  the tiles that a worker keeps
``regions``    the regions of a mosaic as tasks for workers
``memory``     what drawing keeps, and whether that much is allowed
``spreading``  runs of regions for workers
``writing``    `render`: into sinks, region by region
``volume``     a stack and its warps: `render_volume`, `unaligned`
"""

from demis_ij.render.canvas import Canvas
from demis_ij.render.intensity import solve_intensity
from demis_ij.render.memory import check_memory
from demis_ij.render.mosaic import blocks, preview
from demis_ij.render.volume import RenderedVolume, render_volume, unaligned
from demis_ij.render.writing import Rendered, common_dtype, render

__all__ = [
    "Canvas", "Rendered", "RenderedVolume", "blocks", "check_memory", "common_dtype", "preview", "render",
    "render_volume", "solve_intensity", "unaligned",
]  # fmt: skip
