"""ssEMnet (Yoo et al. 2017, arXiv:1707.07833): a vector map is found by backpropagation through learned features.

`align_series` is the method of the paper on a series of sections, out of core: each section against its neighbours
that are aligned already. `align_window` is one step of it: one section against any weighted references.
`SsemnetAligner` is its pairwise form. The loss is in `demis_ij.nets.ssemnet_loss`, the transformer in
`demis_ij.nets.spatial_transformer`, the features in `demis_ij.nets.ssemnet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.aligners.ssemnet_registering import Registration, Task, registered
from demis_ij.aligners.ssemnet_sections import Engine, Section, at_level, reduction
from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.errors import InputError
from demis_ij.nets.ssemnet import Autoencoder
from demis_ij.records import Affine, Field, Warp

Read = Callable[[int], tuple[NDArray[Any], NDArray[np.bool_]]]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Reference:
    """A section that lies where it should, on the canvas of the one to be aligned.

    Attributes
    ----------
    image, mask : ndarray of shape (H, W)
        Grey values of any type, and True where they are data.
    weight : float
        w_i of eq. 5.
    """

    image: NDArray[Any]
    mask: NDArray[np.bool_]
    weight: float = 1.0


def align_series(
    read: Read,
    count: int,
    config: SsemnetConfig,
    *,
    references: Sequence[Reference] = (),
    net: Autoencoder | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Iterator[Registration]:
    """Align a series by the method of the paper: a window of neighbours slides along it, and only it is in memory.

    With ``sides = "before"`` the first section stays where it is, unless there are ``references``; every other is
    brought onto the ``neighbours`` before it, which are aligned already. With ``sides = "both"`` sections after it
    count, too, as they stand, and the series is gone through ``sweeps`` times. With a ``batch`` above 1 all sweeps but
    the first take sections together that do not look at each other.

    Parameters
    ----------
    read : callable
        Section number, from 0, to (image (H, W), mask (H, W)), all on one canvas and roughly in place. It is called
        again for each sweep and, with both sides, for each neighbour after a section.
    count : int
        How many sections.
    config : SsemnetConfig
    references : sequence of Reference
        Sections that every section is compared with besides its neighbours; none in the paper.
    net : Autoencoder, optional
        As in `Engine`.
    progress : callable
        What is being done, how much of it is, and how much there is.

    Yields
    ------
    Registration
        One for each section, in order. A section without data has a field of NaN; the next ones are aligned over it.

    Raises
    ------
    InputError
        When a section has another size than the first.
    """
    engine = Engine(config, net)
    fixed = tuple((engine.section(r.image, r.mask), r.weight) for r in references)
    before: list[Registration | None] = [None] * count
    for sweep in range(config.sweeps):

        def tell(done: int, sweep: int = sweep) -> None:
            progress("sections aligned", sweep * count + done, config.sweeps * count)

        last = sweep == config.sweeps - 1
        if config.batch > 1 and sweep > 0:
            before[:] = _batched_sweep(engine, read, [b for b in before if b is not None], fixed, config.batch, tell)
            if last:
                yield from (b for b in before if b is not None)
            continue
        for k, found in enumerate(_sweep(engine, read, count, fixed, before)):
            before[k] = found
            tell(k + 1)
            if last:
                yield found


def _sweep(
    engine: Engine,
    read: Read,
    count: int,
    fixed: tuple[tuple[Section, float], ...],
    before: Sequence[Registration | None],
) -> Iterator[Registration]:
    """Align every section once, in order, from where the last sweep left it."""
    config = engine.config
    window: list[tuple[int, Section]] = []
    ahead: dict[int, Section] = {}
    shape: tuple[int, ...] | None = None
    for k in range(count):
        section = ahead.pop(k) if k in ahead else engine.section(*read(k))
        shape = shape or section.shape
        if section.shape != shape:
            msg = f"section {k} has {section.shape} px, needed {shape} as the first: put all on one canvas"
            raise InputError(msg)
        neighbours = [(s, config.neighbour_decay ** (abs(k - j) - 1)) for j, s in window]
        if config.sides == "both":
            for j in range(k + 1, min(count, k + 1 + config.neighbours)):
                ahead.setdefault(j, engine.section(*read(j)))
                earlier = before[j]
                there = ahead[j] if earlier is None else ahead[j].moved(earlier.field)
                neighbours.append((there, config.neighbour_decay ** (j - k - 1)))
        earlier = before[k]
        (found,) = registered([Task(section, (*neighbours, *fixed), earlier.field if earlier else None)])
        yield found
        if not section.blank and found.field.known.any():
            window = [*window, (k, section.moved(found.field))][-config.neighbours :]


def _batched_sweep(
    engine: Engine,
    read: Read,
    before: Sequence[Registration],
    fixed: tuple[tuple[Section, float], ...],
    batch: int,
    tell: Callable[[int], None],
) -> list[Registration]:
    """Align every section once more, those together that are no neighbours of each other.

    Of the sections with data every (neighbours + 1)-th is aligned against the others as they stand, then every one
    after these, and so on: Gauss-Seidel in colours. ``batch`` of a colour are in memory at a time, with their
    neighbours; which ones are together makes no difference.
    """
    config, out = engine.config, list(before)
    usable = [k for k, b in enumerate(before) if b.field.known.any()]
    apart, done = config.neighbours + 1, len(before) - len(usable)
    for colour in range(apart):
        same = range(colour, len(usable), apart)
        for first in range(0, len(same), batch):
            chosen = same[first : first + batch]
            sections: dict[int, Section] = {}
            tasks = []
            for place in chosen:
                near = range(max(0, place - config.neighbours), min(len(usable), place + config.neighbours + 1))
                for k in (usable[n] for n in near if usable[n] not in sections):
                    sections[k] = engine.section(*read(k))
                references = [
                    (sections[j].moved(out[j].field), config.neighbour_decay ** (abs(j - usable[place]) - 1))
                    for j in (usable[n] for n in near if n != place)
                ]
                tasks.append(Task(sections[usable[place]], (*references, *fixed), out[usable[place]].field))
            for place, found in zip(chosen, registered(tasks), strict=True):
                out[usable[place]] = found
            done += len(chosen)
            tell(done)
    return out


def align_window(
    moving: NDArray[Any],
    mask: NDArray[np.bool_],
    references: Sequence[Reference],
    config: SsemnetConfig,
    *,
    start: Affine | Field | Warp | None = None,
    net: Autoencoder | None = None,
    engine: Engine | None = None,
) -> Registration:
    """Bring one section onto weighted references: eq. 5, once.

    Parameters
    ----------
    moving, mask : ndarray of shape (H, W)
        The section, and True where it has data.
    references : sequence of Reference
        Sections of the same size; without any the section stays where it is.
    config : SsemnetConfig
    start : Affine, Field or Warp, optional
        Where to begin. alpha pulls towards the identity, not towards this.
    net : Autoencoder, optional
        As in `Engine`.
    engine : Engine, optional
        Made before, for many windows; settings and net are then its own.

    Raises
    ------
    InputError
        When sizes differ.
    """
    own = engine or Engine(config, net)
    for image in [mask, *(a for r in references for a in (r.image, r.mask))]:
        if image.shape != moving.shape:
            msg = f"an image or mask of {image.shape} px stands beside one of {moving.shape}: one size is needed"
            raise InputError(msg)
    told = tuple((own.section(r.image, r.mask), r.weight) for r in references)
    (found,) = registered([Task(own.section(moving, mask), told, start)])
    return found


class SsemnetAligner:
    """The pairwise form: eq. 4, as an `Aligner`.

    Parameters
    ----------
    config : SsemnetConfig, optional
    net : Autoencoder, optional
        As in `Engine`.
    """

    name = "ssemnet"

    def __init__(self, config: SsemnetConfig | None = None, net: Autoencoder | None = None) -> None:
        self._engine = Engine(config or SsemnetConfig(), net)

    def __call__(
        self,
        fixed: NDArray[Any],
        moving: NDArray[Any],
        fixed_mask: NDArray[np.bool_],
        moving_mask: NDArray[np.bool_],
    ) -> Field:
        """Return the field that leads from pixels of ``fixed`` to points of ``moving``; NaN when either is blank."""
        reference = Reference(fixed, fixed_mask)
        config, own = self._engine.config, self._engine
        found = align_window(moving, moving_mask, [reference], config, engine=own).field
        if own.section(fixed, fixed_mask).blank:
            return Field(np.full_like(found.offsets, np.nan), found.stride)
        return found


__all__ = [
    "Engine", "Reference", "Registration", "SsemnetAligner", "align_series", "align_window", "at_level", "reduction",
]  # fmt: skip
