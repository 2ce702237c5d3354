"""Settings of ``stitch`` and ``render``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from demis_ij.config.checks import check_types, in_range, one_of
from demis_ij.errors import InputError
from demis_ij.geometry import ESTIMATORS, MODELS

MATCHER_CHOICES = ("auto", "loftr", "sift", "correlation")
SOLVER_CHOICES = ("sparse", "slam", "factor_graph")
LENS_CHOICES = ("none", "shared")
MOSAIC_FORMATS = ("ome-tiff", "ome-zarr", "png", "imagej")


@dataclass(frozen=True, kw_only=True)
class StitchConfig:
    """How `demis_ij.stitch` works. TrakEM2's parameter names are given in brackets.

    Attributes
    ----------
    matcher : str
        auto, loftr, sift or correlation.
    model : str
        What a tile may do: translation, rigid, similarity, affine or homography [desired transformation].
    solver : str
        sparse, slam or factor_graph.
    weights : str
        LoFTR weights: ``shipped``, a checkpoint's path, or ``outdoor`` / ``indoor_new`` (kornia's, downloaded).
    device : str
        auto, cpu, cuda or mps.
    resolution : float
        Scale at which LoFTR and SIFT look at the overlap.
    max_error_px : float
        A match agrees with its pair's transform below this distance, px of the tile [maximal alignment error].
        TrakEM2's default of 100 px admits almost anything; matches here are exact to a fraction of a pixel.
    estimator : str
        Robust estimator of a pair's transform: ransac (OpenCV's), usac (MAGSAC++) or lmeds.
    min_inliers : int
        Matches that must agree [minimal number of inliers].
    min_inlier_ratio : float
        Share of matches that must agree [minimal inlier ratio].
    stage_error_frac : float
        What a tile's expected position may be wrong by, as a fraction of the tile's longer side.
    stage_search_frac : float
        What the second pass searches for pairs that found nothing in the first.
    max_rotation_deg, max_scale_frac : float
        What a pair may be turned and scaled by, relative to the expected layout.
    refine : bool
        Sub-pixel refinement of the matches.
    fast : bool
        LoFTR without its fine stage, where the refinement makes the points exact: two thirds of the time of a pair.
    largest_graph_only : bool
        Move only the tiles of the largest component [consider largest graph only].
    include_hidden : bool
        Stitch tiles that the project hides, too.
    across_z : int
        Tiles are matched with those of so many sections above and below, too, and all sections are solved together;
        0 keeps sections apart.
    clahe_clip : float
        Contrast limit of the normalisation; 0 switches CLAHE off.
    lens : str
        none, or shared: a distortion that all tiles of a camera have in common is looked for, and used if it is real.
    """

    matcher: str = "auto"
    model: str = "rigid"
    solver: str = "sparse"
    weights: str = "shipped"
    device: str = "auto"
    resolution: float = 0.5
    max_error_px: float = 4.0
    estimator: str = "ransac"
    min_inliers: int = 8
    min_inlier_ratio: float = 0.15
    stage_error_frac: float = 0.06
    stage_search_frac: float = 0.35
    max_rotation_deg: float = 8.0
    max_scale_frac: float = 0.06
    refine: bool = True
    fast: bool = False
    largest_graph_only: bool = False
    include_hidden: bool = False
    across_z: int = 0
    clahe_clip: float = 0.5
    lens: str = "none"

    def __post_init__(self) -> None:
        check_types(self)
        one_of("matcher", self.matcher, MATCHER_CHOICES)
        one_of("model", self.model, MODELS)
        one_of("solver", self.solver, SOLVER_CHOICES)
        one_of("device", self.device, ("auto", "cpu", "cuda", "mps"))
        in_range("resolution", self.resolution, 0.05, 1)
        in_range("max_error_px", self.max_error_px, 0.1, 1000)
        one_of("estimator", self.estimator, ESTIMATORS)
        in_range("min_inliers", self.min_inliers, 3, 10_000)
        in_range("min_inlier_ratio", self.min_inlier_ratio, 0, 1)
        in_range("stage_error_frac", self.stage_error_frac, 0, 1)
        in_range("stage_search_frac", self.stage_search_frac, 0, 1)
        in_range("max_rotation_deg", self.max_rotation_deg, 0, 180)
        in_range("max_scale_frac", self.max_scale_frac, 0, 1)
        in_range("across_z", self.across_z, 0, 10)
        in_range("clahe_clip", self.clahe_clip, 0, 100)
        one_of("lens", self.lens, LENS_CHOICES)
        if self.across_z and self.lens != "none":
            msg = f"across_z = {self.across_z} and lens = {self.lens!r}: a lens is looked for in sections kept apart"
            raise InputError(msg)
        if self.fast and not self.refine:
            msg = "fast leaves it to the refinement to make points exact, which is switched off: drop one of the two"
            raise InputError(msg)


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """How `demis_ij.render` draws a mosaic.

    Attributes
    ----------
    interpolation : str
        nearest, linear or cubic.
    blend : str
        feather (linear over the overlap) or none (the first tile wins).
    correct_intensity : bool
        Solve a gain and an offset for each tile on the overlaps.
    block_px : int
        Side of a block.
    formats : tuple of str
        Any of ome-tiff, ome-zarr, png, imagej.
    picture_max_px : int
        The most pixels of a mosaic for ImageJ, which holds an image in one array; a larger one is halved until it fits.
    zarr_format : str
        Version of OME-Zarr: 0.4, which every reader takes, a file for each chunk; 0.5, which packs many chunks into a
        file; auto is 0.4 up to half a million chunks and 0.5 from there on.
    compression : str
        Of OME-Zarr and OME-TIFF: standard, light (as fast as it goes), or none.
    """

    interpolation: str = "linear"
    blend: str = "feather"
    correct_intensity: bool = True
    block_px: int = 1024
    formats: tuple[str, ...] = ("ome-tiff", "png")
    picture_max_px: int = 2**31 - 1
    zarr_format: str = "auto"
    compression: str = "standard"

    def __post_init__(self) -> None:
        check_types(self)
        one_of("interpolation", self.interpolation, ("nearest", "linear", "cubic"))
        one_of("zarr_format", self.zarr_format, ("auto", "0.4", "0.5"))
        one_of("compression", self.compression, ("standard", "light", "none"))
        one_of("blend", self.blend, ("feather", "none"))
        in_range("block_px", self.block_px, 64, 8192)
        in_range("picture_max_px", self.picture_max_px, 2**18, 2**31 - 1)
        given: Any = self.formats
        formats = (given,) if isinstance(given, str) else given
        if not isinstance(formats, list | tuple):
            msg = f"formats: {formats!r} is not a list of {', '.join(MOSAIC_FORMATS)}"
            raise InputError(msg)
        for name in formats:
            one_of("format", name, MOSAIC_FORMATS)
        object.__setattr__(self, "formats", tuple(dict.fromkeys(formats)))
