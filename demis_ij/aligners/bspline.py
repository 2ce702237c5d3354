"""B-splines and mutual information, by elastix."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.looks import Mask, check_sizes, data_of, evened, is_blank, unfolded, unknown
from demis_ij.errors import MissingPart
from demis_ij.fields import grid_of
from demis_ij.records import Field

_SPACING_FRAC = 48 / 512  # of the shorter side
_LEAST_SIDE = 32  # px
_NOTHING_FOUND = re.compile(r"too many samples map outside|all samples map outside|no valid voxels", re.IGNORECASE)


class BsplineAligner:
    """itk-elastix: an affine map, then a grid of cubic B-splines, by Mattes' mutual information.

    Needs the package itk-elastix (the extra ``baselines``).

    Parameters
    ----------
    spacing_px : float
        From node to node of the finest B-spline grid; 0 is 0.094 of the shorter side (48 px of 512).
    levels : int
        Resolutions, each half of the next.
    iterations : int
        Steps of the stochastic optimiser at each level.
    samples : int
        Pixels that each step looks at.
    window_px : float
        Standard deviation of the window in which brightness and contrast are evened out; 0 is a thirteenth of the
        shorter side.

    Raises
    ------
    MissingPart
        When itk-elastix is not installed.

    Notes
    -----
    Klein et al. 2010, doi:10.1109/TMI.2009.2035616; mutual information: Mattes et al. 2003,
    doi:10.1109/TMI.2003.809072; adaptive stochastic gradient descent: Klein et al. 2009,
    doi:10.1007/s11263-008-0168-y. Random samples start from one seed: the same sections give the same field.
    """

    name = "bspline"

    def __init__(
        self,
        spacing_px: float = 0.0,
        levels: int = 4,
        iterations: int = 250,
        samples: int = 2048,
        window_px: float = 0.0,
    ) -> None:
        self._itk = elastix()
        self.spacing_px, self.levels, self.window_px = spacing_px, levels, window_px
        self.iterations, self.samples = iterations, samples

    def __call__(self, fixed: NDArray[Any], moving: NDArray[Any], fixed_mask: Mask, moving_mask: Mask) -> Field:
        """Return the field from pixels of ``fixed`` to points of ``moving``; NaN when nothing is found."""
        shape = check_sizes(fixed, moving, fixed_mask, moving_mask)
        spacing = self.spacing_px or _SPACING_FRAC * min(shape)
        stride = max(1, round(spacing / 8))
        data = [data_of(fixed, fixed_mask), data_of(moving, moving_mask)]
        if min(shape) < _LEAST_SIDE or any(is_blank(i, m) for i, m in zip((fixed, moving), data, strict=True)):
            return unknown(shape, stride)
        window = self.window_px or min(shape) / 13
        grey = [evened(i, m, window).astype(np.float32) for i, m in zip((fixed, moving), data, strict=True)]
        with quietly():
            offsets = self._registered(grey, data, spacing)
        if offsets is None or not np.isfinite(offsets).all():
            return unknown(shape, stride)
        rows, cols = grid_of(shape, stride)
        at = np.ix_(*(np.minimum(np.arange(k) * stride, n - 1) for k, n in zip((rows, cols), shape, strict=True)))
        return unfolded(Field(np.stack([o[at] for o in offsets]), stride))

    def _registered(self, grey: list[NDArray[Any]], data: list[Mask], spacing: float) -> NDArray[np.float32] | None:
        """Return the offsets (2, H, W); None when the sections have too little in common for elastix."""
        itk = self._itk
        images = [itk.image_view_from_array(np.ascontiguousarray(g)) for g in grey]
        masks = [itk.image_view_from_array(np.ascontiguousarray(m, np.uint8)) for m in data]
        try:
            _, found = itk.elastix_registration_method(
                images[0], images[1], parameter_object=self._parameters(itk, spacing), fixed_mask=masks[0],
                moving_mask=masks[1], log_to_console=False, number_of_threads=1,
            )  # fmt: skip
            with TemporaryDirectory(prefix="demis_ij-") as folder:  # it writes the field as a file, too
                field = itk.transformix_deformation_field(images[1], found, output_directory=folder)
                offsets = np.array(itk.array_from_image(field)[..., :2], np.float32)
        except RuntimeError as error:
            if _NOTHING_FOUND.search(str(error)):
                return None
            raise
        return np.ascontiguousarray(np.moveaxis(offsets, -1, 0))

    def _parameters(self, itk: Any, spacing: float) -> Any:
        """Return what elastix is asked for: affine, then B-spline."""
        parameters = itk.ParameterObject.New()
        for kind in ("affine", "bspline"):
            chosen = dict(parameters.GetDefaultParameterMap(kind, self.levels))
            chosen |= {
                "Metric": ["AdvancedMattesMutualInformation"],
                "MaximumNumberOfIterations": [str(self.iterations)],
                "NumberOfSpatialSamples": [str(self.samples)],
                "AutomaticTransformInitialization": ["false"],
                "RandomSeed": ["1"],
                "WriteResultImage": ["false"],
                "CheckNumberOfSamples": ["true"],
                "RequiredRatioOfValidSamples": ["0.05"],
            }
            if kind == "bspline":
                chosen.pop("FinalGridSpacingInPhysicalUnits", None)
                chosen["FinalGridSpacingInVoxels"] = [f"{spacing:.2f}"]
                chosen["Registration"] = ["MultiMetricMultiResolutionRegistration"]
                chosen["Metric"] = ["AdvancedMattesMutualInformation", "TransformBendingEnergyPenalty"]
                chosen["Metric0Weight"], chosen["Metric1Weight"] = ["1"], ["10"]
            parameters.AddParameterMap(chosen)
        return parameters


def elastix() -> ModuleType:
    """Return itk with elastix. Raises `MissingPart`."""
    with quietly():
        try:
            import itk
        except ImportError as error:
            raise MissingPart("itk-elastix", "baselines") from error
        if not hasattr(itk, "elastix_registration_method"):
            raise MissingPart("itk-elastix", "baselines")
        return itk  # type: ignore[no-any-return]


@contextmanager
def quietly() -> Iterator[None]:
    """Let no warning become an exception: inside the set-up of itk's modules, that ends the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
