"""How far a place stands out: by the structure as it is, and whitened."""

from __future__ import annotations

import numpy as np
import pytest

from demis_ij.aligners.standing import standing, whitened_standing
from demis_ij.aligners.structure import Structure, structure_of
from demis_ij.config.registering import RegisterConfig
from demis_ij.evaluate.register import grey, made_pair
from demis_ij.records import Affine
from demis_ij.register.looks import looked_at, reduced_px
from demis_ij.register.registering import Registrar
from demis_ij.synth.correlative_pairs import corner_error_px


def seen(image: np.ndarray, mask: np.ndarray | None = None) -> Structure:
    return structure_of(image, np.ones(image.shape, bool) if mask is None else mask, 1.5)


@pytest.mark.parametrize("number", [22004, 22022])  # every grain repainted, as light shows it
def test_whitened_a_right_place_stands_out_by_more_and_a_stranger_no_further(number: int) -> None:
    made, other = made_pair("light_hard/full", number), made_pair("light_hard/full", number + 2)
    fixed, moving, strange = (looked_at(grey(i), None, 1).levels[2] for i in (made.fixed, made.moving, other.moving))
    at = reduced_px(made.to_moving, 2)

    assert whitened_standing(fixed, moving, at) > standing(fixed, moving, at) > 11
    assert whitened_standing(fixed, strange, at) < 5


def test_what_is_not_known_counts_for_nothing() -> None:
    picture = grey(made_pair("mono/small", 22004).fixed)[:160, :200].astype(np.float32)
    mask = np.ones(picture.shape, bool)
    mask[:50] = False
    spoilt = np.where(mask, picture, np.random.default_rng(1).normal(0, 1e4, picture.shape))

    assert whitened_standing(seen(picture), seen(spoilt, mask), Affine()) > 12


def test_where_nothing_is_seen_or_nothing_is_in_common_nothing_stands_out() -> None:
    picture = np.random.default_rng(2).normal(size=(64, 64)).astype(np.float32)
    blank = seen(np.zeros((64, 64), np.float32))

    assert whitened_standing(seen(picture), blank, Affine()) == 0
    assert whitened_standing(blank, seen(picture), Affine()) == 0
    assert whitened_standing(seen(picture), seen(picture), Affine.translation(500, 0)) == 0


def test_a_right_place_that_coarse_waves_drown_is_believed() -> None:
    made = made_pair("light_hard/full", 22007)
    config = RegisterConfig(method="search", reach="near", weights="none")
    registrar = Registrar(made.fixed, config)
    two = registrar._look(1.0), looked_at(grey(made.moving), None, 1)
    found = registrar(grey(made.moving))

    assert found.matched
    assert corner_error_px(found.to_moving, made.to_moving, (512, 512)) < 10
    at = reduced_px(found.to_moving, 4)
    assert standing(two[0].levels[4], two[1].levels[4], at) < found.needed < found.standing
