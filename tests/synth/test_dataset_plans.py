"""What is drawn before a pixel is: gaps, parts, resin, sizes of grids, and who goes to which split."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij.config import GRID_PRESETS, GridsConfig
from demis_ij.errors import InputError
from demis_ij.synth import GridSpec, make_scene
from demis_ij.synth.dataset.gaps import draw_missing, draw_resin, least_side, parts
from demis_ij.synth.dataset.plans import largest, misfit, plan_grids, smallest, spec_of
from demis_ij.synth.dataset.sources import Source
from demis_ij.synth.dataset.splits import assign, share_out

seeds = st.integers(0, 2**32 - 1)


def source(number, name="f/x.tif", shape=(6000, 6000)):
    return Source(None, name, shape, "", f"pixels {number}", f"{number:064x}")


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9), cols=st.integers(1, 9), components=st.integers(1, 4), frac=st.floats(0, 0.6), seed=seeds,
    decoy=st.booleans(),
)  # fmt: skip
def test_a_grid_falls_into_as_many_parts_as_asked_for(rows, cols, components, frac, seed, decoy):
    cols = max(cols, 2) if decoy else cols
    rng = np.random.default_rng(seed)
    if max(rows, cols) < least_side(components, decoy=decoy):
        with pytest.raises(InputError, match=f"{components} parts need"):
            draw_missing(rows, cols, frac, components, rng, decoy=decoy)
        return

    missing = draw_missing(rows, cols, frac, components, rng, decoy=decoy)
    resin = draw_resin(rows, cols, missing, 0.3, rng, decoy=decoy)

    assert parts(rows, cols, missing) == components
    assert not set(missing) & set(resin)
    # what GridSpec itself would refuse: no tile left, no pair for the decoy
    spec = GridSpec(rows=rows, cols=cols, tile_px=64, missing=missing, resin=resin, decoy=decoy)
    assert len(spec.positions) > len(resin)


def test_the_share_of_missing_and_resin_tiles_is_met_on_average():
    rng = np.random.default_rng(3)
    missing = [len(draw_missing(6, 6, 0.1, 1, rng)) for _ in range(100)]
    resin = [len(draw_resin(6, 6, (), 0.15, rng, decoy=True)) for _ in range(100)]

    assert abs(np.mean(missing) - 3.6) < 0.2
    assert abs(np.mean(resin) - 5.4) < 0.2


def test_cuts_are_in_different_places():
    drawn = {draw_missing(6, 6, 0, 2, np.random.default_rng(k)) for k in range(20)}

    assert len(drawn) > 10
    assert any(len({c for _, c in gone}) > 1 for gone in drawn)  # some are wavy


@given(count=st.integers(0, 60), val=st.floats(0, 1), test=st.floats(0, 1))
def test_shares_add_up_and_training_comes_first(count, val, test):
    if val + test > 1:
        val, test = val / 2, test / 2

    shares = share_out(count, val, test)

    assert sum(shares.values()) == count
    assert min(shares.values()) >= 0
    assert shares["train"] >= 1 or val + test >= 1 - 1e-9 or not count
    for name, frac in (("val", val), ("test", test)):
        assert abs(shares[name] - frac * count) <= 1.5 or count < 4


def test_splits_do_not_depend_on_names_or_order():
    many = [source(k, f"f/{k}.tif") for k in range(40)]
    renamed = [source(k, f"g/{99 - k}.png") for k in reversed(range(40))]

    first = assign(many, 7, validation_frac=0.2, test_frac=0.1)
    second = assign(renamed, 7, validation_frac=0.2, test_frac=0.1)

    assert Counter(first.values()) == {"train": 28, "val": 8, "test": 4}
    assert {k: first[f"f/{k}.tif"] for k in range(40)} == {k: second[f"g/{99 - k}.png"] for k in range(40)}
    assert first != assign(many, 8, validation_frac=0.2, test_frac=0.1)


@pytest.mark.parametrize("preset", GRID_PRESETS)
@pytest.mark.parametrize("shape", [(3000, 5000), (2048, 2500), (1500, 6000)])
def test_grids_are_as_large_as_fits(preset, shape):
    config = GridsConfig(**{**GRID_PRESETS[preset], "max_rows": 50, "max_cols": 50})

    assert not misfit(config, shape)
    rows, cols = largest(config, shape)

    for r, c, fits in ((rows, cols, True), (rows + 1, cols, False), (rows, cols + 1, False)):
        need = spec_of(config, r, c).source_shape
        assert (need[0] <= shape[0] and need[1] <= shape[1]) == fits
    (plan,) = plan_grids([source(1, shape=shape)], config, 1)
    assert (plan.spec.rows, plan.spec.cols) == (rows, cols)


def test_the_published_presets_overlap_is_em424s():
    spec = smallest(GridsConfig(**GRID_PRESETS["published"]))

    assert spec.tile_px - spec.step_px == 205 + 90  # px: round(1024 * 0.2) and ceil(1024 sin 5 degrees)
    assert abs(spec.gain_sd - 0.0574) < 1e-4
    assert abs(spec.bias_sd - 8.66) < 1e-2
    assert spec.noise_sd == 5
    assert spec.noise_first


def test_too_small_says_how_large_it_must_be():
    config = GridsConfig(tile_px=256, components=2)
    told = misfit(config, (300, 600))
    need = spec_of(config, 1, 3).source_shape

    assert "600 x 300 px" in told
    assert f"needs {need[1]} x {need[0]}" in told
    assert misfit(config, need) == ""
    assert misfit(config, need[::-1]) == ""
    assert misfit(config, (need[0], need[1] - 1))
    assert largest(config, need[::-1]) == (3, 1)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rows": 2, "cols": 2, "components": 2}, "cannot fall into 2 parts"),
        ({"cols": 1, "decoy_frac": 0.5}, "cols is 1"),
        ({"max_cols": 4, "components": 3}, "max_cols: 4 is too few"),
        ({"overlap": 0.05, "shift_frac": 0.03}, "can part neighbours"),
        ({"placement": "stepped", "rotation_deg": 2.5}, "whole number of degrees"),
        ({"overlap": 0.9, "overlap_for_turns": True, "rotation_deg": 20.0}, "no step"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values, told):
    with pytest.raises(InputError, match=told):
        smallest(GridsConfig(**values))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"validation_frac": 0.6, "test_frac": 0.5}, "more than all sources"),
        ({"missing_frac": 0.8, "resin_frac": 0.2}, "next to no tissue"),
        ({"overlap": 1.0}, "overlap: 1.0 is not between"),
        ({"resin_frac": float("nan")}, "resin_frac: nan"),
        ({"rows": 2.5}, "a whole number"),
        ({"placement": "steped"}, "did you mean 'stepped'"),
        ({"name": "../x"}, "name: '../x'"),
    ],
)
def test_values_out_of_range_are_refused(values, told):
    with pytest.raises(InputError, match=told):
        GridsConfig(**values)


def test_double_precision_changes_no_grey_value_by_more_than_rounding():
    image = np.random.default_rng(1).uniform(0, 255, (400, 400)).astype(np.float32)
    spec = {"rows": 1, "cols": 2, "tile_px": 128, "blur_px": 1.0, "source_blur_px": 1.5, "noise_sd": 0.0}

    single, double = (make_scene(GridSpec(**spec, double=d), 3, image) for d in (False, True))

    for tile, pixels in single.images.items():
        assert np.abs(pixels.astype(int) - double.images[tile]).max() <= 1
        assert (pixels != double.images[tile]).mean() < 0.02
