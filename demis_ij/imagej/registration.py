"""Two plugins of Fiji that bend one picture onto another, called by their Java interfaces; arrays in, arrays out.

Both are given grey values of 8 bits and masks of one shape (rows, cols), and say where each place of the fixed picture
is found in the moving one, px, pixel centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.config.checks import in_range, one_of
from demis_ij.errors import InputError
from demis_ij.imagej import pixels, stacks
from demis_ij.imagej.plugins import BUNWARPJ, ELASTIC, Classes, running
from demis_ij.records import Points

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]

MODES = ("fast", "accurate", "mono")
SCALES = ("very coarse", "coarse", "fine", "very fine", "super fine")
_ALPHA = 2.0  # exponent of distance in the plugin's moving least squares
_LEAST_MATCHES = 3  # of a rigid model and a check of it
_LARGEST_FORCE = 200.0  # mean force of a mesh that may count as at rest, as in the plugin


@dataclass(frozen=True, kw_only=True)
class BunwarpjSettings:
    """What bUnwarpJ's dialog asks; the names are the dialog's.

    Attributes
    ----------
    mode : str
        mono (one direction), fast or accurate (both directions, consistent with each other).
    initial_deformation, final_deformation : str
        From *very coarse* (1 interval of the spline) over *coarse* (2), *fine* (4) and *very fine* (8) to *super fine*
        (16).
    subsample : int
        Pictures are reduced by two to the power of this, 0 to 7.
    divergence_weight, curl_weight : float
        Of what keeps the spline smooth.
    image_weight : float
        Of the squared difference of grey values.
    consistency_weight : float
        Of the difference between the two directions; without effect in mono.
    stop_threshold : float
        Relative change that ends a level.
    """

    mode: str = "mono"
    initial_deformation: str = "very coarse"
    final_deformation: str = "fine"
    subsample: int = 0
    divergence_weight: float = 0.1
    curl_weight: float = 0.1
    image_weight: float = 1.0
    consistency_weight: float = 10.0
    stop_threshold: float = 0.01

    def __post_init__(self) -> None:
        one_of("mode", self.mode, MODES)
        one_of("initial_deformation", self.initial_deformation, SCALES[:-1])
        one_of("final_deformation", self.final_deformation, SCALES)
        in_range("subsample", self.subsample, 0, 7)
        for name in ("divergence_weight", "curl_weight", "image_weight", "consistency_weight", "stop_threshold"):
            in_range(name, getattr(self, name), 0, 1e6)
        first, last = (SCALES.index(s) for s in (self.initial_deformation, self.final_deformation))
        if first > last:
            msg = f"initial_deformation {self.initial_deformation!r} is finer than the final {self.final_deformation!r}"
            raise InputError(msg)


@dataclass(frozen=True, kw_only=True)
class ElasticSettings:
    """What the dialogs of *Elastic Stack Alignment* ask; the names are the dialogs'. Lengths are px.

    The dialogs' own defaults are for sections of many thousand px; these are for 512, found on real sections.

    Attributes
    ----------
    resolution : int
        Vertices of the spring mesh along a row.
    scale : float
        Blocks are compared at this scale, 1 at most.
    block_radius, search_radius : int
        Half the side of a block, less half a pixel; how far it is looked for.
    min_r : float
        Least correlation of a block and its place.
    max_curvature_ratio, max_second_best_ratio : float
        What makes a place unambiguous: a peak that is no ridge, and no other peak nearly as high.
    local_sigma, max_local_displacement : float
        A match may depart so far from the rigid motion of its neighbours, in a Gaussian window of that deviation.
    max_local_trust : float
        ... and by no more than so many times their mean departure.
    stiffness, damping, max_stretch : float
        Of the springs.
    iterations, plateau : int
        Most steps of the mesh; steps over which it must stand still to be done.
    """

    resolution: int = 16
    scale: float = 1.0
    block_radius: int = 28
    search_radius: int = 25
    min_r: float = 0.3
    max_curvature_ratio: float = 10.0
    max_second_best_ratio: float = 0.9
    local_sigma: float = 100.0
    max_local_displacement: float = 25.0
    max_local_trust: float = 3.0
    stiffness: float = 0.1
    damping: float = 0.9
    max_stretch: float = 2000.0
    iterations: int = 1000
    plateau: int = 200

    def __post_init__(self) -> None:
        in_range("resolution", self.resolution, 2, 256)
        in_range("scale", self.scale, 0.01, 1)
        in_range("block_radius", self.block_radius, 2, 10_000)
        in_range("search_radius", self.search_radius, 1, 10_000)
        in_range("min_r", self.min_r, -1, 1)
        in_range("max_curvature_ratio", self.max_curvature_ratio, 1, 1e6)
        in_range("max_second_best_ratio", self.max_second_best_ratio, 0, 1)
        for name in ("local_sigma", "max_local_displacement", "max_local_trust", "stiffness", "damping", "max_stretch"):
            in_range(name, getattr(self, name), 0, 1e6)
        in_range("iterations", self.iterations, 1, 1_000_000)
        in_range("plateau", self.plateau, 1, 1_000_000)


def bunwarpj_coefficients(
    fiji: str, fixed: Grey, moving: Grey, *, fixed_mask: Mask, moving_mask: Mask, settings: BunwarpjSettings
) -> NDArray[np.float64]:
    """Return the cubic B-spline that bUnwarpJ finds from a fixed to a moving picture.

    Parameters
    ----------
    fiji : str
        Folder of a Fiji; empty where one runs in this process.
    fixed, moving : ndarray of shape (H, W), uint8
        The target and the source of the plugin.
    fixed_mask, moving_mask : ndarray of shape (H, W), bool
        Where they count.
    settings : BunwarpjSettings

    Returns
    -------
    ndarray of shape (2, N + 3, N + 3), float64
        Coefficients of x and of y over N intervals, rows along y: target pixel to source point.

    Raises
    ------
    InputError
        The plugin cannot be had.
    PluginFailed
        Java threw an exception.
    """
    import jpype

    with running(BUNWARPJ, fiji) as classes:
        asked = classes("bunwarpj.Param")(
            jpype.JInt(MODES.index(settings.mode)), settings.subsample, SCALES.index(settings.initial_deformation),
            SCALES.index(settings.final_deformation), settings.divergence_weight, settings.curl_weight, 0.0,
            settings.image_weight, settings.consistency_weight, settings.stop_threshold,
        )  # fmt: skip
        target, source = (stacks.to_imageplus(g, "yx", name) for g, name in ((fixed, "target"), (moving, "source")))
        masks = [stacks.to_imageplus(m, "yx", "mask").getProcessor() for m in (fixed_mask, moving_mask)]
        found = classes(BUNWARPJ.proof).computeTransformationBatch(target, source, *masks, asked)
        both = (found.getDirectDeformationCoefficientsX(), found.getDirectDeformationCoefficientsY())
        return np.array([np.array(c, np.float64) for c in both])


def elastic_points(
    fiji: str, fixed: Grey, moving: Grey, *, fixed_mask: Mask, moving_mask: Mask, settings: ElasticSettings, at: Points
) -> Points | None:
    """Return where points of the fixed picture are in the moving one, by block matching and a mesh of springs.

    The mesh lies over the fixed picture. Each vertex whose block is found in the moving picture is drawn there by a
    spring; its neighbours hold it by others. Between its vertices the plugin interpolates by moving least squares.

    Parameters
    ----------
    fiji : str
        Folder of a Fiji; empty where one runs in this process.
    fixed, moving : ndarray of shape (H, W), uint8
    fixed_mask, moving_mask : ndarray of shape (H, W), bool
        Where they count.
    settings : ElasticSettings
    at : ndarray of shape (N, 2), float64
        Points of the fixed picture.

    Returns
    -------
    ndarray of shape (N, 2), float64, or None
        None when too few blocks are found.

    Raises
    ------
    InputError
        The plugin cannot be had.
    PluginFailed
        Java threw an exception.
    """
    with running(ELASTIC, fiji) as classes:
        mesh = classes("mpicbg.models.SpringMesh")(
            settings.resolution, float(fixed.shape[1]), float(fixed.shape[0]), settings.stiffness,
            settings.max_stretch, settings.damping,
        )  # fmt: skip
        matches = _block_matches(classes, mesh, fixed, moving, fixed_mask, moving_mask, settings)
        if matches.size() < _LEAST_MATCHES:
            return None
        whole = classes("mpicbg.models.RigidModel2D")()
        whole.fit(matches)
        _relax(classes, mesh, whole, matches, settings)
        return _interpolated(classes, mesh, at)


def _block_matches(
    classes: Classes, mesh: Any, fixed: Grey, moving: Grey, fixed_mask: Mask, moving_mask: Mask, asked: ElasticSettings
) -> Any:
    """Return the matches of the vertices of a mesh (java.util.ArrayList), those out of line with their neighbours not.

    The block matching is the plugin's own; the moving picture is looked for in place, plus or minus the radius.
    """
    import jpype

    planes = [_float_processor(p) for p in (fixed, moving, fixed_mask, moving_mask)]
    matches = jpype.JClass("java.util.ArrayList")()
    radii = (asked.block_radius,) * 2 + (asked.search_radius,) * 2
    classes(ELASTIC.proof).matchByMaximalPMCC(
        *planes, asked.scale, classes("mpicbg.models.TranslationModel2D")(), *radii, jpype.JFloat(asked.min_r),
        jpype.JFloat(asked.max_second_best_ratio), jpype.JFloat(asked.max_curvature_ratio), mesh.getVertices(),
        matches, classes("mpicbg.models.ErrorStatistic")(1),
    )  # fmt: skip
    if matches.size() >= _LEAST_MATCHES:
        classes("mpicbg.models.RigidModel2D")().localSmoothnessFilter(
            matches, matches, asked.local_sigma, asked.max_local_displacement, asked.max_local_trust
        )
    return matches


def _relax(classes: Classes, mesh: Any, whole: Any, matches: Any, asked: ElasticSettings) -> None:
    """Hang a mesh on its matches, start it from one rigid motion, and let it come to rest."""
    import jpype

    vertex, spring = classes("mpicbg.models.Vertex"), classes("mpicbg.models.Spring")
    for match in matches:
        match.getP1().addSpring(vertex(match.getP2()), spring(0.0, 1.0))
    mesh.init(whole)
    one = jpype.JClass("java.util.ArrayList")()
    one.add(mesh)
    classes("mpicbg.models.SpringMesh").optimizeMeshes(one, _LARGEST_FORCE, asked.iterations, asked.plateau, False)


def _interpolated(classes: Classes, mesh: Any, at: Points) -> Points:
    """Return where a mesh brings points (N, 2), by moving least squares over its vertices, as the plugin draws it."""
    import jpype

    squares = classes("mpicbg.models.MovingLeastSquaresTransform")()
    squares.setModel(classes("mpicbg.models.AffineModel2D").class_)
    squares.setAlpha(_ALPHA)
    squares.setMatches(mesh.getVA().keySet())
    one = jpype.JArray(jpype.JDouble)
    return np.array([np.asarray(squares.apply(one(p))) for p in np.asarray(at, np.float64)])


def _float_processor(plane: NDArray[Any]) -> Any:
    """Return an ij.process.FloatProcessor: grey values as they are, masks as 0 and 1."""
    import jpype

    values = np.ascontiguousarray(plane, np.float32)
    return jpype.JClass("ij.process.FloatProcessor")(plane.shape[1], plane.shape[0], pixels.to_java(values))
