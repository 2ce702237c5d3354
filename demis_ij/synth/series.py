"""Serial sections of made-up tissue: one volume, cut again and again.

The tissue is made of objects in three dimensions, grown from the seed in blocks along z, so any section can be made by
itself, is the same however long the series is, and resembles its neighbours as real sections do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.synth.fields import Seed, Streams, seeds_from
from demis_ij.synth.mishaps import Mishaps, befall
from demis_ij.synth.recipes import Recipe, recipe_of
from demis_ij.synth.volume import Volume, grey

_LARGEST = 8192
_MOST = 20000


@dataclass(frozen=True, eq=False)
class SerialSection:
    """One section of a series, and the truth about it.

    Attributes
    ----------
    number : int
        Its place in the series, from 0.
    image : ndarray of shape (rows, cols), float32
        Grey, 0 to 255, with whatever went wrong; where the section is missing, the grey of empty resin.
    clean : ndarray of shape (rows, cols), float32
        The same with nothing gone wrong: no mishap, no noise, no change of contrast.
    label : ndarray of shape (rows, cols), int32
        Which object owns each pixel, the same number in every section that it reaches; 1 is glia. Mishaps leave it
        alone.
    mask : ndarray of shape (rows, cols), uint8
        0 where the tissue is as it was, else what befell it, as a number that counts in `mishaps.NAMES`.
    what : tuple of str
        What went wrong, by the names of `Mishaps`.
    """

    number: int
    image: NDArray[np.float32]
    clean: NDArray[np.float32]
    label: NDArray[np.int32]
    mask: NDArray[np.uint8]
    what: tuple[str, ...]

    @property
    def missing(self) -> bool:
        """Whether the section was lost."""
        return "missing" in self.what


class Series(Sequence[SerialSection]):
    """Serial sections, each made when it is asked for.

    Made by `series`. Indexing and iteration give the same sections; only the blocks of tissue around the last one
    are kept in memory.

    Attributes
    ----------
    shape : tuple of int
    step_px : float
        From one section to the next, px of the picture.
    recipe : Recipe
    mishaps : Mishaps
    """

    def __init__(
        self, shape: tuple[int, int], count: int, streams: Streams, recipe: Recipe, step_px: float, mishaps: Mishaps
    ) -> None:
        self.shape, self.step_px, self.recipe, self.mishaps = shape, step_px, recipe, mishaps
        self._count, self._volume = count, Volume(shape, streams, recipe)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> SerialSection: ...
    @overload
    def __getitem__(self, number: slice) -> list[SerialSection]: ...
    def __getitem__(self, number: int | slice) -> SerialSection | list[SerialSection]:
        if isinstance(number, slice):
            return [self[k] for k in range(*number.indices(self._count))]
        if not -self._count <= number < self._count:
            msg = f"a series of {self._count} sections has no section {number}"
            raise IndexError(msg)
        return self._make(number % self._count)

    def label(self, number: int) -> NDArray[np.int32]:
        """Return only the labels of a section, for half the time."""
        return self._volume.labels(range(self._count)[number] * self.step_px)

    def _make(self, number: int) -> SerialSection:
        look, mishaps, streams = self.recipe.look, self.mishaps, self._volume.streams
        stain, label = self._volume.section(number * self.step_px)
        clean = grey(stain, look)
        rng = streams.rng(100, number)
        worse, mask, what = befall(stain, mishaps, streams, number, look.scale)
        if rng.random() < mishaps.missing:
            worse, mask, what = np.zeros_like(stain), np.zeros_like(mask), ("missing",)
        image = grey(worse, look) if what else clean
        gain, offset = 1 + mishaps.contrast * rng.standard_normal(), mishaps.contrast * rng.standard_normal()
        middle = np.float32((look.dark + look.light) / 2)
        if mishaps.contrast:
            image = (image - middle) * np.float32(gain) + np.float32(middle + offset * abs(look.dark - look.light))
        if mishaps.noise:
            image = image + np.float32(mishaps.noise) * rng.standard_normal(image.shape, dtype=np.float32)
        return SerialSection(number, np.clip(image, 0, 255).astype(np.float32), clean, label, mask, what)


def series(
    shape: tuple[int, int],
    count: int,
    seed: Seed,
    *,
    style: str | Recipe = "tem",
    step_px: float | None = None,
    mishaps: Mishaps | None = None,
) -> Series:
    """Return serial sections of made-up tissue in three dimensions, with the labels of its objects.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols), 8 to 8192 each.
    count : int
        How many sections, 1 to 20000. Section k does not depend on it.
    seed : int or Generator
        The same seed, shape and style give the same series; a generator is advanced by one number.
    style : str or Recipe
        A name of `RECIPES`, or a recipe of your own.
    step_px : float, optional
        From one section to the next, px of the picture; the style's own when not given (10 for "tem": 40 nm).
    mishaps : Mishaps, optional
        What may go wrong with sections; nothing when not given.

    Returns
    -------
    Series
        A sequence of `SerialSection`.

    Raises
    ------
    InputError
        When an argument cannot be used.
    """
    rows, cols = int(shape[0]), int(shape[1])
    if not (8 <= rows <= _LARGEST and 8 <= cols <= _LARGEST):
        msg = f"a synthetic series has between 8 and {_LARGEST} rows and columns, found {rows} x {cols}"
        raise InputError(msg)
    if not 1 <= count <= _MOST:
        msg = f"a synthetic series has between 1 and {_MOST} sections, found {count}"
        raise InputError(msg)
    recipe = recipe_of(style)
    step = recipe.step_px * recipe.look.scale if step_px is None else float(step_px)
    if not 0.05 <= step <= 500:
        msg = f"the step from one section to the next is between 0.05 and 500 px, found {step:g}"
        raise InputError(msg)
    root = int(seeds_from(seed).generate_state(1, np.uint64)[0])
    return Series((rows, cols), int(count), Streams(root), recipe, step, mishaps or Mishaps())
