"""Pairs of images from unlike instruments: every pair by every method, against the transform that is known.

**Error**: mean distance of the four corners of the fixed image from where they belong, px of the moving image. A pair
*fails* above 10 px, or when it is refused. Strangers are pairs with nothing in common; they are *recognised* when they
are refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log

import numpy as np
from numpy.typing import NDArray

from demis_ij import __version__
from demis_ij.config import from_dict
from demis_ij.config.registering import METHODS, RegisterConfig
from demis_ij.errors import DemisError, InputError
from demis_ij.evaluate.kept import Kept
from demis_ij.evaluate.scores import RegisterScore, number
from demis_ij.images.reading import Mask
from demis_ij.records import Affine
from demis_ij.register.registering import Guess, Registrar
from demis_ij.synth.correlative_pairs import (
    KINDS,
    RANGES,
    CorrelativePair,
    corner_error_px,
    correlative_pair,
    specimen_for,
    stranger_pair,
)
from demis_ij.synth.specimens import Specimen

STRANGERS = "strangers"
SCENES = tuple(
    [f"{k}/{r}" for k in KINDS if not k.endswith("hard") for r in RANGES]
    + [f"{k}/full" for k in KINDS if k.endswith("hard")]
    + [STRANGERS]
)
"""Kind of instrument and range, by name; hard kinds are at the full range only."""
Progress = Callable[[str, int, int], None]
Guesser = Callable[[RegisterConfig], Guess | None]


@dataclass(frozen=True)
class RegisterMethod:
    """A way to register, with settings, under the name it was asked for by."""

    name: str
    config: RegisterConfig


def read_method(text: str, *, threads: int = 1) -> RegisterMethod:
    """Return a method from ``NAME[,SETTING=VALUE...]``.

    Raises
    ------
    InputError
        When there is no such method or setting, or a value is out of range.

    Examples
    --------
    >>> read_method("search,reach=near").config.reach
    'near'
    """
    name, *settings = (part.strip() for part in text.split(","))
    values: dict[str, object] = {"method": name, "threads": threads}
    kinds = {k: type(v) for k, v in vars(RegisterConfig()).items()}
    for item in settings:
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or key not in kinds:
            msg = f"method {text!r}: {item!r} is not SETTING=VALUE with one of {', '.join(kinds)}"
            raise InputError(msg)
        try:
            values[key] = kinds[key](value)
        except ValueError as error:
            msg = f"method {text!r}: {key} needs a number, found {value!r}"
            raise InputError(msg) from error
    return RegisterMethod(text, from_dict(RegisterConfig, values))


def made_pair(scene: str, number_: int, side: int = 512) -> CorrelativePair:
    """Return the n-th pair of a scene; every second one of materials, the others of tissue.

    Raises
    ------
    InputError
        When there is no such scene.
    """
    if scene not in SCENES:
        msg = f"no scene {scene!r}; there are {', '.join(SCENES)}"
        raise InputError(msg)
    own = _specimen(number_, side, tissue=number_ % 2 == 1)
    if scene == STRANGERS:
        other = _specimen(number_ + 5000, side, tissue=number_ % 3 == 1)
        return stranger_pair(own, other, KINDS[number_ % len(KINDS)], number_, side=side)
    kind, span = scene.split("/")
    return correlative_pair(own, kind, RANGES[span], number_, side=side)


@lru_cache(maxsize=2)
def _specimen(number_: int, side: int, *, tissue: bool) -> Specimen:
    return specimen_for(number_, side, tissue=tissue)


def evaluate_registrations(
    scenes: Sequence[str], count: int, methods: Sequence[RegisterMethod], *, guesser: Guesser = lambda _: None,
    kept: Kept | None = None, side: int = 512, progress: Progress = lambda _what, _done, _all: None,
) -> list[RegisterScore]:  # fmt: skip
    """Return a score for every pair and method.

    Parameters
    ----------
    scenes : sequence of str
        Of `SCENES`.
    count : int
        Pairs of each.
    methods : sequence of RegisterMethod
    guesser : callable
        The network of a config, where it has one.
    kept : Kept, optional
        What was measured earlier, and is not measured again.
    side : int
        Px of the images.
    progress : callable
        Called with (what, done, all).
    """
    memory, total, done = kept or Kept(None), len(scenes) * count * len(methods), 0
    guesses = {m.name: guesser(m.config) for m in methods}
    out: list[RegisterScore] = []
    for index in range(count):  # all scenes of one specimen, for it takes longer to make than to register
        for scene in scenes:
            pair: CorrelativePair | None = None
            for method in methods:
                progress(f"{scene}: {method.name}", done, total)
                done += 1
                key = ("register", __version__, scene, index, side, method.name, repr(method))
                found = memory.get(RegisterScore, *key)
                if found is None:
                    pair = pair or made_pair(scene, index, side)
                    found = [scored(scene, index, pair, method, guesses[method.name])]
                    memory.put(found, *key)
                out += found
    out.sort(key=lambda s: (scenes.index(s.scene), s.pair))
    progress("done", total, total)
    return out


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image without its colours (red first; ITU-R BT.601)."""
    if image.ndim == 2:
        return image
    return np.rint(image[..., :3].astype(np.float32) @ np.array((0.299, 0.587, 0.114), np.float32)).astype(np.uint8)


def scored(
    scene: str, index: int, pair: CorrelativePair, method: RegisterMethod, guess: Guess | None, *,
    masks: tuple[Mask | None, Mask | None] = (None, None), measure: Callable[[Affine], float] | None = None,
) -> RegisterScore:  # fmt: skip
    """Return how a method does on a pair; its time is that of the whole, images in memory.

    Parameters
    ----------
    scene, index
        What it is filed under.
    pair : CorrelativePair
    method : RegisterMethod
    guess : callable or None
        The network, where the method has one.
    masks : tuple of ndarray or None
        Where the fixed and the moving image are data.
    measure : callable, optional
        The error of what was found, px; else that of the corners.
    """
    blank = RegisterScore(scene=scene, configuration=method.name, pair=index, stranger=pair.to_moving is None)
    cpu = time.process_time()
    try:
        wall = time.perf_counter()
        found = Registrar(pair.fixed, method.config, fixed_mask=masks[0], guess=guess)(grey(pair.moving), masks[1])
        wall = time.perf_counter() - wall
    except DemisError as error:
        return replace(blank, problem=str(error))
    error_px = None
    if found.to_moving is not None and pair.to_moving is not None:
        error_px = corner_error_px(found.to_moving, pair.to_moving, pair.fixed.shape)
        if measure is not None:
            error_px = measure(found.to_moving)
    return replace(
        blank, matched=found.matched, error_px=None if error_px is None else number(error_px),
        sigma_px=number(found.sigma_px), standing=number(found.standing) or 0.0, route=found.method,
        wall_s=wall, cpu_s=time.process_time() - cpu,
        true=parameters(pair.to_moving, pair.fixed.shape), found=parameters(found.to_moving, pair.fixed.shape),
    )  # fmt: skip


def parameters(to_moving: Affine | None, shape: tuple[int, ...]) -> tuple[float, ...]:
    """Return angle (degrees), logarithm of the scale, and the shifts x and y of the middle (parts of the field).

    Empty when there is no transform.
    """
    if to_moving is None:
        return ()
    middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    x, y = (to_moving(middle) - middle) / (shape[1], shape[0])
    return float(np.degrees(to_moving.angle)), log(to_moving.scale), float(x), float(y)


__all__ = [
    "METHODS", "SCENES", "STRANGERS", "RegisterMethod", "evaluate_registrations", "grey", "made_pair", "parameters",
    "read_method", "scored",
]  # fmt: skip
