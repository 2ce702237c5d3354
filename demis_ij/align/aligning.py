"""The story of aligning: a stack goes in, a warp for each section comes out, with a verdict for each.

::

    prepare (read, mask, even out, reduce; what cannot be compared is left to be bridged)
      ─▶ put in place (turns and shifts, only where neighbours do not fit as they lie)
      ─▶ leave out (what shows something else than both its neighbours is left to be bridged)
      ─▶ relax (evidence between neighbours, one solve for all sections; coarse to fine)
      ─▶ judge (no better than doing nothing: the field is dropped) ─▶ bridge
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demis_ij.align.bridging import bridged_motions, bridged_offsets
from demis_ij.align.chains import chained, chosen_aligner, paper_series
from demis_ij.align.coarse import put_in_place
from demis_ij.align.evidence import Comparison, Series
from demis_ij.align.grids import Grid, levels_of
from demis_ij.align.joint import Relaxed, comparison_at, relax_stack
from demis_ij.align.likeness import foreign_sections
from demis_ij.align.memory import Memory
from demis_ij.align.repeats import with_repeats
from demis_ij.align.results import AlignResult, PairEvidence, placed
from demis_ij.align.sections import ArraySections, Looked, Pyramid, Sections, StackSections, prepare
from demis_ij.align.steadying import steadied
from demis_ij.align.verdicts import Judged, judged
from demis_ij.align.wording import section_verdicts, warnings_of
from demis_ij.config.aligning import AlignConfig
from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.errors import InputError
from demis_ij.fields import unfolded
from demis_ij.geometry import Box
from demis_ij.records import Affine, Field, Offsets, Stack

Progress = Callable[[str, int, int], None]
_SMOOTHNESS_FRAC = 0.024  # of the shorter side
_WINDOW_FRAC = 1 / 15
_FOREIGN = "hardly like its neighbours, while these are like each other"


def align(
    stack: Stack | Sequence[NDArray[Any]] | Sections,
    config: AlignConfig | None = None,
    *,
    masks: Sequence[NDArray[np.bool_]] | None = None,
    ssemnet: SsemnetConfig | None = None,
    memory: Memory | None = None,
    memory_bytes: int = 1 << 30,
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> AlignResult:
    """Return one warp a section, so that the sections of a volume lie on each other.

    Parameters
    ----------
    stack : Stack, sequence of ndarray of shape (H, W), or Sections
        The sections, in order.
    config : AlignConfig, optional
        How to work.
    masks : sequence of ndarray of shape (H, W), bool, optional
        Of arrays only: True where they are data.
    ssemnet : SsemnetConfig, optional
        Settings of the paper's method, for ``method = "ssemnet"``.
    memory : Memory, optional
        What an earlier, interrupted call has done.
    memory_bytes : int
        Prepared sections that need more than this are kept in files.
    scratch : Path, optional
        Where those files go; a temporary folder when not given. They are removed at the end.
    progress : callable, optional
        Told what is being done, how much of it is, and how much there is.

    Raises
    ------
    InputError
        When there are no two sections that can be compared, a setting does not fit the sections' size, or the method
        is unknown. A single section that cannot be read, is blank or almost empty is a flagged section.
    """
    sections = _sections(stack, masks)
    config, tell = config or AlignConfig(), progress or (lambda _what, _done, _all: None)
    if len(sections.ids) < 2:
        msg = f"a stack of one section ({sections.ids[0]}) has nothing to be aligned with: two are needed"
        raise InputError(msg)
    if config.aligner:
        chosen_aligner(config)  # what it lacks is said now, not after the sections were read
    work = _Work(sections, config, ssemnet or SsemnetConfig(), memory or Memory(), tell, {})
    with tempfile.TemporaryDirectory(prefix="demis_ij-", dir=scratch) as folder:
        finest = work.levels[-1]
        pixels = sum(r * c for r, c in map(sections.shape, range(len(sections.ids)))) / finest**2
        too_large = 2.7 * pixels > memory_bytes
        pyramid = Pyramid(Path(folder) if too_large else None)
        try:
            return work.run(pyramid)
        finally:
            pyramid.close()


def _sections(stack: Any, masks: Sequence[NDArray[np.bool_]] | None) -> Sections:
    """Return where sections come from. Raises `InputError`."""
    if isinstance(stack, Stack):
        return StackSections(stack)
    if isinstance(stack, Sequence | np.ndarray):
        return ArraySections(list(stack), masks)
    found: Sections = stack
    return found


@dataclass(frozen=True, eq=False)
class _Solved:
    """What a method found for the sections of a series."""

    offsets: Offsets
    changed_frac: tuple[float, ...]
    relaxed: Relaxed | None = None
    losses: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, eq=False)
class _Work:
    """What every step needs."""

    sections: Sections
    config: AlignConfig
    ssemnet: SsemnetConfig
    memory: Memory
    tell: Progress
    timings: dict[str, float]

    def run(self, pyramid: Pyramid) -> AlignResult:
        """Return the aligned stack."""
        shape, levels = self._usual_shape(), self.levels
        with _timed(self.timings, "prepare"):
            looked = self._prepare(pyramid, levels, shape)
        usable = tuple(i for i, seen in enumerate(looked) if not seen.problem)
        if len(usable) < 2:
            first = next(s.problem for s in looked if s.problem)
            msg = (
                f"{len(usable)} of {len(looked)} sections can be compared, 2 are needed; the first that cannot: {first}"
            )
            raise InputError(msg)
        sigma, stride = self._smoothness(shape)
        with _timed(self.timings, "put in place"):
            motion, notes = self._put_in_place(pyramid, usable, looked, levels, (sigma, stride))
            canvas = self._canvas(motion, looked)
            series = self._series(pyramid, usable, motion, Grid(canvas.shape, stride), canvas)
            series, looked = self._without_foreign(series, looked, levels, sigma)
            usable = series.index
        with _timed(self.timings, self.config.method):
            solved = self._solve(series, levels, sigma)
        with _timed(self.timings, "judge"):
            moved = [_on_canvas(motion[i], canvas) for i in usable]
            offsets, verdict = self._judge(series, solved, levels, sigma, moved)
        whole = bridged_offsets(offsets, usable, self.sections.z)
        found = section_verdicts(
            self.sections, looked, motion, whole, verdict, solved.changed_frac, usable, series.grid, canvas
        )
        found = with_repeats(found, pyramid, usable, levels)
        warps = tuple(
            placed(Field(o, stride), self._placing(i, motion[i], canvas), canvas.shape, (canvas.x0, canvas.y0))
            for i, o in enumerate(whole)
        )
        pairs = tuple(replace(p, fixed=usable[p.fixed], moving=usable[p.moving]) for p in _pairs(solved))
        warnings = (*notes, *warnings_of(found))
        rounds = solved.relaxed.rounds if solved.relaxed else ()
        losses = dict(zip(usable, solved.losses, strict=True)) if solved.losses else {}
        told = tuple(losses.get(i, ()) for i in range(len(looked))) if losses else ()
        return AlignResult(warps, found, pairs, self.config, rounds, warnings, self.timings, told)

    @property
    def levels(self) -> tuple[int, ...]:
        """The reductions to compare sections at, the coarsest first."""
        return levels_of(self._usual_shape(), self.config.largest_px, self.config.coarsest_px)

    def _usual_shape(self) -> tuple[int, int]:
        """Return the (rows, cols) of the middle of all sections; their first is read if no size is known."""
        known = [s for s in map(self.sections.shape, range(len(self.sections.ids))) if min(s) > 0]
        if not known:
            msg = f"no section can be read; the first is {self.sections.ids[0]}"
            raise InputError(msg)
        rows, cols = np.median(known, axis=0).astype(int)
        return int(rows), int(cols)

    def _smoothness(self, shape: tuple[int, int]) -> tuple[float, float]:
        """Return (sigma, stride) px. Raises `InputError` when the nodes would not resolve the sections."""
        side = min(shape)
        sigma = self.config.smoothness_px or max(2.0, _SMOOTHNESS_FRAC * side)
        stride = float(self.config.stride_px or max(2, round(sigma * 2 / 3)))
        if stride > side / 2:
            msg = f"stride_px: nodes {stride:g} px apart do not resolve sections of {shape[1]}x{shape[0]} px"
            raise InputError(msg)
        return sigma, stride

    def _prepare(self, pyramid: Pyramid, levels: Sequence[int], shape: tuple[int, int]) -> list[Looked]:
        """Read every section once."""
        window = self.config.window_px or max(4.0, _WINDOW_FRAC * min(shape))
        count = len(self.sections.ids)
        looked: list[Looked] = []
        with ThreadPoolExecutor(self.config.threads or os.cpu_count() or 1) as pool:
            try:
                several = [
                    pool.submit(prepare, self.sections, i, levels, self.config, window, pyramid) for i in range(count)
                ]
                for done, one in enumerate(several):
                    self.tell("sections read", done, count)
                    looked.append(one.result())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        self.tell("sections read", count, count)
        return looked

    def _canvas(self, motion: Sequence[Affine], looked: Sequence[Looked]) -> Box:
        """Return the smallest box of whole world px that holds all sections."""
        corners = []
        for move, to_world, (rows, cols) in zip(motion, self.sections.to_world, (s.shape for s in looked), strict=True):
            if min(rows, cols) > 0:
                at = np.array([[0, 0], [cols - 1, 0], [cols - 1, rows - 1], [0, rows - 1]], np.float64)
                corners.append((move @ to_world)(at))
        points = np.concatenate(corners)
        low, high = np.floor(points.min(axis=0) + 1e-6), np.ceil(points.max(axis=0) - 1e-6)
        return Box(int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1)

    def _placing(self, index: int, motion: Affine, canvas: Box) -> Affine:
        """Return the map from canvas px to px of a section."""
        return (motion @ self.sections.to_world[index]).inverse @ Affine.translation(canvas.x0, canvas.y0)

    def _series(
        self, pyramid: Pyramid, usable: tuple[int, ...], motion: Sequence[Affine], grid: Grid, canvas: Box
    ) -> Series:
        placing = tuple(self._placing(i, motion[i], canvas) for i in usable)
        return Series(pyramid, usable, placing, grid)

    def _put_in_place(
        self, pyramid: Pyramid, usable: tuple[int, ...], looked: Sequence[Looked], levels: Sequence[int],
        smoothness: tuple[float, float],
    ) -> tuple[tuple[Affine, ...], tuple[str, ...]]:  # fmt: skip
        """Return how every section is turned and shifted in the world before anything bends, and what to say of it."""
        still = (Affine(),) * len(looked)
        if self.config.coarse == "none":
            return still, ()
        kept = self.memory.get("placed")
        if kept is not None:
            earlier = tuple(Affine(*(float(v) for v in row)) for row in kept["motion"])
            return earlier, tuple(str(n) for n in kept["notes"])
        self.tell("turns and shifts", 0, 1)
        canvas = self._canvas(still, looked)
        series = self._series(pyramid, usable, still, Grid(canvas.shape, smoothness[1]), canvas)
        names = [self.sections.ids[i] for i in usable]
        worlds = [self.sections.to_world[i] for i in usable]

        def compare(some: Series) -> Comparison:
            return comparison_at(some, levels[0], levels, smoothness[0], self.config)

        found = put_in_place(series, names, worlds, levels, self.config, compare)
        moved = found.motion
        if self.config.method == "joint":
            there = [m @ w for m, w in zip(moved, worlds, strict=True)]
            steady = steadied(series, there, levels, self.config.anchor)
            moved = tuple(s @ m for s, m in zip(steady, moved, strict=True))
        motion = bridged_motions(moved, usable, self.sections.z, canvas)
        rows = np.array([[m.a, m.b, m.c, m.d, m.tx, m.ty] for m in motion])
        self.memory.put("placed", {"motion": rows, "notes": np.array(found.notes, dtype=np.str_)})
        self.tell("turns and shifts", 1, 1)
        return motion, found.notes

    def _without_foreign(
        self, series: Series, looked: Sequence[Looked], levels: Sequence[int], sigma: float
    ) -> tuple[Series, list[Looked]]:
        """Return a series without the sections that show something else, and what is to be said of those."""
        if self.config.method != "joint":
            return series, list(looked)  # a baseline is shown as it is
        foreign = foreign_sections(series, lambda some: comparison_at(some, levels[0], levels, sigma, self.config))
        kept = [k for k in range(len(series.index)) if k not in foreign]
        said = {series.index[k]: replace(looked[series.index[k]], problem=_FOREIGN) for k in foreign}
        index, placing = tuple(series.index[k] for k in kept), tuple(series.placing[k] for k in kept)
        return replace(series, index=index, placing=placing), [said.get(i, seen) for i, seen in enumerate(looked)]

    def _solve(self, series: Series, levels: Sequence[int], sigma: float) -> _Solved:
        """Return the fields of the sections of a series by the method of the config."""
        z = [self.sections.z[i] for i in series.index]
        if self.config.method == "joint":
            relaxed = relax_stack(series, z, levels, sigma, self.config, self.memory, self.tell)
            return _Solved(relaxed.offsets, relaxed.changed_frac, relaxed)
        losses: tuple[tuple[float, ...], ...] = ()
        if self.config.method == "ssemnet":
            found, losses = paper_series(series, levels[-1], self.ssemnet, self.tell)
        else:
            found = chained(series, levels[-1], self.config, self.tell)
        whole = [unfolded(o, series.grid.stride, self.config.min_jacobian) for o in found]
        return _Solved(np.stack([o for o, _ in whole]), tuple(c for _, c in whole), losses=losses)

    def _judge(
        self, series: Series, solved: _Solved, levels: Sequence[int], sigma: float, motion: Sequence[Affine]
    ) -> tuple[Offsets, Judged]:
        """Return the fields, those dropped that did not help, and what was found of each section."""
        level = levels[-2] if len(levels) > 1 else levels[-1]
        self.tell("sections judged", 0, 1)
        comparison: Comparison = comparison_at(series, level, levels, sigma, self.config)
        verdict = judged(series, solved.offsets, self.config.neighbours, comparison, motion)
        self.tell("sections judged", 1, 1)
        if self.config.method != "joint":
            return solved.offsets, verdict  # a baseline is shown as it is
        return np.where(verdict.no_better[:, None, None, None], np.float32(0), solved.offsets), verdict


def _on_canvas(motion: Affine, canvas: Box) -> Affine:
    """Return a motion of the world as one of canvas px; exactly none when it is none."""
    if motion == Affine():
        return motion
    to_world = Affine.translation(canvas.x0, canvas.y0)
    return to_world.inverse @ motion @ to_world


def _pairs(solved: _Solved) -> tuple[PairEvidence, ...]:
    return solved.relaxed.pairs if solved.relaxed else ()


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        timings[name] = timings.get(name, 0.0) + time.perf_counter() - began
