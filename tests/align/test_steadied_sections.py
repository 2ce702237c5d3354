"""Whole sections that were put down a little beside their place: found, undone, and told from the tissue's course."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_stacks import SIDE, disagreement, seen_through, tissue

from demis_ij.align import align
from demis_ij.align.anchoring import released_motions
from demis_ij.align.steadying import _motion, _numbers
from demis_ij.config.aligning import AlignConfig
from demis_ij.records import Affine

QUICK = AlignConfig(threads=1, stride_px=4)
MIDDLE = np.array([(SIDE - 1) / 2, (SIDE - 1) / 2])


def test_the_numbers_of_a_motion_give_it_back() -> None:
    motion = Affine.about(Affine.rigid(0.03, 4.0, -7.0), MIDDLE)

    numbers = _numbers(motion, MIDDLE, SIDE)

    assert numbers[1:] == pytest.approx([4.0, -7.0])
    assert np.allclose(_motion(numbers, MIDDLE, SIDE).matrix, motion.matrix)


def test_motions_that_are_white_are_undone_and_a_slow_course_stays() -> None:
    rng = np.random.default_rng(0)
    white = rng.normal(0, 5, (40, 3))
    course = np.cumsum(rng.normal(0, 0.3, (40, 3)), axis=0)

    both = released_motions(white + course, anchor=1.0, most_step_px=np.inf)
    alone = released_motions(course, anchor=1.0, most_step_px=np.inf)

    assert np.abs(both - (white - white.mean(axis=0))).mean() < 1.5
    assert np.abs(alone).mean() < 0.1 * np.abs(course - course.mean(axis=0)).mean()


def test_steps_are_held_below_a_bound() -> None:
    course = np.cumsum(np.random.default_rng(1).normal(0, 3, (30, 3)), axis=0)

    left = course - released_motions(course, anchor=1.0, most_step_px=0.5)

    assert np.sqrt((np.diff(left, axis=0) ** 2).sum(axis=1).mean()) < 0.55


def test_sections_that_were_put_down_anew_each_time_come_together() -> None:
    rng = np.random.default_rng(3)
    images = tissue(8)
    at = [Affine.about(Affine.rigid(*rng.normal(0, [0.015, 7, 7])), MIDDLE) for _ in images]
    shown = [seen_through(i, m) for i, m in zip(images, at, strict=True)]

    result = align([s for s, _ in shown], QUICK, masks=[m for _, m in shown])

    assert sum(s.moved_coarsely for s in result.sections) >= 6
    assert disagreement(result.warps, list(at), margin=40).max() < 0.8


def test_sections_that_hardly_move_are_left_to_what_bends() -> None:
    rng = np.random.default_rng(4)
    images = tissue(5)
    at = [Affine.translation(*rng.normal(0, 1, 2)) for _ in images]
    shown = [seen_through(i, m) for i, m in zip(images, at, strict=True)]

    result = align([s for s, _ in shown], QUICK, masks=[m for _, m in shown])

    assert not any(s.moved_coarsely for s in result.sections)
