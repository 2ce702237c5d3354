"""Every aligner keeps the contract; the name table finds each."""

import sys

import numpy as np
import pytest

from demis_ij.aligners.affine import AffineAligner
from demis_ij.aligners.bspline import BsplineAligner
from demis_ij.aligners.flow import FlowAligner
from demis_ij.aligners.looks import evened, unfolded
from demis_ij.errors import InputError, MissingPart
from demis_ij.fields import jacobian
from demis_ij.protocols import ALIGNERS, Aligner
from demis_ij.records import Affine, Field
from demis_ij.testing import aligner_contract
from demis_ij.testing.aligner_contract import two_sections

MAKERS = {
    "flow": FlowAligner,
    "affine": AffineAligner,
    "bspline": lambda: BsplineAligner(levels=3, iterations=60),  # a quarter of the time
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("check", aligner_contract.CHECKS, ids=lambda c: c.__name__)
def test_aligners_keep_the_contract(name, check):
    check(MAKERS[name]())


@pytest.mark.parametrize("name", ["flow", "bspline"])
@pytest.mark.parametrize("check", aligner_contract.ELASTIC_CHECKS, ids=lambda c: c.__name__)
def test_elastic_aligners_bend_as_the_contract_says(check, name):
    check(MAKERS[name]())


@pytest.mark.parametrize("name", MAKERS)
def test_the_table_finds_each_aligner_by_its_own_name(name):
    found = ALIGNERS[name]()

    assert isinstance(found, Aligner)
    assert found.name == name


def test_without_its_package_bspline_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "itk", None)

    with pytest.raises(MissingPart, match=r"demis_ij\[baselines\]"):
        ALIGNERS["bspline"]()


def test_bspline_says_the_same_when_it_is_asked_again_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fixed, moving = two_sections(Affine.translation(2.0, 1.0), 23)
    known = np.ones(fixed.shape, bool)

    one, two = (BsplineAligner(levels=2, iterations=20)(fixed, moving, known, known) for _ in range(2))

    np.testing.assert_array_equal(one.offsets, two.offsets)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'flow'"):
        ALIGNERS["flwo"]


def test_the_contract_sees_an_aligner_that_does_nothing():
    class Idle:
        name = "idle"

        def __call__(self, fixed, moving, fixed_mask, moving_mask):
            return Field(np.zeros((2, 25, 25), np.float32), 8)

    with pytest.raises(AssertionError, match="px off"):
        aligner_contract.recovers_an_affine_map(Idle())
    with pytest.raises(AssertionError, match="nothing to see"):
        aligner_contract.blank_sections_give_an_unknown_field(Idle())


def test_flow_fills_what_a_section_lacks_from_its_surroundings():
    fixed, moving = two_sections(Affine.translation(3.0, -2.0), 21)
    mask = np.ones(fixed.shape, bool)
    mask[:, 120:] = False
    empty = np.where(mask, moving, 0).astype(np.float32)

    found = FlowAligner()(fixed, empty, np.ones(fixed.shape, bool), mask)

    at = found([[180.0, 96.0]])[0] - (180, 96)
    np.testing.assert_allclose(at, (3, -2), atol=0.7)  # px: sixty px away from the data


def test_sections_of_even_contrast_differ_by_their_content_only():
    section, _ = two_sections(Affine(), 22)
    mask = np.ones(section.shape, bool)
    light = np.linspace(0.7, 1.0, section.shape[1], dtype=np.float32)

    one, two = evened(section, mask, 14), evened(section * light + 20 * light, mask, 14)

    assert np.median(np.abs(one.astype(float) - two)) <= 3  # grey levels of 255


def test_a_fold_is_smoothed_away_and_a_field_without_one_is_untouched():
    offsets = np.zeros((2, 20, 20), np.float32)
    offsets[0, :, 10:] = -30  # px: nodes are 8 px apart, so the right half lies over the left
    folded, plain = Field(offsets, 8), Field(offsets / 30, 8)
    assert jacobian(folded).min() < 0

    assert jacobian(unfolded(folded)).min() >= 0.05
    np.testing.assert_array_equal(unfolded(plain).offsets, plain.offsets)
