"""Pairs: every known neighbour of every scene, shown to every configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from demis_ij.errors import InputError
from demis_ij.evaluate.configurations import Configuration
from demis_ij.evaluate.kept import Kept
from demis_ij.evaluate.scenes import Known, Pair, Source, spread_out, true_share
from demis_ij.evaluate.scores import OUTLIER_PX, PairScore, number
from demis_ij.evaluate.stitched import pair_measures
from demis_ij.images import TileStore
from demis_ij.metrics import (
    corner_error_px,
    coverage,
    missing_measures,
    overlap_error_px,
    reprojection_error_px,
    true_to_fixed,
)
from demis_ij.pairs import match_pairs, overlap_crops, view
from demis_ij.protocols import Matcher, View
from demis_ij.records import Correspondences, PairMatch, Rejected

Progress = Callable[[str, int, int], None]
Outcome = PairMatch | Rejected

BATCH = 16
"""Pairs shown to a matcher together, as in stitching."""
PICTURES = 12
"""Pairs of a scene and kind whose stitched pictures are measured."""
_DRAWN = 160  # matches of a pair that are kept for a picture


def evaluate_pairs(
    sources: Sequence[Source],
    configurations: Sequence[Configuration],
    *,
    batch: int = BATCH,
    pictures: int = PICTURES,
    kept: Kept | None = None,
    progress: Progress | None = None,
) -> list[PairScore]:
    """Return one score for each configuration, scene and pair of known neighbours.

    Parameters
    ----------
    sources : sequence of Source
        `generated`, `of_folder` or `of_dataset` make them.
    configurations : sequence of Configuration
        `read_configurations` makes them.
    batch : int
        Pairs shown to a matcher together.
    pictures : int
        Pairs of each scene and kind whose stitched pictures are measured, the same for every configuration.
    kept : Kept, optional
        What an earlier run measured; a configuration on a scene is kept when it is done.
    progress : callable, optional
        Called with (what is being done, how many pairs are done, how many there are).

    Raises
    ------
    InputError, WeightsError
        When an image or the weights cannot be used.
    """
    tell, memory = progress or (lambda _what, _done, _all: None), kept or Kept(None)
    skip = tuple(missing_measures())
    scores: list[PairScore] = []
    for source in sources:
        known: Known | None = None
        for c in configurations:
            key = ("pairs", source.fingerprint, c.fingerprint, batch, pictures, skip)
            found = memory.get(PairScore, *key)
            if found is None:
                known = known or source.load()
                found = _scene(known, c, batch, pictures, skip, tell)
                memory.put(found, *key)
            scores += [replace(s, scene=source.name, configuration=c.name) for s in found]
    return scores


@dataclass(frozen=True, eq=False)
class _Answer:
    """What came of one pair."""

    outcome: Outcome
    offered: Correspondences
    cpu_s: float
    wall_s: float


class _Recorder:
    """A matcher whose raw answers are kept."""

    def __init__(self, matcher: Matcher) -> None:
        self.name, self._matcher = matcher.name, matcher
        self.seen: list[tuple[tuple[View, View], Correspondences]] = []

    def __call__(self, fixed: View, moving: View) -> Correspondences:
        return self.batch([(fixed, moving)])[0]

    def batch(self, pairs: Sequence[tuple[View, View]]) -> list[Correspondences]:
        answers = self._matcher.batch(pairs)
        self.seen += zip(pairs, answers, strict=True)
        return answers


def _scene(
    known: Known, c: Configuration, batch: int, pictures: int, skip: Sequence[str], tell: Progress
) -> list[PairScore]:
    store = known.store(c.stitch.clahe_clip)
    for tile in known.layout:  # loading and normalising is no part of a pair's time
        store.normalised(tile)
        store.mask(tile)
    matchers = c.matchers()
    match_pairs(store, known.layout, known.pairs[:1], matchers[0], c.stitch)  # nor is what is done once a process
    label, total = f"{c.name} on {known.name}", len(known.pairs)
    shown = {*spread_out(known.textured, pictures), *spread_out(known.weak, pictures)}
    tell(label, 0, total)
    scores: list[PairScore] = []
    for start in range(0, total, batch):
        some = known.pairs[start : start + batch]
        for pair, answer in zip(some, _answers(store, known, some, matchers, c), strict=True):
            score = _score(known, pair, answer, c)
            if pair in shown and isinstance(answer.outcome, PairMatch):
                score = replace(score, measures=pair_measures(known, store, pair, answer.outcome.to_fixed, skip))
            scores.append(score)
            tell(label, len(scores), total)
    return scores


def _answers(
    store: TileStore, known: Known, pairs: Sequence[Pair], matchers: Sequence[Matcher], c: Configuration
) -> list[_Answer]:
    """Return what one matcher after another makes of some pairs; each is asked about what is still open."""
    answers: dict[Pair, _Answer] = {}
    for matcher in matchers:
        pending = [p for p in pairs if p not in answers or isinstance(answers[p].outcome, Rejected)]
        if not pending:
            break
        recorder = _Recorder(matcher)
        wall, cpu = time.perf_counter(), time.process_time()
        outcomes = match_pairs(store, known.layout, pending, recorder, c.stitch)
        cpu, wall = (time.process_time() - cpu) / len(pending), (time.perf_counter() - wall) / len(pending)
        offered = _offered(store, known, pending, recorder, c)
        for pair, outcome, found in zip(pending, outcomes, offered, strict=True):
            before = answers.get(pair)
            spent = (before.cpu_s, before.wall_s) if before else (0.0, 0.0)
            answers[pair] = _Answer(outcome, found, spent[0] + cpu, spent[1] + wall)
    return [answers[p] for p in pairs]


def _offered(
    store: TileStore, known: Known, pairs: Sequence[Pair], recorder: _Recorder, c: Configuration
) -> Iterator[Correspondences]:
    """Yield for each pair what the matcher offered, in px of the tiles; none where it was not asked."""
    seen = iter(recorder.seen)
    held = next(seen, None)
    for pair in pairs:
        fixed, moving = known.layout[pair[0]], known.layout[pair[1]]
        crops = overlap_crops(fixed, moving, c.stitch.stage_error_frac * max(*fixed.shape, *moving.shape))
        if crops is None or held is None:
            yield Correspondences.none()
            continue
        try:
            views = view(store, fixed, crops[0]), view(store, moving, crops[1])
        except InputError:
            yield Correspondences.none()
            continue
        if not all(np.array_equal(a.image, b.image) for a, b in zip(views, held[0], strict=True)):
            yield Correspondences.none()  # this pair was never shown: too little data in the overlap
            continue
        answer = held[1]
        yield Correspondences(crops[0].to_tile(answer.fixed_xy), crops[1].to_tile(answer.moving_xy), answer.score)
        held = next(seen, None)


def _score(known: Known, pair: Pair, answer: _Answer, c: Configuration) -> PairScore:
    outcome, offered, truth = answer.outcome, answer.offered, true_to_fixed(known.truth, *pair)
    off = reprojection_error_px(offered.fixed_xy, offered.moving_xy, truth)
    score = PairScore(
        scene=known.name,
        configuration=c.name,
        fixed=pair[0],
        moving=pair[1],
        kind=known.kind(pair),
        accepted=isinstance(outcome, PairMatch),
        reason=outcome.reason if isinstance(outcome, Rejected) else "",
        matcher=outcome.matcher,
        matches=len(offered),
        outliers=int((off > OUTLIER_PX).sum()),
        reprojection_all_px=number(off.mean()) if len(off) else None,
        overlap_share=round(true_share(known, pair), 4),
        coverage=0.0,
        cpu_s=round(answer.cpu_s, 6),
        wall_s=round(answer.wall_s, 6),
        drawn=_drawn(offered, off),
    )
    if isinstance(outcome, Rejected):
        return score
    shapes = known.layout[pair[0]].shape, known.layout[pair[1]].shape
    held = outcome.every or Correspondences(outcome.fixed_xy, outcome.moving_xy, np.ones(len(outcome.fixed_xy)))
    right = reprojection_error_px(held.fixed_xy, held.moving_xy, truth)
    error = overlap_error_px(outcome.to_fixed, known.truth, *pair)
    return replace(
        score,
        inliers=outcome.inliers,
        reprojection_inliers_px=number(right.mean()),
        corner_px=tuple(round(float(e), 6) for e in corner_error_px(outcome.to_fixed, known.truth, *pair)),
        overlap_error_px=number(error),
        coverage=number(coverage(held.fixed_xy, held.moving_xy, truth, *shapes)),
        drawn=_drawn(held, right),
    )


def _drawn(found: Correspondences, off: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Return some matches, spread over the errors, worst last."""
    order = np.argsort(off)
    pick = order[np.unique(np.linspace(0, len(order) - 1, min(_DRAWN, len(order))).round().astype(int))]
    rows = np.column_stack([found.fixed_xy[pick], found.moving_xy[pick], off[pick]])
    return tuple(tuple(round(float(v), 2) for v in row) for row in rows)
