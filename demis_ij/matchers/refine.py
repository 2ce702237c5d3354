"""Sub-pixel refinement: points made as exact as the images allow, once a transform is known to a pixel or two.

Both views are warped half way towards each other, so that neither is favoured (swapping the views swaps the answer),
normalised by their local mean and contrast, and compared by a dense Lucas-Kanade step (Lucas & Kanade 1981; Baker &
Matthews 2004, doi:10.1023/B:VISI.0000011205.11775.fd) whose sums run over square windows. The best-textured place of
each cell of a grid is read off, the transform is fitted anew, and the views are warped again: once at half size, which
draws points in from farther away, then at full size. At the end the matcher's own points are read off, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij import geometry
from demis_ij.matchers.bend import Bend, fit_bend
from demis_ij.protocols import View
from demis_ij.records import Affine, Correspondences, Points

_Plane = NDArray[Any]  # float32
_Found = tuple[Correspondences, Callable[[Correspondences], Correspondences]]
"""Points spread over the frame, and what makes any others exact."""


@dataclass(frozen=True)
class _Look:
    """One way to look: at full or half size; low-pass (sigma), window and spacing of the points, px of that size."""

    halved: bool
    sigma: float
    window: int
    spacing: int


_WIDE = _Look(halved=True, sigma=1.25, window=28, spacing=20)  # draws points in from farther away
_FINE = _Look(halved=False, sigma=1.0, window=36, spacing=32)
_COARSE = _Look(halved=True, sigma=1.5, window=44, spacing=28)  # for resin and noise
_BLOCK = 4  # px; sums are taken over windows of whole blocks
_MAX_STEP_PX = 3.0  # a point that wants to go farther is on something else
_MAX_SIGMA_PX = 0.7  # a point whose own noise leaves it less certain is left out


@dataclass(frozen=True, eq=False)
class Exact:
    """What `refine` found; both are empty when the views do not resemble each other there.

    Attributes
    ----------
    points : Correspondences
        New points, about one each 32 px, that share little of each other's windows; the score is the local correlation.
    start : Correspondences
        The points that were given, made exact, where that could be done; they share their windows with neighbours, so
        that their errors do, too.
    """

    points: Correspondences
    start: Correspondences

    @classmethod
    def none(cls) -> Exact:
        """Return no points."""
        return cls(Correspondences.none(), Correspondences.none())


@dataclass(frozen=True, eq=False)
class Middle:
    """Both views, low-passed and warped to the frame half way between them, and the maps from there.

    A point u of the frame shows the fixed view at ``to_fixed(u + b / 2)``, the moving one at ``to_moving(u - b / 2)``,
    with b what the bend says at u, or nothing.
    """

    fixed: _Plane
    moving: _Plane
    valid: NDArray[np.bool_]
    to_fixed: Affine
    to_moving: Affine
    bend: Bend | None = None


def refine(
    fixed: View, moving: View, start: Correspondences, *, also: Correspondences | None = None, rounds: int = 2
) -> Exact:
    """Return exact points spread over the overlap of two views, and the given ones made exact.

    Parameters
    ----------
    fixed, moving : View
        Full-resolution crops.
    start : Correspondences
        Agreeing points, px of the views, off by up to some 6 px each; at least two. They serve to fit the first
        transform (affine where they hold one, else rigid), which should be right to about 4 px.
    also : Correspondences, optional
        The points to make exact at last; ``start`` where it is not given.
    rounds : int
        How often the views are warped at full size, after a first time at half size. Where what is left after that is
        a smooth bend, they are warped once more, along it.
    """
    if len(start) < 2:
        return Exact.none()
    full = (fixed, moving)
    halves = (_halved(fixed), _halved(moving))
    for looks in ([_WIDE, *[_FINE] * rounds], [_COARSE] * (rounds + 1)):
        blurred: dict[_Look, tuple[_Plane, _Plane]] = {}
        points, found = start, None
        for look in looks:
            views = halves if look.halved else full
            if look not in blurred:
                blurred[look] = _low_pass(views[0], look.sigma), _low_pass(views[1], look.sigma)
            given = _to_half(points) if look.halved else points
            middle = _between(views, blurred[look], _first_transform(given), look.sigma)
            found = None if middle is None else _exact_points(middle, look)
            if found is None or len(found[0]) < 6:
                if look is _WIDE:
                    continue  # too thin a strip at half size: what was given must be near enough
                break
            points = _from_half(found[0]) if look.halved else found[0]
        if middle is not None and found is not None and len(found[0]) >= 6:
            found = _along_the_bend(views, blurred[look], middle, look, found) or found
            given = start if also is None else also
            if not look.halved:
                return Exact(found[0], found[1](given))
            return Exact(_from_half(found[0]), _from_half(found[1](_to_half(given))))
    return Exact.none()


def _along_the_bend(
    views: tuple[View, View], smooth: tuple[_Plane, _Plane], middle: Middle, look: _Look, found: _Found
) -> _Found | None:
    """Return what is found when the views are warped along the bend that points follow; None when they follow none."""
    one, two = middle.to_fixed.inverse(found[0].fixed_xy), middle.to_moving.inverse(found[0].moving_xy)
    bend = fit_bend((one + two) / 2, one - two)
    if bend is None:
        return None
    bent = _warped(views, smooth, (middle.to_fixed, middle.to_moving), middle.valid.shape, look.sigma, bend)
    better = _exact_points(bent, look)
    # straightened views must not lose what the affine ones showed
    return better if len(better[0]) >= 0.9 * len(found[0]) else None


def _halved(view: View) -> View:
    """Return a view at half size; pixels made of any that hold no data hold none."""
    rows, cols = (n // 2 * 2 for n in view.image.shape)
    size = (cols // 2, rows // 2)
    if min(size) == 0:
        return View(np.zeros((1, 1), np.float32), np.zeros((1, 1), bool))
    image = cv2.resize(view.image[:rows, :cols].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(view.mask[:rows, :cols].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return View(np.asarray(image), np.asarray(mask > 0.99))


def _half_size(to_fixed: Affine) -> Affine:
    """Return a transform of views as one of the views at half size."""
    shrink = Affine(a=0.5, d=0.5, tx=-0.25, ty=-0.25)
    return shrink @ to_fixed @ shrink.inverse


def _to_half(points: Correspondences) -> Correspondences:
    return replace(points, fixed_xy=(points.fixed_xy - 0.5) / 2, moving_xy=(points.moving_xy - 0.5) / 2)


def _from_half(points: Correspondences) -> Correspondences:
    return replace(points, fixed_xy=points.fixed_xy * 2 + 0.5, moving_xy=points.moving_xy * 2 + 0.5)


def _first_transform(points: Correspondences) -> Affine:
    """Return moving to fixed: affine where the points hold one to the pixel, else rigid."""
    rigid = Affine.from_matrix(geometry.fit_rigid(points.moving_xy, points.fixed_xy))
    if len(points) < 12:
        return rigid
    thin = np.sqrt(np.linalg.eigvalsh(np.cov(points.moving_xy.T))[0])
    affine = Affine.from_matrix(geometry.fit_affine(points.moving_xy, points.fixed_xy))
    error = np.sqrt(((affine(points.moving_xy) - points.fixed_xy) ** 2).sum(1).mean())
    return affine if 3 * error / np.sqrt(len(points)) < 0.02 * thin else rigid


def _half(transform: Affine) -> Affine:
    """Return the affine ``h`` with ``h @ h == transform`` (square root of a 2 x 2 matrix near the identity)."""
    linear = transform.matrix[:2, :2]
    root_det = np.sqrt(np.linalg.det(linear))
    half = (linear + root_det * np.eye(2)) / np.sqrt(np.trace(linear) + 2 * root_det)
    shift = np.linalg.solve(half + np.eye(2), [transform.tx, transform.ty])
    return Affine.from_matrix(np.column_stack([half, shift]))


def half_way(fixed: View, moving: View, to_fixed: Affine, sigma: float) -> Middle | None:
    """Return both views, low-passed (sigma, px), in the frame half way; None when they share less than 16 px there."""
    return _between((fixed, moving), (_low_pass(fixed, sigma), _low_pass(moving, sigma)), to_fixed, sigma)


def _low_pass(view: View, sigma: float) -> _Plane:
    return cv2.GaussianBlur(view.image.astype(np.float32), (0, 0), sigma)


def _between(views: tuple[View, View], smooth: tuple[_Plane, _Plane], to_fixed: Affine, sigma: float) -> Middle | None:
    """Return what `half_way` does of views that have been low-passed."""
    fixed, moving = views
    half = _half(to_fixed)
    back = half.inverse
    h, w = fixed.image.shape
    mh, mw = moving.image.shape
    seen_f = back(np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], float))
    seen_m = half(np.array([[0, 0], [mw - 1, 0], [mw - 1, mh - 1], [0, mh - 1]], float))
    low = np.ceil(np.maximum(seen_f.min(0), seen_m.min(0)))
    high = np.floor(np.minimum(seen_f.max(0), seen_m.max(0)))
    cols, rows = (int(v) for v in high - low + 1)
    if min(cols, rows) < 16:
        return None
    origin = Affine.translation(low[0], low[1])
    return _warped(views, smooth, (half @ origin, back @ origin), (rows, cols), sigma)


def _warped(
    views: tuple[View, View],
    smooth: tuple[_Plane, _Plane],
    pulls: tuple[Affine, Affine],
    shape: tuple[int, ...],
    sigma: float,
    bend: Bend | None = None,
) -> Middle:
    """Return both views in a frame of ``shape`` that ``pulls`` take to them, along a bend where there is one."""
    rows, cols = shape
    planes = []
    valid: NDArray[Any] = np.ones((rows, cols), np.uint8)
    for seen, plane, pull, part in zip(views, smooth, pulls, (0.5, -0.5), strict=True):
        inside: NDArray[Any] = seen.mask.astype(np.uint8)
        reach = 2 * math.ceil(2.5 * sigma) + 3  # what the low-pass and the interpolation mix with the outside
        inside = cv2.erode(inside, np.ones((reach, reach), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        if bend is None:
            matrix, flags = pull.matrix[:2], cv2.WARP_INVERSE_MAP
            planes.append(cv2.warpAffine(plane, matrix, (cols, rows), flags=flags | cv2.INTER_LINEAR))
            shown = cv2.warpAffine(inside, matrix, (cols, rows), flags=flags | cv2.INTER_NEAREST)
        else:
            dx, dy = part * bend.over((rows, cols))
            x, y = np.arange(cols) + dx, np.arange(rows)[:, None] + dy
            at_x = (pull.a * x + pull.b * y + pull.tx).astype(np.float32)
            at_y = (pull.c * x + pull.d * y + pull.ty).astype(np.float32)
            planes.append(cv2.remap(plane, at_x, at_y, cv2.INTER_LINEAR))
            shown = cv2.remap(inside, at_x, at_y, cv2.INTER_NEAREST)
        valid = np.minimum(valid, shown)
    return Middle(planes[0], planes[1], valid.astype(bool), *pulls, bend)


def agreement(fixed: View, moving: View, to_fixed: Affine) -> float | None:
    """Return how far the likeness of two views under a transform stands out among wrong shifts of it.

    The correlation of the whole overlap, low-passed (sigma 4 px) so that the tiles' own noise does not hide weak
    structure, as Fisher's z (the inverse hyperbolic tangent: small strips correlate by chance, but not near 1), divided
    by the root mean square of the same at some 60 shifts of 24 px and more: about 1 for views that do not show the
    same, 4 and more when they do. (What ashlar learns from pairs that do not overlap, learnt from the
    pair itself.) None when they share too little to tell.
    """
    # at half size the same, for a quarter of the work
    middle = half_way(_halved(fixed), _halved(moving), _half_size(to_fixed), 2.0)
    if middle is None:
        return None
    valid = middle.valid[::2, ::2].astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(valid, (0, 0), 8), 1e-3)

    def band(plane: _Plane) -> _Plane:
        return (plane - cv2.GaussianBlur(plane * valid, (0, 0), 8) / share) * valid

    one, two = band(middle.fixed[::2, ::2]), band(middle.moving[::2, ::2])
    here = _ncc(one, two, valid, 0, 0)
    rows, cols = valid.shape
    along = max(rows, cols)
    elsewhere = []
    for far in range(6, along // 2, max(1, along // 32)):
        for across in (-4, 0, 4):
            for step in (-far, far):
                dy, dx = (step, across) if rows > cols else (across, step)
                elsewhere.append(_ncc(one, two, valid, dy, dx))
    wrong = np.arctanh(np.clip([v for v in elsewhere if v is not None], -0.999, 0.999))
    if here is None or len(wrong) < 12:
        return None
    return float(math.atanh(min(here, 0.999)) / max(1e-6, np.sqrt((wrong**2).mean())))


def _ncc(one: _Plane, two: _Plane, valid: _Plane, dy: int, dx: int) -> float | None:
    """Return the correlation of two planes of mean about zero, the second shifted; None when little is shared."""
    rows, cols = valid.shape
    a = (slice(max(0, dy), rows + min(0, dy)), slice(max(0, dx), cols + min(0, dx)))
    b = (slice(max(0, -dy), rows + min(0, -dy)), slice(max(0, -dx), cols + min(0, -dx)))
    both = valid[a] * valid[b]
    if both.sum() < 0.3 * valid.sum() or both.sum() < 64:
        return None
    p, q = one[a] * both, two[b] * both
    norm = math.sqrt(float((p * p).sum()) * float((q * q).sum()))
    return float((p * q).sum()) / norm if norm > 0 else None


def _exact_points(middle: Middle, look: _Look) -> _Found:
    """Return the points of the best-textured places and what makes any others exact, by one Lucas-Kanade step.

    Products of gradients and differences are averaged over blocks of 4 x 4 px, then over windows of blocks: what a
    step needs is smooth, and there is a sixteenth of it.
    """
    rows, cols = (n // _BLOCK for n in middle.valid.shape)
    cut = (slice(0, rows * _BLOCK), slice(0, cols * _BLOCK))
    weight = middle.valid[cut].astype(np.float32)
    side = look.window // _BLOCK // 2 * 2 + 1
    full_size = (cols * _BLOCK, rows * _BLOCK)

    def block(plane: _Plane) -> _Plane:
        return cv2.resize(plane, (cols, rows), interpolation=cv2.INTER_AREA)

    def window(blocks: _Plane) -> _Plane:
        return cv2.boxFilter(blocks, cv2.CV_32F, (side, side), borderType=cv2.BORDER_CONSTANT)

    def spread(blocks: _Plane) -> _Plane:
        return cv2.resize(blocks, full_size, interpolation=cv2.INTER_LINEAR)

    share = block(weight)
    full = np.maximum(window(share), 1e-6)
    normal = []
    for plane in (middle.fixed[cut], middle.moving[cut]):
        masked = plane * weight
        centre = window(block(masked)) / full
        contrast = np.sqrt(np.maximum(window(block(masked * plane)) / full - centre * centre, 1e-2))
        normal.append((plane - spread(centre)) * spread(1 / contrast) * weight)
    both = (normal[0] + normal[1]) / 2
    gx = cv2.Sobel(both, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    gy = cv2.Sobel(both, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    if not middle.valid.all():  # the rim of the data is no structure
        inner: _Plane = cv2.erode(weight, np.ones((3, 3), np.uint8))
        gx, gy = gx * inner, gy * inner
    difference = normal[0] - normal[1]
    xx, xy, yy = (window(block(a * b)) for a, b in ((gx, gx), (gx, gy), (gy, gy)))
    bx, by = window(block(gx * difference)), window(block(gy * difference))
    noise = window(block(difference * difference)) / full
    likeness = window(block(normal[0] * normal[1])) / full
    strength = (xx + yy - np.sqrt((xx - yy) ** 2 + 4 * xy * xy)) / 2  # the smaller eigenvalue
    return _read_off(middle, look, (full / full.max(), strength), (xx, xy, yy, bx, by, noise, likeness))


def _read_off(middle: Middle, look: _Look, texture: tuple[_Plane, _Plane], sums: tuple[_Plane, ...]) -> _Found:
    """Return a point for each cell of a grid, where the texture is strongest and certain enough, and the same for any.

    Parameters
    ----------
    texture : tuple of ndarray of shape (rows, cols)
        How full the window around each block is, beside the fullest (a thin strip fills none), and how strong its
        texture.
    sums : tuple of ndarray of shape (rows, cols)
        xx, xy, yy, bx, by, noise and likeness of the window around each block.
    """
    xx, xy, yy, bx, by, noise, likeness = (s.astype(np.float64) for s in sums)
    det = xx * yy - xy * xy
    fullness, strength = texture
    good = (strength > 1e-6) & (det > 1e-12) & (fullness > 0.35)
    det = np.where(good, det, 1)
    # fixed(u + d/2) ~ moving(u - d/2)  =>  sum g g' d = -sum g (fixed - moving)
    dx, dy = -(yy * bx - xy * by) / det, -(xx * by - xy * bx) / det
    left = np.maximum(noise - (xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy), 1e-6)
    independent = look.window**2 / max(1.0, 4 * np.pi * look.sigma**2)  # pixels the low-pass left independent
    sigma = np.sqrt(np.where(good, left * (xx + yy) / det / independent, np.inf))
    good &= (sigma < _MAX_SIGMA_PX) & (np.hypot(dx, dy) < _MAX_STEP_PX) & (likeness > 0.1)

    def moved(u: Points, at: tuple[NDArray[np.intp], NDArray[np.intp]]) -> Correspondences:
        d = np.stack([dx[at], dy[at]], 1) / 2
        if middle.bend is not None:
            d = d + middle.bend.at(u) / 2
        return Correspondences(middle.to_fixed(u + d), middle.to_moving(u - d), np.clip(likeness[at], 0, 1))

    def exact(given: Correspondences) -> Correspondences:
        u = (middle.to_fixed.inverse(given.fixed_xy) + middle.to_moving.inverse(given.moving_xy)) / 2
        block = np.floor((u + 0.5) / _BLOCK).astype(np.intp)
        inside = (block >= 0).all(1) & (block < strength.shape[::-1]).all(1)
        row, col = block[inside].T[::-1]
        keep = good[row, col]
        return moved(u[inside][keep], (row[keep], col[keep]))

    # a small overlap has few cells: they are smaller there, down to half a window of new pixels each
    fair = math.sqrt(middle.valid.sum() / 24)
    step = max(1, round(min(look.spacing, max(look.spacing / 2, fair)) / _BLOCK))
    row, col = _strongest(np.where(fullness < 0.7, 0, strength), step)
    keep = good[row, col] & (fullness[row, col] >= 0.7)
    row, col = row[keep], col[keep]
    u: Points = np.stack([col, row], 1) * np.float64(_BLOCK) + (_BLOCK - 1) / 2
    return moved(u, (row, col)), exact


def _strongest(strength: _Plane, step: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and column of the largest value of each cell of ``step`` x ``step``."""
    rows, cols = strength.shape
    up, across = -(-rows // step), -(-cols // step)
    padded = np.full((up * step, across * step), -np.inf, np.float32)
    padded[:rows, :cols] = strength
    cells = padded.reshape(up, step, across, step).swapaxes(1, 2).reshape(up * across, step * step)
    best = cells.argmax(1)
    cell = np.arange(up * across)
    return cell // across * step + best // step, cell % across * step + best % step
