"""The pieces of the joint solution against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from demis_ij.align.anchoring import released
from demis_ij.align.grids import Grid, continued, levels_of, pulled, reduced
from demis_ij.align.relaxing import Measured, relaxed, solve_banded
from demis_ij.fields import corner_jacobian, folded_frac, least_jacobian, unfolded
from demis_ij.geometry import Box
from demis_ij.records import Field

NODES = (5, 6)


def constant(dx: float, dy: float) -> np.ndarray:
    return np.stack([np.full(NODES, dx, np.float32), np.full(NODES, dy, np.float32)])


def measured(i: int, j: int, dx: float, dy: float, weight: float = 1.0) -> Measured:
    return Measured(i, j, constant(dx, dy), np.full(NODES, weight, np.float32), 1.0)


def test_a_banded_solve_is_that_of_the_full_matrices() -> None:
    rng = np.random.default_rng(0)
    count, many = 7, 4
    beside = {1: rng.uniform(-1, 0, (count, many)), 3: rng.uniform(-1, 0, (count, many))}
    diagonal, right = np.full((count, many), 5.0), rng.normal(size=(count, 2, many))
    full = np.zeros((many, count, count))
    for m in range(many):
        full[m] += np.diag(diagonal[:, m])
        for k, values in beside.items():
            full[m] += np.diag(values[: count - k, m], k) + np.diag(values[: count - k, m], -k)

    found = solve_banded(diagonal, beside, right)

    np.testing.assert_allclose(found.transpose(2, 0, 1), np.linalg.solve(full, right.transpose(2, 0, 1)), atol=1e-10)


def test_measurements_that_agree_are_satisfied() -> None:
    at = np.array([[0.0, 0], [3, -1], [1, 2], [-4, 0]])
    pairs = [measured(i, j, *(at[i] - at[j])) for i, j in ((0, 1), (1, 2), (2, 3), (0, 2), (1, 3))]

    steps, misfit = relaxed(np.zeros((4, 2, *NODES), np.float32), pairs)

    apart = steps.mean(axis=(2, 3)) - steps.mean(axis=(2, 3))[0]
    np.testing.assert_allclose(apart, at - at[0], rtol=0.1, atol=0.2)  # the weak anchor shortens a little
    assert max(misfit) < 0.2


def test_one_wrong_pair_is_overruled_by_the_others() -> None:
    right = [measured(i, j, 0, 0) for i, j in ((0, 1), (1, 2), (2, 3), (0, 2), (1, 3))]

    steps, _ = relaxed(np.zeros((4, 2, *NODES), np.float32), [*right, measured(0, 3, 30, 0)])

    assert np.abs(steps).max() < 1  # px; plain least squares would move by nearly ten


def test_sections_that_nothing_is_measured_of_do_not_move() -> None:
    steps, misfit = relaxed(np.zeros((3, 2, *NODES), np.float32), [])

    assert not steps.any()
    assert misfit == []


def waves(rng: np.random.Generator, count: int, size: int = 16) -> np.ndarray:
    """Smooth random fields, one a section, independent of each other."""
    y, x = np.mgrid[0:size, 0:size] / size
    parts = [np.cos(np.pi * k * x) * np.cos(np.pi * m * y) for k in range(4) for m in range(4)]
    return np.einsum("scp,phw->schw", rng.normal(size=(count, 2, len(parts))), parts).astype(np.float32)


def test_deformation_is_released_and_the_course_of_tissue_stays() -> None:
    rng = np.random.default_rng(0)
    deformed, tissue = 6 * waves(rng, 40), 1.5 * np.cumsum(waves(rng, 40), axis=0)

    found, _ = released(deformed + tissue)

    wanted, course = deformed - deformed.mean(axis=0), tissue - tissue.mean(axis=0)
    error = np.sqrt(((found - wanted) ** 2).mean())
    assert error < 0.6 * np.sqrt((course**2).mean())  # had all been released, the tissue's course would be the error
    assert error < 0.5 * np.sqrt((wanted**2).mean())  # had nothing been


def test_without_deformation_next_to_nothing_is_released() -> None:
    tissue = np.cumsum(waves(np.random.default_rng(1), 40), axis=0)

    found, anchors = released(tissue)

    assert np.sqrt((found**2).mean()) < 0.1 * np.sqrt((tissue**2).mean())
    assert min(anchors[:3]) > 3


def test_a_walk_that_no_tissue_takes_is_released() -> None:
    walk = 20 * np.cumsum(np.random.default_rng(2).normal(size=(20, 2, 1, 1)), axis=0) * np.ones((1, 1, 12, 12))

    kept = walk - released(walk.astype(np.float32), most_step_px=2.0)[0]

    assert np.sqrt((np.diff(kept, axis=0) ** 2).sum(axis=1).mean()) < 2.1  # px


def test_the_order_reversed_releases_the_same() -> None:
    positions = waves(np.random.default_rng(3), 9)

    np.testing.assert_allclose(released(positions[::-1])[0][::-1], released(positions)[0], atol=1e-4)


def test_what_all_sections_share_is_not_released() -> None:
    positions, shared = waves(np.random.default_rng(4), 9), 7 * waves(np.random.default_rng(5), 1)

    np.testing.assert_allclose(released(positions + shared)[0], released(positions)[0], atol=1e-3)


def test_a_field_that_does_not_fold_is_not_touched() -> None:
    offsets = waves(np.random.default_rng(6), 1)[0]

    found, changed = unfolded(offsets, 20.0, 0.05)

    assert found is offsets
    assert changed == 0


@pytest.mark.parametrize("seed", range(4))
def test_no_field_folds_anywhere_afterwards(seed: int) -> None:
    offsets = np.random.default_rng(seed).normal(0, 12, (2, 14, 17)).astype(np.float32)
    assert folded_frac(Field(offsets, 8.0)) > 0

    found, changed = unfolded(offsets, 8.0, 0.05)

    assert least_jacobian(found, 8.0) > 0.05
    assert changed > 0


def test_a_mirrored_field_is_given_up() -> None:
    x = np.arange(8, dtype=np.float32) * 4
    mirrored = np.stack([np.broadcast_to(-2 * x, (8, 8)), np.zeros((8, 8))]).astype(np.float32)

    found, _ = unfolded(mirrored, 4.0, 0.05)

    assert least_jacobian(found, 4.0) > 0.05


def test_a_fold_between_two_nodes_is_seen_though_central_differences_miss_it() -> None:
    offsets = np.zeros((2, 5, 5), np.float32)
    offsets[0, :, 2] = 6  # the next node stands 4 px further: this one has overtaken it

    assert corner_jacobian(offsets, 4.0).min() < 0
    assert folded_frac(Field(offsets, 4.0)) == 0


def test_pulling_a_step_through_a_shift_adds_them() -> None:
    found = pulled(constant(3, -2), constant(1, 1), 8.0)

    np.testing.assert_allclose(found, constant(4, -1), atol=1e-5)


def test_what_is_unknown_goes_on_as_its_surroundings() -> None:
    offsets, weight = np.stack([np.full((20, 20), 5.0), np.full((20, 20), -1.0)]).astype(np.float32), np.ones((20, 20))
    offsets[:, 8:12], weight[8:12] = 99, 0

    found = continued(offsets, weight.astype(np.float32))

    np.testing.assert_allclose(found[0], 5, atol=1e-3)
    np.testing.assert_allclose(found[1], -1, atol=1e-3)


def test_offsets_are_spread_to_the_pixels_that_a_level_stands_for() -> None:
    grid = Grid((33, 33), 8.0)
    y, x = np.mgrid[0:5, 0:5].astype(np.float32) * 8
    ramp = np.stack([x, y])

    spread = grid.spread(ramp, 2, Box(0, 0, 16, 16))

    np.testing.assert_allclose(spread[0][0], np.arange(16) * 2 + 0.5, atol=1e-5)
    np.testing.assert_allclose(spread[1][:, 0], np.arange(16) * 2 + 0.5, atol=1e-5)


def test_halving_takes_the_mean_of_the_data_only() -> None:
    grey, mask = np.array([[10, 90], [30, 90]], np.uint8), np.array([[255, 0], [255, 0]], np.uint8)

    small, known = reduced(grey, mask)

    assert small.tolist() == [[20]]
    assert known.tolist() == [[255]]


def test_levels_are_powers_of_two_from_coarse_to_fine() -> None:
    assert levels_of((100, 4000), 2048, 60) == (2,)
    assert levels_of((1024, 1024), 2048, 60) == (16, 8, 4, 2, 1)
