"""What elastic registration weighs: gradients are those of the energies, curvatures are symmetric and not negative."""

import numpy as np
import pytest
import torch

from demis_ij.aligners.elastic_levels import pyramid
from demis_ij.aligners.elastic_similarity import similarity
from demis_ij.aligners.elastic_terms import Bending, Consistency, Folding, Landmarks, Likeness, Rest, together
from demis_ij.config.elastic import SIMILARITIES, ElasticSettings
from demis_ij.nets.bspline_grid import Lattice
from demis_ij.records import Affine
from demis_ij.testing.aligner_contract import two_sections

SHAPE = (60, 80)
INTERVALS = 4


def cells():
    y, x = ((torch.arange(16, dtype=torch.float64) + 0.5) * ((n - 1) / 16) for n in SHAPE)
    return Lattice.at(y, x, SHAPE, INTERVALS)


def splines(seed=0, sd=4.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, sd, (2, 2, INTERVALS + 3, INTERVALS + 3)))


def points(count=40, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).uniform(5, 55, (count, 2)))


TERMS = {
    "bending": lambda: Bending(cells(), 0.3, 0.7, 15.0),
    "rest": lambda: Rest(cells(), 0.2),
    "folding": lambda: Folding(cells(), 2.0, 0.45),
    "consistency": lambda: Consistency(
        torch.linspace(5, 55, 7).double(), torch.linspace(5, 75, 9).double(), SHAPE, INTERVALS, 1.5
    ),
    "landmarks": lambda: Landmarks(
        torch.stack([points(9, 2), points(9, 3)]), torch.rand(9, dtype=torch.float64) + 0.5, SHAPE, INTERVALS
    ),
}


@pytest.mark.parametrize("name", TERMS)
def test_the_gradient_is_the_derivative_of_the_energy(name):
    term, at = TERMS[name](), splines(4)
    here = term(at)
    assert float(here.energy) > 0
    for seed in (5, 6):
        way = splines(seed, 1.0)
        step = 1e-5
        slope = float(term(at + step * way).energy - term(at - step * way).energy) / (2 * step)
        assert float((here.gradient * way).sum()) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_the_curvature_is_symmetric_and_not_negative(name):
    here = TERMS[name]()(splines(7))
    one, two = splines(8), splines(9)
    assert float((one * here.product(two)).sum()) == pytest.approx(float((two * here.product(one)).sum()), rel=1e-9)
    assert float((one * here.product(one)).sum()) > 0


def test_an_affine_displacement_neither_bends_nor_folds():
    x, y = torch.meshgrid(torch.arange(7.0).double(), torch.arange(7.0).double(), indexing="xy")
    affine = torch.stack([0.3 * x - 0.2 * y + 1, 0.1 * x + 0.4 * y - 2])[None]
    assert float(Bending(cells(), 1, 1, 15)(affine).energy) == pytest.approx(0, abs=1e-9)
    assert float(Folding(cells(), 1, 0.1)(affine).energy) == 0


@pytest.mark.parametrize("name", SIMILARITIES)
def test_what_pixels_say_is_the_slope_of_the_likeness(name):
    fixed, moving = two_sections(Affine.translation(1.5, -1.0), 3)
    images = torch.from_numpy(np.stack([fixed, moving]))
    settings = ElasticSettings(similarity=name, mode="mono", coarsest_px=128)
    level = pyramid(images, torch.ones_like(images), settings)[-1]
    likeness = Likeness(level, 1.0)
    at = torch.zeros(1, 2, level.intervals + 3, level.intervals + 3)
    here = likeness(at)
    way = torch.zeros_like(at)
    way[:, 0], way[:, 1] = 1.5, -1.0  # to where it should be
    assert float((here.gradient * way).sum()) < 0
    assert float(likeness(at + way).energy) < float(likeness(at + 0.5 * way).energy) < float(here.energy)
    slope = float(likeness(at + 0.02 * way).energy - likeness(at - 0.02 * way).energy) / 0.04
    assert float((here.gradient * way).sum()) == pytest.approx(slope, rel=0.3)  # the windows' own change is left out


def test_terms_add_up():
    terms, at, way = [make() for make in TERMS.values()], splines(10), splines(11)
    both = together(terms, at)
    assert float(both.energy) == pytest.approx(sum(float(t(at).energy) for t in terms))
    np.testing.assert_allclose(both.product(way), sum(t(at).product(way) for t in terms), atol=1e-9)


def test_ncc_neither_sees_shading_nor_gain_and_mi_not_even_inversion():
    section, _ = two_sections(Affine(), 12)
    light = np.linspace(0.5, 1.0, section.shape[1], dtype=np.float32)
    mask = torch.ones(2, *section.shape)
    for name, other, least in (("ncc", 40 + section * light, 0.97), ("mi", 255 - section, 1.0)):
        measure = similarity(name, section.shape, 8.0, torch.device("cpu"))
        features = measure.features(torch.from_numpy(np.stack([section, other.astype(np.float32)])), mask)
        assert measure.score(features[:1], features[1:], mask[:1]) > least
