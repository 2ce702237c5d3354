"""Sections that show something else are told, left out, and stepped over; no section of the tissue ever is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_up_stacks import SIDE, bend, disagreement, seen_through, tissue

from demis_ij.align import align
from demis_ij.align.likeness import runs_of
from demis_ij.config.aligning import AlignConfig

QUICK = AlignConfig(threads=2, stride_px=4, coarse="none")
COUNT = 7


def stack(sd: float = 4.0) -> tuple[list, list, list]:
    fields = [bend(k, sd=sd) for k in range(COUNT)]
    shown = [seen_through(image, f) for image, f in zip(tissue(COUNT), fields, strict=True)]
    return [s for s, _ in shown], [m for _, m in shown], fields


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (SIDE, SIDE)).astype(np.float32)


def left_out(result) -> list[int]:
    return [k for k, s in enumerate(result.sections) if not s.usable]


@pytest.mark.parametrize("foreign", [(0,), (6,), (2, 3), (1, 4)])
@pytest.mark.parametrize("kind", ["noise", "another block"])
def test_foreign_sections_are_left_out_wherever_they_are(foreign: tuple[int, ...], kind: str) -> None:
    images, masks, fields = stack()
    for k in foreign:
        images[k] = noise(k) if kind == "noise" else tissue(1, seed=90 + k)[0]

    result = align(images, QUICK, masks=masks)

    assert left_out(result) == list(foreign)
    good = [k for k in range(COUNT) if k not in foreign]
    assert disagreement([result.warps[k] for k in good], [fields[k] for k in good]).mean() < 1.2  # px, of six
    assert all(f"section {k}: hardly like its neighbours" in " ".join(result.warnings) for k in foreign)


@pytest.mark.parametrize("sd", [0.0, 4.0, 9.0])
def test_tissue_is_never_left_out_however_bent(sd: float) -> None:
    images, masks, _ = stack(sd)

    assert left_out(align(images, QUICK, masks=masks)) == []


def test_a_section_half_of_which_is_lost_is_not_foreign() -> None:
    images, masks, _ = stack()
    images[3][: SIDE // 2] = noise(1)[: SIDE // 2]

    assert left_out(align(images, QUICK, masks=masks)) == []


def test_a_section_turned_round_is_put_in_place_and_not_left_out() -> None:
    images, masks, _ = stack(1.0)
    images[3], masks[3] = images[3][::-1, ::-1], masks[3][::-1, ::-1]

    assert left_out(align(images, replace(QUICK, coarse="auto"), masks=masks)) == []


def test_a_stack_in_which_nothing_is_like_anything_loses_no_section() -> None:
    assert left_out(align([noise(k) for k in range(4)], QUICK)) == []


def test_runs_too_long_to_step_over_are_not_stepped_over() -> None:
    assert runs_of([0, 2, 3, 4, 5, 7, 8]) == [[0], [7, 8]]
