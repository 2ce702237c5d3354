"""Sections that lie nowhere near where they belong, and those that only seem to."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_stacks import SIDE, seen_through, tissue

from demis_ij.align import align
from demis_ij.align.placing import Said, groups_of, is_near, motions_of
from demis_ij.align.searching import brought_together
from demis_ij.config.aligning import AlignConfig
from demis_ij.records import Affine

QUICK = AlignConfig(threads=2, stride_px=4)
MIDDLE = ((SIDE - 1) / 2, (SIDE - 1) / 2)
SHAPE = (SIDE, SIDE)


def shown(image: np.ndarray, motion: Affine = Affine()) -> tuple[np.ndarray, np.ndarray]:  # noqa: B008 - frozen
    """What `brought_together` is given of a section that was moved."""
    grey, mask = seen_through(image, motion)
    return np.where(mask, grey, 128).astype(np.uint8), mask.astype(np.uint8) * np.uint8(255)


@pytest.mark.parametrize(("turn", "shift"), [(30, (0, 0)), (-135, (12, -20)), (0, (SIDE // 2, 0)), (180, (0, 40))])
def test_any_turn_and_a_shift_by_half_the_width_are_found(turn: float, shift: tuple[int, int]) -> None:
    one, two = tissue(2, change=0.5)
    motion = Affine.translation(*shift) @ Affine.about(Affine.rigid(np.radians(turn)), MIDDLE)

    found = brought_together(shown(one), shown(two, motion))

    assert found is not None
    assert found.stands_out > 1.5
    at = np.array([MIDDLE, (60, 60), (100, 70)])
    assert np.linalg.norm(found.to_fixed(at) - motion(at), axis=1).max() < 5  # px: two of those that are compared


@pytest.mark.parametrize("seed", range(6))
def test_no_turn_of_a_stranger_stands_out(seed: int) -> None:
    found = brought_together(shown(tissue(1, seed=seed)[0]), shown(tissue(1, seed=100 + seed)[0]))

    assert found is not None
    assert found.stands_out < 1.3


def test_sections_without_common_data_are_not_compared() -> None:
    grey, mask = shown(tissue(1)[0])

    assert brought_together((grey, mask), (grey, np.zeros_like(mask))) is None


def test_the_largest_group_stays_and_a_section_beside_it_moves_alone() -> None:
    away = Affine.translation(70, 0)
    groups = groups_of(5, [(0, 1), (1, 3), (3, 4)])

    motion, reached = motions_of(groups, [Said(1, 2, away, 1.0), Said(2, 3, away.inverse, 1.0)], SHAPE)

    assert motion == (Affine(), Affine(), away, Affine(), Affine())
    assert all(reached)


def test_one_pair_that_hardly_stands_out_is_not_believed_and_two_that_agree_are() -> None:
    away, groups = Affine.translation(70, 0), groups_of(3, [(0, 2)])

    alone, reached = motions_of(groups, [Said(0, 1, away, 0.3)], SHAPE)
    together, _ = motions_of(groups, [Said(0, 1, away, 0.3), Said(1, 2, away.inverse, 0.3)], SHAPE)

    assert (alone[1], reached) == (Affine(), (True, False, True))
    assert together[1] == away


def test_a_wrong_pair_is_outvoted() -> None:
    away, groups = Affine.translation(70, 0), groups_of(4, [(0, 1), (1, 3)])
    said = [Said(0, 2, Affine.translation(0, -60), 0.9), Said(1, 2, away, 0.7), Said(2, 3, away.inverse, 0.7)]

    assert motions_of(groups, said, SHAPE)[0][2] == away


def test_a_turn_that_deformation_makes_is_not_passed_on() -> None:
    slightly = Affine.translation(70, 0) @ Affine.about(Affine.rigid(np.radians(2)), MIDDLE)

    (_, moved), _ = motions_of(groups_of(2, []), [Said(0, 1, slightly, 1.0)], SHAPE)

    assert moved.angle == 0
    assert moved.tx == pytest.approx(70, abs=1e-6)


def test_what_the_flow_finds_by_itself_is_near() -> None:
    assert is_near(Affine.translation(5, 5), SHAPE)
    assert not is_near(Affine.translation(40, 0), SHAPE)
    assert not is_near(Affine.about(Affine.rigid(0.5), MIDDLE), SHAPE)


def test_stacks_whose_sections_all_lie_anywhere_come_together() -> None:
    rng, images = np.random.default_rng(3), tissue(6, change=0.15)
    moves = [Affine.translation(*rng.integers(-40, 40, 2)) for _ in images]
    seen = [seen_through(i, m) for i, m in zip(images, moves, strict=True)]

    result = align([s for s, _ in seen], QUICK, masks=[m for _, m in seen])

    at = np.array([[70.0, 70], [90, 80], [80, 95]])
    lead = np.stack([m(w(at - np.array(w.origin_xy))) for w, m in zip(result.warps, moves, strict=True)])
    assert np.linalg.norm(np.diff(lead, axis=0), axis=-1).max() < 3  # px between neighbours
    assert max(abs(s.turn_deg) for s in result.sections) == 0  # nothing was turned


def test_a_foreign_section_is_not_moved_and_moves_nothing() -> None:
    images = [*tissue(6, change=0.15)]
    images[3] = tissue(1, seed=77)[0]

    result = align(images, QUICK)

    assert not any(s.moved_coarsely for s in result.sections)
    assert any("sections 2 and 3 do not fit as they lie, and no turn was found" in w for w in result.warnings)


def test_before_is_as_the_sections_were_given() -> None:
    images = tissue(6, change=0.15)
    moves = [Affine.translation(SIDE / 2, 0) if k == 3 else Affine() for k in range(6)]
    seen = [seen_through(i, m) for i, m in zip(images, moves, strict=True)]

    result = align([s for s, _ in seen], QUICK, masks=[m for _, m in seen])

    moved = result.sections[3]
    assert moved.residual_before_px == pytest.approx(SIDE / 2, abs=4)
    assert moved.residual_after_px < 2
    assert moved.ncc_before < 0.3 < 0.8 < moved.ncc_after
