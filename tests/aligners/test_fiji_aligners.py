"""Aligners that run plugins of a Fiji: what is around the plugin, without one; the plugins themselves with --fiji."""

import jpype
import numpy as np
import pytest

from demis_ij.aligners import bunwarpj, elastic_alignment
from demis_ij.aligners.bunwarpj import BunwarpjAligner, spline_field
from demis_ij.aligners.elastic_alignment import ElasticAligner, settings_for
from demis_ij.errors import InputError
from demis_ij.fields import nodes
from demis_ij.formats.splines import CubicSpline, fit_spline
from demis_ij.imagej import stacks
from demis_ij.imagej.plugins import BUNWARPJ, running
from demis_ij.imagej.registration import (
    MODES,
    BunwarpjSettings,
    ElasticSettings,
    bunwarpj_coefficients,
    elastic_points,
)
from demis_ij.protocols import ALIGNERS, FIJI_ALIGNERS, Aligner
from demis_ij.records import Affine
from demis_ij.testing import aligner_contract
from demis_ij.testing.aligner_contract import SIDE, smooth_warp, two_sections

SHAPE = (SIDE, SIDE)
ALL = np.ones(SHAPE, bool)
CHECKS = (*aligner_contract.CHECKS, *aligner_contract.ELASTIC_CHECKS)
MAKERS = {"bunwarpj": BunwarpjAligner, "elastic": ElasticAligner}


@pytest.fixture
def folder(tmp_path):
    """Return what looks like a Fiji with the plugins."""
    for name in ("plugins/bUnwarpJ_-2.6.13.jar", "jars/mpicbg-1.5.0.jar", "jars/jama-1.0.3.jar"):
        path = tmp_path / "Fiji" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "Fiji"


def coefficients(pull, intervals=4, shape=SHAPE):
    """Return the spline of a map, as bUnwarpJ would give it."""
    spline = fit_spline(lambda at: pull(at), shape, intervals)
    return np.array([spline.x, spline.y])


def see(monkeypatch, found):
    """Let bUnwarpJ find the same, whatever it is given; return what that was."""
    given = []

    def answer(fiji, fixed, moving, **rest):
        given.append((fiji, fixed, moving, rest))
        return found

    monkeypatch.setattr(bunwarpj, "bunwarpj_coefficients", answer)
    return given


# --- without a Fiji ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_the_table_finds_each_by_name_and_gives_it_the_fiji(folder, name):
    assert name in FIJI_ALIGNERS
    found = ALIGNERS[name](fiji=folder)

    assert isinstance(found, Aligner)
    assert (found.name, found.fiji) == (name, str(folder))


@pytest.mark.parametrize("shape", [(192, 192), (130, 201), (40, 33)])
@pytest.mark.parametrize("intervals", [1, 4, 16])
def test_a_spline_of_bunwarpj_becomes_the_field_that_it_is(shape, intervals):
    both = np.random.default_rng(intervals).normal(0, 20, (2, intervals + 3, intervals + 3))

    found = spline_field(both, shape)

    at = nodes(found.grid, found.stride)
    on_canvas = (at[..., 0] < shape[1]) & (at[..., 1] < shape[0])
    expected = CubicSpline(both[0], both[1], shape)(at[on_canvas]) - at[on_canvas]
    np.testing.assert_allclose(np.moveaxis(found.offsets, 0, -1)[on_canvas], expected, atol=1e-4)
    assert found.known.all()


def test_a_spline_that_is_not_finite_is_not_known():
    both = np.zeros((2, 7, 7))
    both[1, 2, 2] = np.nan

    assert not spline_field(both, SHAPE).known.any()


def test_what_bunwarpj_finds_comes_out_and_it_is_shown_data_and_masks(folder, monkeypatch):
    pull = Affine.translation(4.0, -3.0)
    fixed, moving = two_sections(pull, 1)
    moving[:20] = np.nan
    settings = BunwarpjSettings(mode="accurate")
    given = see(monkeypatch, coefficients(pull))

    found = BunwarpjAligner(folder, settings)(fixed, moving, ALL, ALL)

    np.testing.assert_allclose(found.offsets, np.broadcast_to([[[4.0]], [[-3.0]]], found.offsets.shape), atol=1e-3)
    (fiji, shown, seen, rest), = given  # fmt: skip
    assert fiji == str(folder)
    assert shown.dtype == seen.dtype == np.uint8
    assert rest["fixed_mask"].all()
    assert not rest["moving_mask"][:20].any()
    assert rest["moving_mask"][20:].all()
    assert rest["settings"] == settings


def test_a_section_that_bunwarpj_pushes_out_of_sight_is_not_known(folder, monkeypatch):
    fixed, moving = two_sections(Affine(), 2)
    see(monkeypatch, coefficients(Affine.translation(0.3 * SIDE, 0)))
    away = BunwarpjAligner(folder)(fixed, moving, ALL, ALL)
    see(monkeypatch, coefficients(Affine.translation(0.2 * SIDE, 0)))
    near = BunwarpjAligner(folder)(fixed, moving, ALL, ALL)

    assert not away.known.any()
    assert near.known.all()


@pytest.mark.parametrize(("name", "module", "call"), [
    ("bunwarpj", bunwarpj, "bunwarpj_coefficients"), ("elastic", elastic_alignment, "elastic_points"),
])  # fmt: skip
def test_sections_that_show_nothing_or_differ_in_size_never_reach_the_plugin(folder, monkeypatch, name, module, call):
    monkeypatch.setattr(module, call, lambda *_, **__: pytest.fail("the plugin was called"))
    aligner = MAKERS[name](folder)

    aligner_contract.blank_sections_give_an_unknown_field(aligner)
    aligner_contract.refuses_sections_of_different_sizes(aligner)
    tiny = np.random.default_rng(1).uniform(0, 255, (20, 30)).astype(np.float32)
    assert not aligner(tiny, tiny, np.ones((20, 30), bool), np.ones((20, 30), bool)).known.any()


def test_what_the_spring_mesh_says_comes_out_and_too_few_blocks_are_not_known(folder, monkeypatch):
    fixed, moving = two_sections(Affine(), 3)
    pull = Affine(1.02, 0.01, -0.01, 0.99, 2.0, -1.0)
    answers = [lambda at: pull(at), lambda at: None, lambda at: np.full_like(at, np.nan)]
    monkeypatch.setattr(elastic_alignment, "elastic_points", lambda *_, at, **__: answers.pop(0)(at))
    aligner = ElasticAligner(folder)

    found, too_few, nowhere = (aligner(fixed, moving, ALL, ALL) for _ in range(3))

    at = nodes(found.grid, found.stride).reshape(-1, 2)
    np.testing.assert_allclose(found(at), pull(at), atol=1e-3)
    assert not too_few.known.any()
    assert not nowhere.known.any()


def test_lengths_of_the_spring_mesh_grow_with_the_sections():
    small, large = settings_for((512, 600)), settings_for((1024, 1024))

    assert small == ElasticSettings()
    assert large.search_radius == 2 * small.search_radius
    assert large.local_sigma == 2 * small.local_sigma
    assert large.resolution == small.resolution


@pytest.mark.parametrize("name", MAKERS)
def test_without_a_fiji_one_line_says_how_to_name_one(name, monkeypatch):
    monkeypatch.setattr("demis_ij.imagej.plugins.running_session", lambda: None)

    with pytest.raises(InputError, match=r"plugin of Fiji, and no Fiji was named.*--fiji PATH") as said:
        MAKERS[name]()
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: BunwarpjSettings(mode="monos"), "did you mean 'mono'"),
        (lambda: BunwarpjSettings(final_deformation="finest"), "very fine"),
        (lambda: BunwarpjSettings(initial_deformation="fine", final_deformation="coarse"), "finer than the final"),
        (lambda: BunwarpjSettings(curl_weight=-1), "curl_weight"),
        (lambda: ElasticSettings(scale=2), "scale: 2"),
        (lambda: ElasticSettings(min_r=1.5), "min_r"),
    ],
)
def test_settings_out_of_range_are_refused(made, reason):
    with pytest.raises(InputError, match=reason):
        made()


# --- with a real Fiji (--fiji) ----------------------------------------------------------------------------------------


@pytest.mark.java
@pytest.mark.parametrize(
    "check", [*aligner_contract.CHECKS, *aligner_contract.ELASTIC_CHECKS], ids=lambda c: c.__name__
)
@pytest.mark.parametrize("name", MAKERS)
def test_the_plugins_keep_the_contract(fiji_folder, imagej_session, name, check):
    check(MAKERS[name](fiji_folder))


@pytest.mark.java
@pytest.mark.parametrize("mode", MODES)
def test_the_field_is_the_raw_transformation_that_bunwarpj_would_save(fiji_folder, imagej_session, mode):
    rows, cols = 140, 192
    fixed, moving = (np.clip(s[:rows], 0, 255).astype(np.uint8) for s in two_sections(smooth_warp(4), 4))
    known = np.ones((rows, cols), bool)

    found = bunwarpj_coefficients(
        str(fiji_folder), fixed, moving, fixed_mask=known, moving_mask=known, settings=BunwarpjSettings(mode=mode)
    )

    with running(BUNWARPJ, str(fiji_folder)) as classes:
        planes = [jpype.JArray(jpype.JDouble, 2)(np.zeros((rows, cols)).tolist()) for _ in "xy"]
        spline = [jpype.JArray(jpype.JDouble, 2)(c.tolist()) for c in found]
        classes("bunwarpj.MiscTools").convertElasticTransformationToRaw(
            stacks.to_imageplus(fixed, "yx", "target"), found.shape[1] - 3, *spline, *planes
        )
        raw = np.array([np.array(p) for p in planes])
    ours = spline_field(found, (rows, cols))
    at = nodes(ours.grid, ours.stride).astype(int)
    on_canvas = (at[..., 0] < cols) & (at[..., 1] < rows)
    x, y = at[on_canvas].T
    assert np.abs(raw[0] - np.arange(cols)).max() > 3  # px: it did bend
    np.testing.assert_allclose(ours.offsets[:, on_canvas], raw[:, y, x] - [x, y], atol=1e-3)


@pytest.mark.java
def test_blocks_that_a_mask_hides_move_no_vertex(fiji_folder, imagej_session):
    fixed, moving = (np.clip(s, 0, 255).astype(np.uint8) for s in two_sections(Affine.translation(3.0, 2.0), 5))
    hidden = np.zeros(SHAPE, bool)
    at = np.array([[96.0, 96.0]])

    found = elastic_points(
        str(fiji_folder), fixed, moving, fixed_mask=ALL, moving_mask=ALL, settings=settings_for(SHAPE), at=at
    )
    nothing = elastic_points(
        str(fiji_folder), fixed, moving, fixed_mask=ALL, moving_mask=hidden, settings=settings_for(SHAPE), at=at
    )

    np.testing.assert_allclose(found - at, [[3.0, 2.0]], atol=0.3)
    assert nothing is None
