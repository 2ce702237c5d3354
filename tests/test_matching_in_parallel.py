"""Pairs matched by workers: the same outcomes as without them; a worker that dies takes one pair with it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from dying_matcher import DEADLY, MARK

from demis_ij import synth
from demis_ij.config import StitchConfig
from demis_ij.errors import WeightsError
from demis_ij.images import TileStore, with_shapes
from demis_ij.pairs import neighbours
from demis_ij.pools import open_pool, processes
from demis_ij.records import PairMatch, Rejected
from demis_ij.runs import MatchStore
from demis_ij.stitch import Memory, asking, match_first, stitch
from demis_ij.stitch.asking import along_curve, in_batches
from demis_ij.synth import GridSpec
from demis_ij.testing.grids import make_grid

SIFT = StitchConfig(matcher="sift")


@pytest.fixture(scope="module")
def two():
    with open_pool(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    spec = GridSpec(rows=4, cols=4, tile_px=160, overlap=0.35, shift_frac=0.02, noise_sd=4, stage_error_frac=0.0)
    scene = synth.make_scene(spec, 5)
    folder = tmp_path_factory.mktemp("scene")
    synth.write_scene(scene, folder)
    tiles = []
    for tile in scene.layout:
        path = folder / f"{tile.id}.png"
        cv2.imwrite(str(path), scene.images[tile.id])
        tiles.append(replace(tile, path=path))
    return replace(scene.layout, tiles=tuple(tiles))


def told(outcomes):
    def one(o):
        if isinstance(o, Rejected):
            return o
        arrays = (o.fixed_xy, o.moving_xy, o.to_fixed, o.covariance)
        return (o.fixed, o.moving, o.matcher, o.matches, o.tried, o.residual_px, *(a.tobytes() for a in arrays))

    return [one(o) for o in outcomes]


def test_two_workers_say_what_one_says_to_the_bit(two, layout):
    one, other = (stitch(layout, SIFT, pool=pool) for pool in (None, two))
    assert told(one.pairs) == told(other.pairs)
    assert sum(isinstance(p, PairMatch) for p in one.pairs) > 20
    assert one.solution.layout == other.solution.layout
    assert one.warnings == other.warnings


def test_what_workers_find_is_remembered_and_not_asked_again(two, layout, tmp_path, monkeypatch):
    pairs = neighbours(layout)[:14]
    memory = MatchStore(tmp_path / "0")
    first = match_first(layout, pairs[:9], SIFT, memory=memory, pool=two)
    asked = []
    real = asking.match_pairs
    monkeypatch.setattr(
        asking, "match_pairs", lambda s, t, some, *a, **k: asked.extend(some) or real(s, t, some, *a, **k)
    )
    whole = match_first(layout, pairs, SIFT, memory=MatchStore(tmp_path / "0"))
    assert sorted(asked) == sorted(pairs[9:])
    assert told(whole[:9]) == told(first)
    assert told(whole) == told(match_first(layout, pairs, SIFT, memory=Memory()))


def test_progress_is_told_batch_by_batch(two, layout):
    told = []
    pairs = neighbours(layout)
    match_first(layout, pairs, SIFT, progress=lambda *line: told.append(line), pool=two)
    assert told[0] == ("sift", 0, len(pairs))
    assert told[-1] == ("sift", len(pairs), len(pairs))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert len(told) == 1 + len(in_batches(layout, pairs))


def test_batches_that_go_together_change_no_outcome(layout, monkeypatch):
    monkeypatch.setattr(asking, "FEWEST", 2)
    monkeypatch.setattr(asking, "MOST", 2)
    monkeypatch.setattr("demis_ij.stitch.loads.LOAD_S", 1e6)  # however slow this machine is
    pairs = neighbours(layout)
    kept = []
    memory = Memory()
    monkeypatch.setattr(memory, "put", lambda _stage, outcomes: kept.append(len(outcomes)))
    together = match_first(layout, pairs, SIFT, memory=memory)
    monkeypatch.setattr(asking, "MOST_BATCHES", 1)
    assert told(together) == told(match_first(layout, pairs, SIFT))
    assert max(kept) > 2  # several went at once, and were kept at once
    assert sum(kept) == len(pairs)


def test_a_pair_that_kills_its_worker_is_rejected_and_tried_again_on_resume(two, layout, tmp_path, monkeypatch):
    pairs = neighbours(layout)[:9]
    memory = MatchStore(tmp_path / "0")
    mark = tmp_path / "mark"
    mark.write_text(" ".join(pairs[2]))
    config = replace(SIFT, weights=f"{MARK}{mark}")
    plain = told(match_first(layout, pairs, SIFT))
    monkeypatch.setattr(asking, "match_batch", DEADLY)
    monkeypatch.setattr(processes, "MOST_DEATHS", 1)  # a process takes seconds to start

    outcomes = match_first(layout, pairs, config, memory=memory, pool=two)

    assert isinstance(outcomes[2], Rejected)
    assert outcomes[2].reason.startswith("given up: 3 workers died on it")
    assert told(outcomes[:2] + outcomes[3:]) == plain[:2] + plain[3:]
    assert len(memory) == len(pairs) - 1  # what was not looked at is not remembered
    mark.write_text("")
    assert told(match_first(layout, pairs, config, memory=memory, pool=two)) == plain


def test_weights_that_a_worker_cannot_load_leave_auto_to_the_next_matcher(layout, monkeypatch):
    real = asking.make_matcher

    def broken(name, config):
        if name == "loftr":
            raise WeightsError("damaged")
        return real(name, config)

    monkeypatch.setattr(asking, "make_matcher", broken)
    outcomes = match_first(layout, neighbours(layout)[:3], StitchConfig(matcher="auto"))
    assert {o.matcher for o in outcomes} == {"sift"}
    assert all(o.tried == (("loftr", "loftr cannot be used: damaged"),) for o in outcomes)
    with pytest.raises(WeightsError):
        match_first(layout, neighbours(layout)[:3], StitchConfig(matcher="loftr"))


def test_the_curve_goes_from_neighbour_to_neighbour():
    y, x = (v.ravel() for v in np.mgrid[:16, :16])
    points = np.stack([x, y], 1) + 0.0
    order = np.argsort(along_curve(np.vstack([points, [[15.99, 15.99]]]))[:-1])
    steps = np.abs(np.diff(points[order], axis=0)).sum(1)
    assert len(set(along_curve(points))) == 256
    assert (steps == 1).mean() > 0.95


def test_batches_hold_every_pair_once_and_do_not_depend_on_the_order():
    layout = make_grid(20, 20, np.random.default_rng(0)).layout
    pairs = neighbours(layout)
    batches = in_batches(layout, pairs)
    assert sorted(p for b in batches for p in b) == sorted(pairs)
    assert in_batches(layout, pairs[::-1]) == batches
    assert in_batches(layout, []) == []
    assert {len(b) for b in batches[:-1]} == {32}
    assert len(in_batches(layout, pairs[:20])) == 3  # of a small job there is a batch for each of several workers


def test_batches_are_patches_whose_tiles_are_few():
    layout = make_grid(30, 30, np.random.default_rng(0)).layout
    pairs = neighbours(layout)
    reads = sum(len({tile for pair in batch for tile in pair}) for batch in in_batches(layout, pairs))
    assert reads / len(layout) < 2  # once for each of its four borders would be 4


@pytest.mark.parametrize("keep", [True, False])
def test_a_store_with_room_for_a_few_tiles_reads_each_about_once(layout, keep):
    layout, _, _ = with_shapes(layout)
    reads = []

    class Counted(TileStore):
        def _read(self, tile):
            reads.append(tile.id)
            return super()._read(tile)

    room = 6 * (3 if keep else 2) * 160 * 160  # of each its mask, its normalised image and perhaps its grey values
    pairs = neighbours(layout)[:14]
    match_first(layout, pairs, SIFT, store=Counted(room, keep_images=keep))
    assert len(reads) < 1.5 * len({tile for pair in pairs for tile in pair})
    reads.clear()
    match_first(layout, pairs, SIFT, store=Counted())
    assert len(reads) == len(set(reads))
