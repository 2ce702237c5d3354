"""The spatial transformer: each interpolation against the fields of the package, and its gradient."""

import numpy as np
import pytest
import torch

from demis_ij.errors import InputError
from demis_ij.fields import dense, grid_of, nodes, thin_plate
from demis_ij.geometry import Box
from demis_ij.nets.spatial_transformer import Interpolation, transformed
from demis_ij.records import Field

SHAPE = (41, 57)
KINDS = ("bilinear", "tps", "bspline")


def vector_map(spacing, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).normal(0, 3, (2, *grid_of(shape, spacing))).astype(np.float32)


def test_bilinear_offsets_are_those_of_a_field():
    v = vector_map(8)
    found = Interpolation("bilinear", SHAPE, 8)(torch.from_numpy(v)).numpy()
    np.testing.assert_allclose(found, dense(Field(v, 8), Box(0, 0, SHAPE[1], SHAPE[0])), atol=1e-5)


def test_a_thin_plate_spline_is_that_of_the_fields():
    v = vector_map(16)
    found = Interpolation("tps", SHAPE, 16)(torch.from_numpy(v)).numpy()
    at = nodes(v.shape[1:], 16).reshape(-1, 2)
    wanted = thin_plate(at, v.reshape(2, -1).T, SHAPE, 1).offsets
    np.testing.assert_allclose(found[:, ::2, ::2], wanted[:, ::2, ::2], atol=2e-4)  # evaluated at every second pixel
    np.testing.assert_allclose(found, wanted, atol=0.2)  # px: bilinear between these, in a very rough map


def test_a_cubic_b_spline_has_the_values_of_the_closed_form():
    """On a node it is (1, 4, 1) / 6 of three coefficients, halfway (1, 23, 23, 1) / 48 of four."""
    v = np.zeros((2, *grid_of((33, 33), 8)), np.float32)
    v[0, 2, 2] = 48
    found = Interpolation("bspline", (33, 33), 8)(torch.from_numpy(v)).numpy()
    assert found[0, 16, 16] == pytest.approx(48 * (4 / 6) ** 2, abs=1e-4)
    assert found[0, 16, 8] == pytest.approx(48 * (4 / 6) * (1 / 6), abs=1e-4)
    assert found[0, 16, 20] == pytest.approx(48 * (4 / 6) * (23 / 48), abs=1e-4)
    assert found[0, 16, 28] == pytest.approx(48 * (4 / 6) * (1 / 48), abs=1e-4)
    assert not found[1].any()


@pytest.mark.parametrize("kind", KINDS)
def test_an_affine_map_stays_one(kind):
    at = nodes(grid_of(SHAPE, 10), 10)
    v = np.stack([0.1 * at[..., 0] - 0.2 * at[..., 1] + 3, 0.05 * at[..., 1] - 1]).astype(np.float32)
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    found = Interpolation(kind, SHAPE, 10)(torch.from_numpy(v)).numpy()
    np.testing.assert_allclose(found, [0.1 * x - 0.2 * y + 3, 0.05 * y - 1], atol=2e-3)


def test_a_vector_map_with_one_cell_is_coarse_enough():
    found = Interpolation("bilinear", (20, 20), 500)
    assert found.grid == (2, 2)
    assert found(torch.ones(2, 2, 2)).shape == (2, 20, 20)


def test_a_vector_map_finer_than_the_image_is_refused_in_one_line():
    with pytest.raises(InputError, match="finer than the image") as refused:
        Interpolation("bilinear", SHAPE, 0.5)
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="the shape"):
        Interpolation("bilinear", SHAPE, 8)(torch.zeros(2, 100, 100))


def test_a_thin_plate_spline_with_too_many_nodes_is_refused():
    with pytest.raises(InputError, match="nodes further apart"):
        Interpolation("tps", (4000, 4000), 16)


def test_an_unknown_interpolation_names_those_that_are_known():
    with pytest.raises(InputError, match="bilinear, tps or bspline"):
        Interpolation("nearest", SHAPE, 8)


def test_a_whole_shift_looks_up_the_pixels_and_masks_what_comes_from_outside():
    image, mask = torch.rand(6, 8), torch.ones(6, 8)
    mask[3, 5] = 0
    offsets = torch.zeros(2, 6, 8)
    offsets[0], offsets[1] = 2, -1  # from two columns to the right, one row above
    moved, seen = transformed(image, mask, offsets)
    torch.testing.assert_close(moved[1:, :6][seen[1:, :6] > 0], image[:5, 2:][mask[:5, 2:] > 0])
    wanted = torch.zeros(6, 8)
    wanted[1:, :6] = mask[:5, 2:]
    torch.testing.assert_close(seen, wanted)
    torch.testing.assert_close(moved[seen == 0], torch.full_like(moved[seen == 0], 0.5))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_the_vector_map_is_that_of_finite_differences(kind):
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    image = torch.sin(x / 4) * torch.cos(y / 5)
    spread = Interpolation(kind, (24, 24), 8)
    v = torch.from_numpy(vector_map(8, 1, (24, 24)) * 0.1)

    def total(v):
        moved, _ = transformed(image, torch.ones(24, 24), spread(v))
        return (moved[6:18, 6:18] ** 2).sum()  # not where a step changes what is inside

    v.requires_grad_()
    total(v).backward()
    for at in ((0, 1, 1), (1, 2, 1), (0, 2, 2)):
        step = torch.zeros_like(v)
        step[at] = 5e-3
        with torch.no_grad():
            slope = (total(v + step) - total(v - step)) / 1e-2
        assert float(v.grad[at]) == pytest.approx(float(slope), rel=0.05, abs=0.01)


@pytest.mark.parametrize("kind", ["bilinear", "tps", "bspline"])
def test_many_images_at_once_are_each_transformed_as_alone(kind):
    rng = torch.Generator().manual_seed(5)
    spread = Interpolation(kind, (20, 26), 6.0)
    vectors = 3 * torch.randn(3, 2, *spread.grid, generator=rng)
    images, masks = torch.rand(3, 20, 26, generator=rng), (torch.rand(3, 20, 26, generator=rng) > 0.1).float()
    together = transformed(images, masks, spread(vectors))
    alone = [transformed(images[k], masks[k], spread(vectors[k])) for k in range(3)]
    for n in range(2):
        torch.testing.assert_close(together[n], torch.stack([one[n] for one in alone]), atol=1e-4, rtol=1e-4)
