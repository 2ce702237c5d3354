"""The two-headed network: its geometry is exact, its frames go there and back, and other weights are refused."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij.errors import InputError, WeightsError
from demis_ij.nets.two_headed import PARAMETERS, Features, Form, TwoHeaded, levelled
from demis_ij.nets.two_headed_frames import Look, framed, predict, predict_batch, prepared
from demis_ij.nets.two_headed_geometry import brought, composed, inverted, matrices, parameters_in, turned, volume
from demis_ij.nets.two_headed_passes import find
from demis_ij.nets.two_headed_weights import load_two_headed, save_two_headed
from demis_ij.nets.weights import shipped
from demis_ij.synth.correlative_pairs import to_moving_of

TINY = Form(side=64, widths=(8, 12, 16), coarse=6, fine=6)
parameters = st.tuples(st.floats(-0.5, 0.5), st.floats(-0.25, 0.25), st.floats(-0.1, 0.1), st.floats(-0.1, 0.1))


def picture(seed=0, side=128, sigma=4.0):
    noise = np.random.default_rng(seed).standard_normal((side, side)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), sigma)


def tiny(seed=1, form=TINY):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TwoHeaded(form).eval().requires_grad_(False)


@settings(deadline=None)
@given(parameters)
def test_matrices_and_parameters_are_inverse_of_each_other(drawn):
    given_ = torch.tensor([drawn], dtype=torch.float64)
    torch.testing.assert_close(parameters_in(matrices(given_)), given_, atol=1e-12, rtol=0)


@settings(deadline=None)
@given(parameters)
def test_a_similarity_after_its_inverse_moves_nothing(drawn):
    there = matrices(torch.tensor([drawn], dtype=torch.float64))
    torch.testing.assert_close(
        composed(there, inverted(there))[0], torch.eye(2, 3, dtype=torch.float64), atol=1e-12, rtol=0
    )


@settings(deadline=None)
@given(parameters)
def test_matrices_say_the_same_as_the_pairs_that_are_made(drawn):
    """`to_moving_of` counts px, `matrices` count the frame from -1 to 1."""
    side = 96
    px = to_moving_of(np.array(drawn), side)
    frame = matrices(torch.tensor(drawn, dtype=torch.float64)).numpy()
    corner = np.array([-1.0, 1.0, 1.0])
    there = (frame @ corner + 1) * side / 2 - 0.5
    np.testing.assert_allclose(px([-0.5, side - 0.5]), there, atol=1e-9)


def test_a_volume_is_the_sum_of_products_at_each_shift():
    rng = np.random.default_rng(4)
    one = torch.from_numpy(rng.standard_normal((1, 2, 6, 6)))
    fixed, moving = one[:, None], torch.from_numpy(rng.standard_normal((1, 2, 6, 6)))
    found = volume(fixed, moving, 2)
    for dy, dx in ((0, 0), (1, -2), (-2, 2)):
        shifted = torch.zeros_like(moving)
        rows, cols = slice(max(0, -dy), 6 - max(0, dy)), slice(max(0, -dx), 6 - max(0, dx))
        from_rows, from_cols = slice(max(0, dy), 6 + min(0, dy)), slice(max(0, dx), 6 + min(0, dx))
        shifted[..., rows, cols] = moving[..., from_rows, from_cols]
        assert found[0, 0, dy + 2, dx + 2].item() == pytest.approx((one * shifted).mean().item())


def test_every_second_cell_gives_the_same_shifts():
    moving = torch.from_numpy(picture(2, 32, 2.0)).double()[None, None]
    still = torch.zeros(1, 1, 4, dtype=torch.float64)
    whole = volume(turned(moving, still), moving, 3)
    half = volume(turned(moving, still, every=2), moving, 3, every=2)
    assert whole.shape == half.shape
    assert whole.flatten().argmax() == half.flatten().argmax() == 3 * 7 + 3


@settings(max_examples=15, deadline=None)
@given(parameters)
def test_the_volumes_peak_at_the_transform_when_features_follow_the_picture(drawn):
    """Smooth pictures are their own features: what is left is the geometry, exact to a part of a cell."""
    net = tiny(form=Form())
    net.sharpness.fill_(3.5)
    truth = torch.tensor([drawn])
    fixed = torch.from_numpy(picture())[None, None]
    mask = torch.ones_like(fixed)
    moving = brought(fixed, inverted(matrices(truth)), "bicubic")

    def reduced(x, k):
        return levelled(torch.nn.functional.avg_pool2d(x, k), mask)

    found = Features(reduced(fixed, 4), reduced(moving, 4), reduced(fixed, 2), reduced(moving, 2))
    estimate, stats = net.look(found)
    assert stats.isfinite().all()
    away = (estimate - truth).abs()[0]
    assert away[0] < math.radians(2)
    assert away[1] < 0.035
    assert away[2:].max() < 1 / 64  # one fine cell


def test_targets_are_standardised_and_brought_back():
    net = tiny()
    net.mean.copy_(torch.tensor([0.1, 0.0, 0.02, -0.02]))
    net.deviation.copy_(torch.tensor([0.3, 0.15, 0.07, 0.07]))
    estimate = torch.tensor([[0.2, -0.1, 0.05, 0.01]])
    said = net.judged(estimate, torch.zeros(1, 18))  # an untrained regressor adds nothing
    torch.testing.assert_close(said[:, :4], (estimate - net.mean) / net.deviation)
    torch.testing.assert_close(net.parameters_of(said[:, :4]), estimate)


@pytest.mark.parametrize("shape", [(64, 64), (150, 90), (33, 200), (512, 400)])
def test_a_frame_goes_back_to_the_pixels_that_it_was_made_of(shape):
    rows, cols = np.indices(shape).astype(np.float32)
    side = 64
    made = framed(rows + 3 * cols, None, max(shape) / side, side)
    assert made.picture.shape == made.share.shape == (side, side)
    corner = np.argwhere(made.share > 0).min(0)[::-1]
    step = made.to_image.a, made.to_image.d
    np.testing.assert_allclose(made.to_image(corner), np.array(step) / 2 - 0.5, atol=1e-9)
    middle = made.to_image.inverse((np.array(shape[::-1]) - 1) / 2)
    np.testing.assert_allclose(middle, (side - 1) / 2, atol=0.5)  # odd rests lie half a px aside


def test_tone_and_shading_are_gone_from_a_prepared_picture():
    grey = picture(3)
    slope = np.linspace(0.5, 1.5, 128, dtype=np.float32)
    plain, _ = prepared(grey, None, 64)
    shaded, _ = prepared(40 + 7 * grey * slope, None, 64)
    assert np.corrcoef(plain.ravel(), shaded.ravel())[0, 1] > 0.98


def test_what_is_not_known_is_zero_and_has_no_share():
    grey = picture(5)
    grey[:40] = np.nan
    shown, share = prepared(grey, None, 64)
    assert np.isfinite(shown).all()
    assert not shown[:19].any()
    assert not share[:19].any()
    assert (share[21:] == 1).all()


def test_pictures_of_any_two_sizes_are_registered():
    net = tiny()
    looks = [(Look(picture(1, 200)), Look(picture(2, 90))), (Look(picture(3)), Look(picture(4)[:70]))]
    found = predict_batch(looks, net=net)
    assert len(found) == 2
    for one in found:
        assert np.isfinite(one.to_moving.matrix).all()
        assert one.sigma_px > 0
        assert 0.3 < one.scale < 3


def test_pixel_sizes_are_a_change_of_units():
    """The same two fields, one of them at half the px: with pixel sizes known the answer is the same field."""
    net, fixed, moving = tiny(), picture(1, 128), picture(2, 128)
    plain = predict(fixed, moving, net=net)
    small = cv2.resize(moving, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    told = predict(fixed, small, net=net, pixel_sizes=(1.0, 2.0))
    assert told.scale == pytest.approx(plain.scale / 2, rel=1e-4)
    assert told.angle_deg == pytest.approx(plain.angle_deg, abs=0.01)


def test_the_second_pass_starts_where_the_first_ended():
    net = tiny()
    planes = [torch.from_numpy(prepared(picture(k), None, 64)[0])[None, None] for k in (1, 2)]
    masks = [torch.ones_like(p) for p in planes]
    once, twice = find(net, *planes, *masks, passes=1), find(net, *planes, *masks, passes=2)
    torch.testing.assert_close(once.transforms, twice.before)
    torch.testing.assert_close(once.before, torch.eye(2, 3)[None])


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.full((64, 64), 7, np.uint8), "one grey level"),
        (np.full((64, 64), np.nan), "one grey level or no data"),
        (np.zeros((10, 64)), "needed 32 px"),
        (np.zeros((64, 64, 2)), "needed grey"),
        (np.zeros((64, 64, 7)), "needed grey"),
    ],
)
def test_pictures_that_cannot_be_used_are_refused_in_one_line(image, said):
    with pytest.raises(InputError, match=said) as caught:
        predict(image, picture(), net=tiny())
    assert "\n" not in str(caught.value)
    assert "fixed" in str(caught.value)


def test_colour_and_16_bit_are_registered_as_their_grey():
    net, grey = tiny(), np.clip(128 + 400 * picture(1), 0, 255).astype(np.uint8)
    other = picture(2)
    plain = predict(grey, other, net=net)
    colour = predict(np.stack([grey] * 3, -1), other, net=net)
    deep = predict(grey.astype(np.uint16) * 256, other, net=net)
    np.testing.assert_allclose(colour.to_moving.matrix, plain.to_moving.matrix, atol=1e-3)
    np.testing.assert_allclose(deep.to_moving.matrix, plain.to_moving.matrix, atol=1e-3)


@pytest.mark.parametrize("separate", [False, True])
def test_weights_come_back_as_they_were_with_their_targets(tmp_path, separate):
    net = tiny(form=Form(side=64, widths=(8, 12, 16), coarse=6, fine=6, separate=separate))
    net.deviation.copy_(torch.tensor([0.3, 0.15, 0.07, 0.06]))
    save_two_headed(tmp_path / "net.safetensors", net, {"step": 3})
    back = load_two_headed(str(tmp_path / "net.safetensors"))
    assert back.net.form == net.form
    assert back.card == {"step": 3}
    torch.testing.assert_close(back.net.deviation, net.deviation)
    one, other = (predict(picture(1), picture(2), net=n).to_moving.matrix for n in (net, back.net))
    np.testing.assert_allclose(one, other, atol=1e-3)  # px: another order of sums in another layout of memory


def test_weights_of_another_network_or_damaged_ones_are_refused_in_one_line(tmp_path):
    path = tmp_path / "net.safetensors"
    save_two_headed(path, tiny(), {})
    bytes_ = bytearray(path.read_bytes())
    bytes_[-9] ^= 1
    path.write_bytes(bytes_)
    with pytest.raises(WeightsError, match="damaged"):
        load_two_headed(str(path))
    with pytest.raises(WeightsError, match="another network"):
        load_two_headed(str(shipped("loftr_em")))
    with pytest.raises(WeightsError, match="neither a file"):
        load_two_headed(str(tmp_path / "none.safetensors"))
    path.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="cannot be read") as caught:
        load_two_headed(str(path))
    assert "\n" not in str(caught.value)


def test_a_form_that_makes_no_network_is_refused():
    with pytest.raises(InputError, match="multiple of 8"):
        Form(side=100)
    with pytest.raises(InputError, match="odd"):
        Form(angles=10)


def test_parameters_are_named_in_the_order_of_the_paper():
    assert PARAMETERS == ("angle", "log_scale", "shift_x", "shift_y")
