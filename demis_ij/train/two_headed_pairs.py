"""Training pairs of the two-headed network, made on the fly: two looks at a specimen, and the transform between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.nets.two_headed_frames import prepared
from demis_ij.records import Affine
from demis_ij.synth.correlative_pairs import RANGES, TransformRange, covered, seen, to_moving_of
from demis_ij.synth.fields import Plane
from demis_ij.synth.specimens import Specimen

SHARES = {
    "mono": 0.1, "xray": 0.13, "light": 0.15, "xray_hard": 0.2, "light_hard": 0.28, "marked": 0.1, "edges": 0.04,
}  # fmt: skip
"""How often the second picture is of which kind, where a specimen has no partner."""
_FINER = 1.5  # pictures are made with this many px for each px of the frame, and reduced as those of users are
_FIELD = (190.0, 500.0)  # px of the specimen that a picture covers


_SMALL = 1 / 6  # of the range
_PARTNER = 0.8  # how often a specimen with a partner shows it

Pair = tuple[Plane, Plane, Plane, Plane, NDArray[np.float64], str]


@dataclass(frozen=True, eq=False)
class Batch:
    """Pairs as the network takes them.

    Attributes
    ----------
    fixed, moving, fixed_masks, moving_masks : ndarray of shape (N, 1, side, side), float32
    parameters : ndarray of shape (N, 4), float32
        The truth, in the order of `demis_ij.nets.two_headed.PARAMETERS`.
    kinds : tuple of str
    """

    fixed: NDArray[np.float32]
    moving: NDArray[np.float32]
    fixed_masks: NDArray[np.float32]
    moving_masks: NDArray[np.float32]
    parameters: NDArray[np.float32]
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Batch:
        """Return pairs one after the other."""
        planes = [np.stack([p[k] for p in pairs])[:, None].astype(np.float32) for k in range(4)]
        parameters = np.stack([p[4] for p in pairs]).astype(np.float32)
        return cls(planes[0], planes[1], planes[2], planes[3], parameters, tuple(p[5] for p in pairs))

    @property
    def pictures(self) -> tuple[NDArray[np.float32], ...]:
        """Fixed and moving pictures, and their masks."""
        return self.fixed, self.moving, self.fixed_masks, self.moving_masks


def make_batch(
    specimens: Sequence[Specimen],
    rng: np.random.Generator,
    count: int,
    side: int,
    range_: TransformRange = RANGES["full"],
    small_share: float = 0.2,
) -> Batch:
    """Return pairs of specimens drawn at random, a share of them with small transforms, as a second pass sees them."""
    made = []
    for _ in range(count):
        drawn = range_.scaled(_SMALL) if rng.random() < small_share else range_
        made.append(make_pair(specimens[int(rng.integers(len(specimens)))], rng, side, range_=drawn))
    return Batch.of(made)


def make_pair(
    specimen: Specimen, rng: np.random.Generator, side: int, *, kind: str = "", range_: TransformRange = RANGES["full"]
) -> Pair:
    """Return both pictures and masks as the network takes them, the four numbers, and the kind.

    Parameters
    ----------
    specimen : Specimen
    rng : Generator
    side : int
        Px of the frame.
    kind : str
        Of the moving picture, by a name of `demis_ij.synth.correlative_pairs.KINDS`, and nothing goes wrong; drawn
        when empty, with whatever may be spoilt.
    range_ : TransformRange
    """
    parameters = range_.draw(rng)
    made = round(_FINER * side)
    field = _field_px(specimen, rng)
    at = _somewhere(specimen.grey.shape, field, made, rng)
    to_moving = to_moving_of(parameters, made)
    chosen = kind or _drawn_kind(specimen, rng)
    first, second = ("mono", "mono" if chosen == "edges" else chosen)
    if not kind and rng.random() < 0.06:
        first = str(rng.choice(["xray", "light"]))
    if not kind and rng.random() < 0.5:
        first, second = second, first
    fixed = seen(specimen, first, at, made, rng)
    moving = seen(specimen, second, at @ to_moving.inverse, made, rng)
    if chosen == "edges":
        moving = _edges(moving)
    masks = [np.ones((made, made), np.float32) for _ in "fm"]
    if specimen.partner is not None:  # a picture may show all of it, and what lies beyond
        masks = [covered(specimen, where, made) for where in (at, at @ to_moving.inverse)]
    if not kind:
        fixed, moving = (_spoilt(one, rng) for one in (fixed, moving))
        masks = [_partly(mask, rng) for mask in masks]
    shown = [prepared(image, mask > 0, side) for image, mask in zip((fixed, moving), masks, strict=True)]
    return shown[0][0], shown[1][0], shown[0][1], shown[1][1], parameters, chosen


def _drawn_kind(specimen: Specimen, rng: np.random.Generator) -> str:
    if specimen.partner is not None and rng.random() < _PARTNER:
        return "partner"
    return str(rng.choice(list(SHARES), p=np.array(list(SHARES.values())) / sum(SHARES.values())))


def _field_px(specimen: Specimen, rng: np.random.Generator) -> float:
    """Return how many px of the specimen a picture covers: most of a registered pair, whose markers may be apart."""
    least = min(specimen.grey.shape)
    if specimen.partner is not None:
        return float(rng.uniform(0.5, 1.4) * least)
    return float(min(rng.uniform(*_FIELD), 0.95 * least))


def _somewhere(shape: tuple[int, ...], field: float, side: int, rng: np.random.Generator) -> Affine:
    """Return a field anywhere in a specimen, turned any way, half of them mirrored."""
    scale = field / side
    centre = [n / 2 + rng.uniform(-0.5, 0.5) * abs(n - field) for n in shape[::-1]]
    turn = Affine.rigid(rng.uniform(0, 2 * np.pi))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    linear = Affine(scale * turn.a * flip, scale * turn.b, scale * turn.c * flip, scale * turn.d)
    middle = (side - 1) / 2
    return Affine.translation(*centre) @ linear @ Affine.translation(-middle, -middle)


def _edges(plane: Plane) -> Plane:
    soft = cv2.GaussianBlur(plane, (0, 0), 1.2)
    dx, dy = cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    return np.asarray(np.hypot(dx, dy), np.float32)


def _spoilt(plane: Plane, rng: np.random.Generator) -> Plane:
    """Return a picture with what happens to pictures: contrast inverted, structures missing, dirt, uneven light."""
    out = 1 - plane if rng.random() < 0.3 else plane
    rows, cols = plane.shape
    if rng.random() < 0.25:
        out = out.copy()
        grey = float(out.mean())
        for _ in range(int(rng.integers(1, 5))):
            at = (int(rng.integers(cols)), int(rng.integers(rows)))
            axes = tuple(int(a) for a in rng.uniform(0.02, 0.13, 2) * cols)
            tone = grey + float(rng.normal(0, 0.3))
            cv2.ellipse(out, at, axes, float(rng.uniform(0, 180)), 0, 360, (tone,), -1, cv2.LINE_AA)
    if rng.random() < 0.1:
        slope = np.linspace(-1, 1, cols, dtype=np.float32)
        out = out + np.float32(rng.normal(0, 0.6)) * (slope[None] if rng.random() < 0.5 else slope[:, None])
    return np.asarray(out, np.float32)


def _partly(mask: Plane, rng: np.random.Generator) -> Plane:
    """Return a mask, one in six without what lies outside a smaller rectangle."""
    if rng.random() < 0.83:
        return mask
    side = len(mask)
    out = np.zeros_like(mask)
    rows, cols = (int(n) for n in rng.uniform(0.65, 1.0, 2) * side)
    top, left = (side - rows) // 2, (side - cols) // 2  # pictures of other proportions lie in the middle of the frame
    out[top : top + rows, left : left + cols] = mask[top : top + rows, left : left + cols]
    return out


__all__ = ["SHARES", "Batch", "make_batch", "make_pair"]
