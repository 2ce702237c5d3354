"""Coarse to fine: measure, relax, release, compose; a few rounds at each level."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demis_ij.align.anchoring import released
from demis_ij.align.evidence import Comparison, Series, pairs_of
from demis_ij.align.grids import Grid, continued, pulled
from demis_ij.align.memory import Memory
from demis_ij.align.relaxing import Measured, relaxed
from demis_ij.align.results import PairEvidence, Round
from demis_ij.config.aligning import AlignConfig
from demis_ij.fields import unfolded
from demis_ij.records import Offsets

Progress = Callable[[str, int, int], None]
_WHAT = "pairs compared"


@dataclass(frozen=True, eq=False)
class Relaxed:
    """Where the relaxation ended.

    Attributes
    ----------
    offsets : ndarray of shape (n, 2, rows, cols), float32
        What each section's field adds at the nodes, px.
    changed_frac : tuple of float
        Share of each section's nodes that had to be changed so that nothing folds.
    pairs : tuple of PairEvidence
        Of the last round; numbers are those of the series.
    rounds : tuple of Round
        All rounds.
    """

    offsets: Offsets
    changed_frac: tuple[float, ...]
    pairs: tuple[PairEvidence, ...]
    rounds: tuple[Round, ...]


def comparison_at(
    series: Series, level: int, levels: Sequence[int], sigma_px: float, config: AlignConfig
) -> Comparison:
    """Return what measures pairs at a level, set up as the config says."""
    return Comparison(
        series,
        level,
        sigma_px=sigma_px,
        consistent_px=config.consistent_px,
        block_px=config.block_px,
        threads=config.threads or os.cpu_count() or 1,
        coarsest=level == levels[0],
    )


def relax_stack(
    series: Series, z: Sequence[float], levels: Sequence[int], sigma_px: float, config: AlignConfig, memory: Memory,
    tell: Progress,
) -> Relaxed:  # fmt: skip
    """Return the fields that align all sections of a series with each other.

    Parameters
    ----------
    series : Series
        Usable sections, roughly in place.
    z : sequence of float
        Their numbers.
    levels : sequence of int
        Reductions, the coarsest first.
    sigma_px : float
        Smoothness, px of the sections.
    config : AlignConfig
        Rounds, neighbours, anchors.
    memory : Memory
        Rounds that were done already.
    tell : callable
        Progress.
    """
    state = _State.of(memory, (len(series.index), 2, *series.grid.nodes))
    pairs = pairs_of(z, config.neighbours)
    planned = [(q, k) for n, q in enumerate(levels) for k in range(config.rounds[min(n, len(config.rounds) - 1)])]
    for done, (level, _) in enumerate(planned):
        if done < state.done or level == state.settled:
            continue
        comparison = comparison_at(series, level, levels, sigma_px, config)
        measured = comparison.measure(state.offsets, pairs, _counted(tell, done, len(planned)))
        new, misfit = one_round(state.offsets, measured, series.grid, config)
        state = state.after(level, done + 1, new, measured, misfit, config.settled_px)
        state.keep(memory)
    tell(_WHAT, len(planned) * len(pairs), len(planned) * len(pairs))
    whole = [unfolded(o, series.grid.stride, config.min_jacobian) for o in state.offsets]
    changed = tuple(c for _, c in whole)
    return Relaxed(np.stack([o for o, _ in whole]), changed, state.pairs, state.rounds)


def _counted(tell: Progress, done: int, planned: int) -> Callable[[int, int], None]:
    """Return what is told that some of the pairs of a round are compared."""
    return lambda pair, pairs: tell(_WHAT, done * pairs + pair, planned * pairs)


@dataclass(frozen=True, eq=False)
class _State:
    """Where the relaxation is: what an interrupted one goes on from."""

    offsets: Offsets
    done: int = 0
    settled: int = 0
    pairs: tuple[PairEvidence, ...] = ()
    rounds: tuple[Round, ...] = ()

    @classmethod
    def of(cls, memory: Memory, shape: tuple[int, ...]) -> _State:
        """Return what is remembered, or the beginning."""
        kept = memory.get("rounds")
        if kept is None or kept["offsets"].shape != shape:
            return cls(np.zeros(shape, np.float32))
        pairs = tuple(PairEvidence(int(i), int(j), *(float(v) for v in rest)) for i, j, *rest in kept["pairs"])
        rounds = tuple(Round(int(q), *(float(v) for v in rest)) for q, *rest in kept["rounds"])
        return cls(kept["offsets"], int(kept["at"][0]), int(kept["at"][1]), pairs, rounds)

    def keep(self, memory: Memory) -> None:
        """Remember it."""
        pairs = [(p.fixed, p.moving, p.consistent_frac, p.displacement_px, p.misfit_px) for p in self.pairs]
        rounds = [(r.level, r.moved_px, r.misfit_px, r.consistent_frac) for r in self.rounds]
        at = np.array([self.done, self.settled])
        memory.put("rounds", {"offsets": self.offsets, "at": at, "pairs": np.array(pairs), "rounds": np.array(rounds)})

    def after(
        self, level: int, done: int, offsets: Offsets, measured: Sequence[Measured], misfit: Sequence[float],
        settled_px: float,
    ) -> _State:  # fmt: skip
        """Return where it is after one more round."""
        moved = float(np.sqrt(((offsets - self.offsets) ** 2).sum(axis=1).mean()))
        pairs = tuple(_told(m, x) for m, x in zip(measured, misfit, strict=True))
        settled = level if moved < settled_px * level else 0
        return _State(offsets, done, settled, pairs, (*self.rounds, _round(level, moved, pairs)))


def one_round(
    offsets: Offsets, measured: Sequence[Measured], grid: Grid, config: AlignConfig
) -> tuple[Offsets, list[float]]:
    """Return where sections lie after what was measured, and the misfit of each pair."""
    steps, misfit = relaxed(offsets, measured)
    known = np.zeros((len(offsets), *grid.nodes), np.float32)
    for pair in measured:
        known[pair.fixed] += pair.weight
        known[pair.moving] += pair.weight
    positions = np.stack(
        [continued(pulled(o, d, grid.stride), k) for o, d, k in zip(offsets, steps, known, strict=True)]
    )
    most = config.tissue_step_frac * min(grid.shape)
    new, _ = released(positions, anchor=config.anchor, follow=config.follow, most_step_px=most)
    return np.stack([unfolded(o, grid.stride, config.min_jacobian)[0] for o in new]), misfit


def _told(measured: Measured, misfit: float) -> PairEvidence:
    length: NDArray[np.float32] = np.hypot(*measured.offsets)
    return PairEvidence(measured.fixed, measured.moving, measured.consistent_frac, float(np.median(length)), misfit)


def _round(level: int, moved: float, pairs: Sequence[PairEvidence]) -> Round:
    if not pairs:
        return Round(level, moved, 0.0, 0.0)
    misfit, consistent = (np.mean([getattr(p, name) for p in pairs]) for name in ("misfit_px", "consistent_frac"))
    return Round(level, moved, float(misfit), float(consistent))
