"""Eqs. 4 and 5 by hand, the mask at the size of the features, and which errors loss drop takes."""

import pytest
import torch

from demis_ij.nets.ssemnet_loss import (
    Weights,
    drop_share,
    feature_errors,
    kept_by_loss_drop,
    registration_loss,
    resized_mask,
    smoothness,
)

NONE = Weights(0, 0, 0)
STILL = torch.zeros(2, 2, 2)


def test_eq_4_by_hand():
    """One neighbour, two features at two places; a vector map of two by two nodes, 4 px apart."""
    found = torch.tensor([[[1.0, 2.0]], [[0.0, 1.0]]])
    wanted = torch.tensor([[[0.0, 2.0]], [[2.0, 4.0]]])  # squared errors 1 + 4 and 0 + 9
    v = torch.tensor([[[1.0, 3.0], [1.0, 3.0]], [[0.0, 0.0], [-2.0, -2.0]]])
    # ||v||^2 = 20 + 8; grad v_x: two differences of 2 / 4, grad v_y: two of -2 / 4
    loss = registration_loss(found, [wanted], [1.0], [torch.ones(1, 2)], v, 4.0, Weights(0.1, 10.0, 100.0))
    assert float(loss) == pytest.approx(14 + 0.1 * 28 + 10 * 0.5 + 100 * 0.5)


def test_eq_5_weighs_the_neighbours_and_masks_the_empty_space():
    found = torch.zeros(1, 1, 3)
    wanted = [torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[2.0, 2.0, 2.0]]])]
    masks = [torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[0.5, 1.0, 1.0]])]
    loss = registration_loss(found, wanted, [2.0, 0.5], masks, STILL, 1.0, NONE)
    assert float(loss) == pytest.approx(2 * (1 + 4) + 0.5 * (0.5 * 4 + 4 + 4))


def test_beta_weighs_x_and_gamma_y():
    v = torch.zeros(2, 3, 3)
    v[0, 1, 1] = 1  # four differences of 1 px over 2 px
    size, rough_x, rough_y = smoothness(v, 2.0)
    assert (float(size), float(rough_x), float(rough_y)) == (1.0, 1.0, 0.0)


def test_the_mask_at_the_size_of_the_features_is_its_bilinear_value():
    mask = torch.zeros(4, 8)
    mask[:, 3:] = 1
    # features 2 px apart: their places 0.5, 2.5, 4.5, 6.5 lie halfway between pixels
    torch.testing.assert_close(resized_mask(mask, (2, 4)), torch.tensor([[0.0, 0.5, 1.0, 1.0]] * 2))


def test_the_mask_of_an_image_without_empty_space_is_one_everywhere():
    assert (resized_mask(torch.ones(37, 53), (5, 7)) == 1).all()


def test_loss_drop_takes_exactly_the_largest_share():
    errors = torch.tensor([[5.0, 1.0, 9.0], [7.0, 3.0, 0.0]])
    keep = kept_by_loss_drop(errors, torch.ones(2, 3), 0.5)
    torch.testing.assert_close(keep, torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]))
    assert kept_by_loss_drop(errors, torch.ones(2, 3), 0.0).all()
    assert int(kept_by_loss_drop(errors, torch.ones(2, 3), 0.25).sum()) == 5  # 1.5 is rounded down


def test_loss_drop_ranks_only_where_there_is_data():
    errors, mask = torch.tensor([[100.0, 1.0, 2.0]]), torch.tensor([[0.0, 1.0, 1.0]])
    torch.testing.assert_close(kept_by_loss_drop(errors, mask, 0.5), torch.tensor([[1.0, 1.0, 0.0]]))


def test_loss_drop_leaves_equal_errors_equal_in_number():
    assert int(kept_by_loss_drop(torch.ones(10, 10), torch.ones(10, 10), 0.5).sum()) == 50


def test_the_loss_counts_only_what_loss_drop_leaves():
    found, wanted = torch.zeros(1, 1, 4), torch.tensor([[[1.0, 4.0, 2.0, 3.0]]])
    loss = registration_loss(found, [wanted], [1.0], [torch.ones(1, 4)], STILL, 1.0, NONE, drop=0.5)
    assert float(loss) == pytest.approx(1 + 4)
    torch.testing.assert_close(feature_errors(found, wanted), torch.tensor([[1.0, 16.0, 4.0, 9.0]]))


def test_the_share_that_is_dropped_halves_at_each_iteration():
    assert [drop_share(0.5, k) for k in range(4)] == [0.5, 0.25, 0.125, 0.0625]


def test_dropped_features_have_no_gradient():
    found = torch.tensor([[[1.0, 3.0]]], requires_grad=True)
    loss = registration_loss(found, [torch.zeros(1, 1, 2)], [1.0], [torch.ones(1, 2)], STILL, 1.0, NONE, drop=0.5)
    loss.backward()
    torch.testing.assert_close(found.grad, torch.tensor([[[2.0, 0.0]]]))


def test_many_sections_at_once_have_the_losses_of_each():
    """Other masks, so that loss drop takes other numbers; other weights."""
    rng = torch.Generator().manual_seed(1)
    found, one, two = (torch.rand(3, 4, 5, 6, generator=rng) for _ in range(3))
    vectors, shares = (
        torch.rand(3, 2, 3, 3, generator=rng),
        [torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.2, 1.0, 3.0])],
    )
    masks = [(torch.rand(3, 5, 6, generator=rng) > 0.3).float() for _ in range(2)]
    weights = Weights(0.1, 2.0, 3.0)
    together = registration_loss(found, [one, two], shares, masks, vectors, 4.0, weights, 0.5)
    alone = [
        registration_loss(
            found[k],
            [one[k], two[k]],
            [float(s[k]) for s in shares],
            [m[k] for m in masks],
            vectors[k],
            4.0,
            weights,
            0.5,
        )
        for k in range(3)
    ]
    torch.testing.assert_close(together, torch.stack(alone))
