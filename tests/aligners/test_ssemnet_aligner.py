"""ssEMnet on made-up sections: what it recovers, what it leaves alone, and what it does with bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from demis_ij.aligners.ssemnet import (
    Engine,
    Reference,
    SsemnetAligner,
    align_series,
    align_window,
    at_level,
    reduction,
)
from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.errors import InputError, WeightsError
from demis_ij.fields import at_nodes, dense, folded_frac, inverse, thin_plate
from demis_ij.geometry import Box
from demis_ij.nets.ssemnet import load_autoencoder
from demis_ij.nets.weights import shipped, state_digest
from demis_ij.records import Affine, Field
from demis_ij.synth.series import series
from demis_ij.testing import aligner_contract

SIDE = 176
WHOLE = Box(0, 0, SIDE, SIDE)
ALL = np.ones((SIDE, SIDE), bool)
FAST = SsemnetConfig(
    steps=30, device="cpu", rounds=3, levels=1, sides="before", sweeps=1, spacing_px=32.0, beta=3.0, gamma=3.0
)


@pytest.fixture(scope="module")
def sections():
    made = series((SIDE, SIDE), 4, 12, style="tem", step_px=4)
    return [made[k].image for k in range(4)]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def smooth_warp(seed, sd=4.0):
    rng = np.random.default_rng(seed)
    return thin_plate(rng.uniform(0, SIDE, (8, 2)), rng.normal(0, sd, (8, 2)), (SIDE, SIDE), 1)


def warped_by(field, image):
    """Return the section that looks like ``image`` when it is warped back."""
    import cv2

    back = inverse(field, (SIDE, SIDE))
    known = back.known
    at = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE))).astype(np.float32) + np.nan_to_num(back.offsets)
    moved = cv2.remap(image, at[0], at[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    inside = known & (at[0] >= 0) & (at[1] >= 0) & (at[0] <= SIDE - 1) & (at[1] <= SIDE - 1)
    return np.where(inside, moved, 0), inside


def missed(found, truth):
    """Return the median distance of two fields in the middle, px."""
    away = dense(found, WHOLE) - dense(truth, WHOLE)
    return float(np.median(np.hypot(*away)[16:-16, 16:-16]))


def best_affine(truth):
    from demis_ij.fields import affine_part

    return at_nodes(affine_part(truth), (SIDE, SIDE), 1)


@pytest.mark.parametrize(
    "check", [*aligner_contract.CHECKS, *aligner_contract.ELASTIC_CHECKS], ids=lambda c: c.__name__
)
def test_ssemnet_keeps_the_contract_of_aligners(check):
    check(SsemnetAligner(SsemnetConfig(device="cpu", steps=25, patience=8)))  # half the time of the defaults


@pytest.mark.parametrize("interpolation", ["bilinear", "bspline", "tps"])
def test_a_smooth_warp_is_recovered_better_than_by_any_affine_map(sections, interpolation):
    truth = smooth_warp(3)
    moving, mask = warped_by(truth, sections[0])
    config = SsemnetConfig(
        device="cpu", interpolation=interpolation, spacing_px=24.0, steps=25, patience=8, beta=3.0, gamma=3.0
    )
    found = SsemnetAligner(config)(sections[0], moving, ALL, mask)
    still = Field(np.zeros((2, 2, 2)), SIDE)
    assert missed(found, truth) < 0.5 * missed(best_affine(truth), truth)
    assert missed(found, truth) < 0.35 * missed(still, truth)
    assert folded_frac(found) == 0


def test_equal_sections_stay_where_they_are(sections):
    found = SsemnetAligner(FAST)(sections[0], sections[0], ALL, ALL)
    assert np.abs(found.offsets).max() < 0.01


def test_the_network_is_the_same_afterwards(sections):
    engine = Engine(FAST)
    before = state_digest(engine.net.state_dict())
    moving, mask = warped_by(smooth_warp(3), sections[0])
    found = align_window(moving, mask, [Reference(sections[0], ALL)], FAST, engine=engine)
    assert state_digest(engine.net.state_dict()) == before
    assert all(p.grad is None for p in engine.net.parameters())
    assert np.abs(found.field.offsets).max() > 1


def test_the_loss_falls_and_is_kept(sections):
    config = replace(FAST, drop=0.0, patience=0)
    moving, mask = warped_by(smooth_warp(3), sections[0])
    losses = align_window(moving, mask, [Reference(sections[0], ALL)], config).losses
    assert len(losses) == config.steps
    assert losses[-1] < 0.7 * losses[0]


def test_alpha_holds_a_section_where_it_is(sections):
    moving, mask = warped_by(smooth_warp(3), sections[0])
    free, held = (
        np.abs(align_window(moving, mask, [Reference(sections[0], ALL)], replace(FAST, alpha=a)).field.offsets).mean()
        for a in (0.0, 1.0)
    )
    assert held < 0.3 * free


def test_gamma_holds_y_and_not_x(sections):
    moving, mask = warped_by(smooth_warp(3), sections[0])
    config = replace(FAST, beta=0.0, gamma=1e4)
    found = align_window(moving, mask, [Reference(sections[0], ALL)], config).field
    rough = [np.abs(np.diff(d, axis=1)).mean() for d in found.offsets]
    assert rough[1] < 0.2 * rough[0]


def test_neighbours_count_by_their_weights(sections):
    """Two references that lie 4 px apart: the section goes to the one with the weight."""
    here, there = sections[0][:, :-4], sections[0][:, 4:]
    mask = np.ones(here.shape, bool)
    found = []
    for weights in ((1.0, 0.0), (0.0, 1.0)):
        references = [Reference(here, mask, weights[0]), Reference(there, mask, weights[1])]
        found.append(np.median(align_window(here, mask, references, FAST).field.offsets[0]))
    assert found[0] == pytest.approx(0, abs=0.3)
    assert found[1] == pytest.approx(4, abs=0.6)


def test_a_start_is_kept_where_nothing_speaks_against_it(sections):
    start = Affine.translation(25.0, -18.0)
    moving = np.roll(sections[0], (-18, 25), (0, 1))
    mask = np.ones(moving.shape, bool)
    mask[-18:], mask[:, :25] = False, False
    config = replace(FAST, alpha=0.0)
    found = align_window(moving, mask, [Reference(sections[0], ALL)], config, start=start).field
    assert np.median(np.hypot(found.offsets[0] - 25, found.offsets[1] + 18)) < 0.5


def test_a_series_is_brought_together_section_by_section(sections):
    """The same tissue each time, with other warps and other contrast."""
    warps = [smooth_warp(k, 1.5) for k in range(1, 4)]
    bent = [warped_by(w, sections[0]) for w in warps]
    made = [
        (sections[0], ALL),
        *((gain * image + 10, mask) for gain, (image, mask) in zip((0.8, 1, 0.9), bent, strict=True)),
    ]
    found = list(align_series(made.__getitem__, 4, replace(FAST, steps=25)))
    assert len(found) == 4
    assert np.abs(found[0].field.offsets).max() == 0  # the first stays
    still = Field(np.zeros((2, 2, 2)), SIDE)
    for one, truth in zip(found[1:], warps, strict=True):
        assert missed(one.field, truth) < 0.5 * missed(still, truth)


def test_only_the_window_is_in_memory(sections):
    import weakref

    alive, most = [], 0

    def read(k):
        nonlocal most
        most = max(most, sum(r() is not None for r in alive))
        image = sections[0] + np.float32(k)
        alive.append(weakref.ref(image))
        return image, ALL

    found = list(align_series(read, 8, replace(FAST, steps=1, rounds=1, neighbours=2)))
    assert len(found) == 8
    assert most <= 2


def test_both_sides_use_the_sections_after_as_well(sections):
    asked = []

    def read(k):
        asked.append(k)
        return sections[k % 4], ALL

    config = replace(FAST, steps=1, rounds=1, sides="both", sweeps=2, neighbours=1)
    assert len(list(align_series(read, 3, config))) == 3
    assert sorted(set(asked)) == [0, 1, 2]
    assert len(asked) == 2 * 3  # a section is read once a sweep


def test_with_both_sides_the_middle_one_settles_between(sections):
    """The sections before and after lie 4 px apart; the first one stays for want of a neighbour that moved less."""
    wide = np.hstack([sections[0], sections[0][:, ::-1]])
    shown = [wide[:, x : x + SIDE] for x in (10, 10, 14)]
    config = replace(FAST, sides="both", neighbours=1, alpha=0.0, drop=0.0)
    before = list(align_series(lambda k: (shown[k], ALL), 3, replace(config, sides="before")))
    both = list(align_series(lambda k: (shown[k], ALL), 3, config))
    assert abs(np.median(before[1].field.offsets[0])) < 0.2
    assert abs(np.median(both[1].field.offsets[0])) > 0.4


def test_a_section_without_data_is_unknown_and_bridged(sections):
    empty = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), bool)
    made = [(sections[0], ALL), empty, (sections[0], ALL)]
    found = list(align_series(made.__getitem__, 3, FAST))
    assert not found[1].field.known.any()
    assert np.abs(found[2].field.offsets).max() < 0.05


def test_a_blank_image_gives_an_unknown_field_from_either_side(sections):
    blank = np.full((SIDE, SIDE), 90, np.float32)
    aligner = SsemnetAligner(FAST)
    for fixed, moving in ((sections[0], blank), (blank, sections[0])):
        assert not aligner(fixed, moving, ALL, ALL).known.any()
    assert not aligner(sections[0], sections[0], ALL, ~ALL).known.any()


def test_nan_counts_as_no_data(sections):
    holed = sections[0].copy()
    holed[40:80, 40:80] = np.nan
    found = SsemnetAligner(FAST)(sections[0], holed, ALL, ALL)
    assert found.known.all()
    assert np.median(np.abs(found.offsets)) < 0.3


def test_sections_of_another_size_are_refused_in_one_line(sections):
    made = [(sections[0], ALL), (sections[0][:-3], ALL[:-3])]
    with pytest.raises(InputError, match=r"section 1 has \(173, 176\) px, needed \(176, 176\)") as refused:
        list(align_series(made.__getitem__, 2, FAST))
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="one size is needed"):
        SsemnetAligner(FAST)(sections[0], sections[0], ALL, ALL[:-1])


def test_weights_of_another_network_and_a_gpu_that_is_not_there_are_refused():
    with pytest.raises(WeightsError, match="another network"):
        SsemnetAligner(SsemnetConfig(weights=str(shipped("loftr_em"))))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU"):
            SsemnetAligner(SsemnetConfig(device="cuda"))


def test_settings_that_cannot_be_are_refused_in_one_line():
    for wrong, said in (
        ({"spacing_px": 0.5}, "finer than the image"),
        ({"interpolation": "tsp"}, "did you mean 'tps'"),
        ({"sides": "before"}, "sides = 'both'"),
        ({"rounds": 1000}, "rounds"),
        ({"drop": 1.0}, "drop"),
    ):
        with pytest.raises(InputError, match=said) as refused:
            SsemnetConfig(**wrong)
        assert "\n" not in str(refused.value)


def test_a_large_section_is_aligned_at_a_lower_resolution_and_its_field_is_for_the_whole(sections):
    moving = np.roll(sections[0], 6, 1)
    mask = ALL.copy()
    mask[:, :6] = False
    assert reduction((SIDE, SIDE), 10_000) == 1
    config = replace(FAST, largest_px=10_000)
    found = align_window(moving, mask, [Reference(sections[0], ALL)], config).field
    assert found.stride == 2 * config.spacing_px
    assert np.median(found.offsets[0]) == pytest.approx(6, abs=0.6)


def test_levels_find_what_one_level_does_not(sections):
    moving = np.roll(sections[0], 14, 1)
    mask = ALL.copy()
    mask[:, :14] = False
    config = replace(FAST, alpha=0.0, steps=50, rate_px=0.3)
    off = []
    for levels in (1, 2):
        found = align_window(moving, mask, [Reference(sections[0], ALL)], replace(config, levels=levels)).field
        off.append(abs(float(np.median(found.offsets[0])) - 14))
    assert off[1] < 1
    assert off[0] > 3


def test_a_level_sees_a_field_with_the_centres_of_its_pixels():
    """Pixel p of a halved image lies on 2 p + 0.5; a stretch about the origin is one about another point there."""
    field = at_nodes(Affine(1.1, 0, 0, 1, 0, 0), (64, 64), 8)
    found = at_level(field, 1, (32, 32), 4.0)
    x = 4.0 * np.arange(found.shape[2])[None]
    inside = x[0] < 28
    wanted = np.broadcast_to(0.1 * (2 * x + 0.5) / 2, found.shape[1:])
    np.testing.assert_allclose(found[0][:, inside], wanted[:, inside], atol=1e-4)


def test_the_same_comes_out_twice(sections):
    moving, mask = warped_by(smooth_warp(3), sections[0])
    net = load_autoencoder("tem").net
    first, second = (align_window(moving, mask, [Reference(sections[0], ALL)], FAST, net=net) for _ in range(2))
    np.testing.assert_array_equal(first.field.offsets, second.field.offsets)
