"""What the field uses otherwise, on the same reduced images: to compare with, and for images that ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp, log
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.bspline import elastix, quietly
from demis_ij.records import Affine
from demis_ij.register.looks import Look

_SIFT_RATIO = 0.8  # Lowe 2004, doi:10.1023/B:VISI.0000029664.99615.94
_SIFT_ERROR_PX = 4.0
_ECC_STEPS = (100, 1e-5)
_LEAST_INLIERS = 5

Grey = NDArray[np.uint8]


def sift(fixed: Look, moving: Look, model: str) -> Affine | None:
    """SIFT in both contrasts, a similarity by RANSAC; the contrast with more inliers counts."""
    detector: Any = cv2.SIFT.create()
    own = detector.detectAndCompute(_grey(fixed), _bytes(fixed.mask))
    best: tuple[int, Affine] | None = None
    for picture in (_grey(moving), 255 - _grey(moving)):
        other = detector.detectAndCompute(picture, _bytes(moving.mask))
        found = _consensus(own, other)
        if found is not None and (best is None or found[0] > best[0]):
            best = found
    return None if best is None else best[1]


def _consensus(own: Any, other: Any) -> tuple[int, Affine] | None:
    """Return the number of inliers and the similarity, None where there are too few."""
    if own[1] is None or other[1] is None or len(other[0]) < 2:
        return None
    two = cv2.BFMatcher().knnMatch(own[1], other[1], k=2)
    good = [m[0] for m in two if len(m) == 2 and m[0].distance < _SIFT_RATIO * m[1].distance]
    if len(good) < _LEAST_INLIERS:
        return None
    from_xy = np.array([own[0][m.queryIdx].pt for m in good])
    to_xy = np.array([other[0][m.trainIdx].pt for m in good])
    cv2.setRNGSeed(0)
    matrix, inliers = cv2.estimateAffinePartial2D(
        from_xy, to_xy, ransacReprojThreshold=_SIFT_ERROR_PX, maxIters=5000, confidence=0.999
    )
    count = int(np.count_nonzero(inliers))
    return (count, Affine.from_matrix(matrix)) if count >= _LEAST_INLIERS else None


def ecc(fixed: Look, moving: Look, model: str) -> Affine | None:
    """OpenCV's enhanced correlation coefficient (Evangelidis & Psarakis 2008) from no motion, in both contrasts."""
    one, best = fixed.image, None
    for sign in (1, -1):
        start = _middles(fixed, moving).matrix[:2].astype(np.float32)
        until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, *_ECC_STEPS)
        try:
            score, found = cv2.findTransformECC(
                one, sign * moving.image, start, cv2.MOTION_AFFINE, until, _bytes(moving.mask), 5
            )
        except cv2.error:  # it says so when it does not converge
            continue
        if best is None or score > best[0]:
            best = score, found
    return None if best is None else Affine.from_matrix(best[1])


def log_polar(fixed: Look, moving: Look, model: str) -> Affine | None:
    """Phase correlation of the log-polar spectra, then of images (Reddy & Chatterji 1996, doi:10.1109/83.506761)."""
    side = max(*fixed.image.shape, *moving.image.shape)
    one, two = (_windowed(look, side) for look in (fixed, moving))
    spectra = [np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(p)))).astype(np.float32) for p in (one, two)]
    radius, middle = side / 2, (side / 2, side / 2)
    flags = cv2.WARP_POLAR_LOG | cv2.INTER_LINEAR
    polar = [cv2.warpPolar(s, (side, side), middle, radius, flags) for s in spectra]
    (shift_r, shift_t), _ = cv2.phaseCorrelate(
        polar[0], polar[1], np.outer(np.ones(side), np.hanning(side)).astype(np.float32)
    )
    turn, scale = 2 * np.pi * shift_t / side, exp(-shift_r * log(radius) / side)
    best: tuple[float, Affine] | None = None
    for angle in (turn, turn + np.pi):  # a spectrum does not tell a picture from the same upside down
        linear = Affine.rigid(angle)
        about = Affine.about(
            Affine(*(scale * v for v in (linear.a, linear.b, linear.c, linear.d))), [(side - 1) / 2] * 2
        )
        drawn = cv2.warpAffine(two, about.matrix[:2], (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        for sign in (1, -1):
            (dx, dy), response = cv2.phaseCorrelate(one, (sign * drawn).astype(np.float32))
            if best is None or response > best[0]:
                best = response, about @ Affine.translation(dx, dy)
    return None if best is None else _offset(moving, side).inverse @ best[1] @ _offset(fixed, side)


def _windowed(look: Look, side: int) -> NDArray[np.float32]:
    """Return an image of mean 0 in the middle of a square, under a Hann window."""
    rows, cols = look.image.shape
    mean = float(look.image[look.mask].mean())
    window = np.outer(np.hanning(rows), np.hanning(cols))
    out = np.zeros((side, side), np.float32)
    x, y = (int(v) for v in _offset(look, side)([0, 0]))
    out[y : y + rows, x : x + cols] = np.where(look.mask, look.image - mean, 0) * window
    return out


def _offset(look: Look, side: int) -> Affine:
    rows, cols = look.image.shape
    return Affine.translation((side - cols) // 2, (side - rows) // 2)


def mutual_information(fixed: Look, moving: Look, model: str) -> Affine | None:
    """Elastix: a similarity by Mattes' mutual information (doi:10.1109/TMI.2003.809072) from no motion."""
    itk = elastix()
    with quietly(), TemporaryDirectory(prefix="demis_ij-") as folder:
        images = [itk.image_view_from_array(np.ascontiguousarray(look.image)) for look in (fixed, moving)]
        masks = [itk.image_view_from_array(_bytes(look.mask)) for look in (fixed, moving)]
        try:
            _, found = itk.elastix_registration_method(
                *images, parameter_object=_parameters(itk, model), fixed_mask=masks[0], moving_mask=masks[1],
                log_to_console=False, number_of_threads=1, output_directory=folder,
            )  # fmt: skip
        except RuntimeError:  # it says so when too few samples lie on both
            return None
        return _of_elastix(dict(found.GetParameterMap(0)))


def _parameters(itk: Any, model: str) -> Any:
    """Return what elastix is asked for."""
    out = itk.ParameterObject.New()
    chosen = dict(out.GetDefaultParameterMap("affine" if model == "affine" else "rigid", 4))
    chosen |= {
        "Metric": ["AdvancedMattesMutualInformation"], "MaximumNumberOfIterations": ["300"], "RandomSeed": ["1"],
        "NumberOfSpatialSamples": ["4096"], "AutomaticTransformInitialization": ["true"],
        "AutomaticTransformInitializationMethod": ["GeometricalCenter"], "WriteResultImage": ["false"],
        "RequiredRatioOfValidSamples": ["0.05"],
    }  # fmt: skip
    if model == "similarity":
        chosen["Transform"] = ["SimilarityTransform"]
    out.AddParameterMap(chosen)
    return out


def _of_elastix(found: Mapping[str, Any]) -> Affine:
    """Return elastix's transform (fixed to moving, about a centre; elastix manual, section 2.6)."""
    p = [float(v) for v in found["TransformParameters"]]
    centre = [float(v) for v in found["CenterOfRotationPoint"]]
    kind = found["Transform"][0]
    if kind.startswith("Similarity"):
        return Affine.about(Affine.similarity(p[0], p[1], p[2], p[3]), centre)
    if kind.startswith("Euler"):
        return Affine.about(Affine.rigid(p[0], p[1], p[2]), centre)
    return Affine.about(Affine(p[0], p[1], p[2], p[3], p[4], p[5]), centre)


def _grey(look: Look) -> Grey:
    """Return 8 bits, from the lowest to the highest hundredth of the data."""
    low, high = np.percentile(look.image[look.mask], (1, 99))
    return np.where(look.mask, np.clip((look.image - low) / max(high - low, 1e-9) * 255, 0, 255), 0).astype(np.uint8)


def _bytes(mask: NDArray[np.bool_]) -> Grey:
    return np.ascontiguousarray(mask, np.uint8) * np.uint8(255)


def _middles(fixed: Look, moving: Look) -> Affine:
    """Return the shift that lays the middles on each other."""
    one, two = (np.array(look.image.shape) for look in (fixed, moving))
    dy, dx = (two - one) / 2
    return Affine.translation(float(dx), float(dy))


BASELINES: dict[str, Callable[[Look, Look, str], Affine | None]] = {
    "sift": sift, "ecc": ecc, "log-polar": log_polar, "elastix": mutual_information,
}  # fmt: skip
"""By name: px of the fixed look to px of the moving one, or None."""
