"""B-splines on lattices and at points: the formula of bUnwarpJ's files, derivatives, adjoints, refinement."""

import numpy as np
import pytest
import torch

from demis_ij.formats.splines import CubicSpline
from demis_ij.nets.bspline_grid import Lattice, Places, identity, refined, taps

SHAPE = (41, 67)
INTERVALS = 4


def coefficients(seed=0, count=2, intervals=INTERVALS):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(0, 5, (count, intervals + 3, intervals + 3)))


def lattice(intervals=INTERVALS):
    y, x = (torch.arange(n, dtype=torch.float64) for n in SHAPE)
    return Lattice.at(y, x, SHAPE, intervals)


def test_a_lattice_gives_what_the_formula_of_bunwarpjs_files_gives():
    c = coefficients()
    found = lattice()(c).numpy()
    x, y = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[0]))
    said = CubicSpline(c[0].numpy(), c[1].numpy(), SHAPE)(np.stack([x, y], -1).reshape(-1, 2))
    np.testing.assert_allclose(np.moveaxis(found, 0, -1).reshape(-1, 2), said, atol=1e-10)


def test_points_give_what_the_lattice_gives_with_its_derivatives():
    c, whole = coefficients(1), lattice()
    x, y = torch.meshgrid(torch.arange(SHAPE[1]).double(), torch.arange(SHAPE[0]).double(), indexing="xy")
    places = Places.at(torch.stack([x, y], -1).reshape(-1, 2), SHAPE, INTERVALS)
    for kind, orders in enumerate(((0, 0), (0, 1), (1, 0))):  # value, along x, along y
        np.testing.assert_allclose(places(c, kind).numpy(), whole(c, *orders).flatten(1).numpy(), atol=1e-10)


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_are_those_of_the_value(order):
    at = torch.linspace(0.3, 39.7, 200, dtype=torch.float64, requires_grad=True)
    index, weights = taps(at, SHAPE[0], INTERVALS, order - 1)
    c = coefficients(2)[0, 0]
    (slope,) = torch.autograd.grad((c[index] * weights).sum(), at)
    index, weights = taps(at.detach(), SHAPE[0], INTERVALS, order)
    np.testing.assert_allclose((c[index] * weights).sum(-1).numpy(), slope.numpy(), atol=1e-10)


@pytest.mark.parametrize("orders", [(0, 0), (1, 1), (0, 2)])
def test_pulling_is_the_adjoint_of_evaluating(orders):
    c, whole = coefficients(3), lattice()
    values = torch.from_numpy(np.random.default_rng(4).normal(size=(2, *SHAPE)))
    there, back = (whole(c, *orders) * values).sum(), (c * whole.pulled(values, *orders)).sum()
    assert float(there) == pytest.approx(float(back), rel=1e-10)
    points = torch.rand(50, 2, dtype=torch.float64) * torch.tensor([66.0, 40.0])
    places, said = Places.at(points, SHAPE, INTERVALS), torch.rand(2, 50, dtype=torch.float64)
    assert float((places(c) * said).sum()) == pytest.approx(float((c * places.pulled(said, 7)).sum()), rel=1e-10)


def test_twice_the_intervals_make_the_same_map():
    c = coefficients(5)
    np.testing.assert_allclose(lattice(2 * INTERVALS)(refined(c)).numpy(), lattice()(c).numpy(), atol=1e-10)


def test_the_identity_sends_each_pixel_to_itself():
    found = lattice()(identity(SHAPE, INTERVALS, torch.zeros((), dtype=torch.float64)))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    np.testing.assert_allclose(found.numpy(), np.stack([x, y]), atol=1e-10)
