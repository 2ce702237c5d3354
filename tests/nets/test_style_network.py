"""Style networks: any image in, tiles without seams, statistics of no image at hand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from demis_ij.errors import InputError, WeightsError
from demis_ij.nets.style import Critic, Form, Generator, folded
from demis_ij.nets.style_look import from_bytes, look_at, planes_of, to_bytes, within_borders
from demis_ij.nets.style_transfer import Style, style_of
from demis_ij.nets.style_weights import load_style, save_style
from demis_ij.nets.weights import shipped

SMALL = {"widths": (6, 8, 10)}


def generator(seed=0, **form):
    """A network whose normalisations do something, and whose output is no constant."""
    torch.manual_seed(seed)
    net = Generator(Form(**(SMALL | form)))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.3, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    torch.nn.init.normal_(net.last.weight, std=0.3)
    return net.eval()


def picture(shape=(300, 260), seed=0, channels=1):
    rng = np.random.default_rng(seed)
    smooth = rng.random((*shape, channels)).astype(np.float32).cumsum(0).cumsum(1)
    grey = np.sin(smooth / smooth.max() * 40) + 0.3 * rng.standard_normal((*shape, channels))
    image = ((grey - grey.min()) / np.ptp(grey) * 255).astype(np.uint8)
    return image[..., 0] if channels == 1 else image


def test_a_pixel_is_told_by_what_lies_within_reach_and_by_nothing_else():
    net = generator(widths=(6, 8, 10, 12))
    reach, side = net.form.reach_px, 24 * net.form.multiple
    look = torch.randn(1, 1, side, side, requires_grad=True)
    at = side // 2
    for place in (at, at + 5, at + net.form.multiple - 1):
        (seen,) = torch.autograd.grad(net(look)[0, 0, place, place], look)
        rows = torch.nonzero(seen[0, 0].abs().sum(1))[:, 0]
        assert max(place - int(rows.min()), int(rows.max()) - place) <= reach
        assert int(rows.max()) - int(rows.min()) > reach  # the bound is no guess far from the truth


@pytest.mark.parametrize(("shape", "reduce"), [((500, 333), 1), ((640, 700), 2)])
def test_tiles_show_no_seams(shape, reduce):
    net = generator(reduce=reduce)
    image = picture(shape)
    look = look_at(image)
    whole = Style(net, device="cpu").sent_through(look)
    tiled = Style(net, device="cpu", tile_px=64).sent_through(look)
    assert whole.shape == tiled.shape == (1, *shape)
    assert np.ptp(whole) > 0.1
    np.testing.assert_allclose(tiled, whole, atol=1e-4)


def test_what_lies_far_away_changes_nothing_in_the_network():
    style = Style(generator(), device="cpu")
    look = look_at(picture((400, 300)))
    other = look.copy()
    other[:, :100] = 0.7
    one, two = style.sent_through(look), style.sent_through(other)
    far = 100 + style.form.reach_px
    np.testing.assert_allclose(one[:, far:], two[:, far:], atol=1e-5)
    assert not np.allclose(one[:, :100], two[:, :100], atol=1e-2)


def test_normalisations_are_folded_without_a_change():
    net = generator()
    look = torch.from_numpy(look_at(picture((64, 64))))[None]
    with torch.no_grad():
        torch.testing.assert_close(folded(net)(look), net(look), atol=1e-5, rtol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded(net).modules())


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_type_of_grey_values_does_not_matter(dtype):
    style = Style(generator(), device="cpu")
    image = picture()
    same = style(image.astype(dtype) * dtype(100))
    np.testing.assert_allclose(same.image.astype(int), style(image).image.astype(int), atol=1)


def test_colour_goes_in_and_three_equal_channels_are_grey():
    colour, grey = picture(channels=3), picture()
    style = Style(generator(source_channels=3), "light", "electrons", device="cpu")
    assert style(colour).image.shape == grey.shape
    assert style.fits(colour)
    assert not style.fits(grey)
    plain = Style(generator(), device="cpu")
    np.testing.assert_array_equal(plain(np.stack([grey] * 3, -1)).image, plain(grey).image)


def test_where_there_is_no_data_is_a_mask_and_decides_nothing():
    image = picture().astype(np.float32)
    image[:40] = np.nan
    filled = np.where(np.isnan(image), np.float32(1e6), image)
    mask = ~np.isnan(image)
    style = Style(generator(), device="cpu")
    one, two = style(image), style(filled, mask)
    np.testing.assert_array_equal(one.mask, mask)
    np.testing.assert_array_equal(one.image, two.image)
    assert (one.image[~mask] == 128).all()
    nothing = style(image, np.zeros(image.shape, bool))
    assert (nothing.image == 128).all()
    assert not nothing.mask.any()


def test_a_look_is_even_whatever_the_shading_and_flat_images_are_flat():
    image = picture((256, 256)).astype(np.float32)
    x = np.linspace(0.2, 1, 256, dtype=np.float32)
    shaded = look_at(image * x)
    halves = [[a[..., :128].std(), a[..., 128:].std()] for a in (image * x, shaded)]
    assert halves[0][0] < 0.6 * halves[0][1]
    assert halves[1][0] > 0.75 * halves[1][1]
    assert np.abs(look_at(np.full((200, 200), 7, np.uint8))).max() == 0
    stretched = look_at(image, window_px=0)
    assert stretched.min() == -1
    assert stretched.max() == 1
    np.testing.assert_allclose(from_bytes(to_bytes(shaded))[None], shaded, atol=0.5 / 127 + 1e-6)


def test_the_way_back_is_a_style_of_its_own():
    there = generator(source_channels=3)
    style = Style(there, "light", "electrons", back=generator(1, source_channels=1, target_channels=3), device="cpu")
    back = style.reversed
    assert (back.source, back.target) == ("electrons", "light")
    assert back(picture()).image.shape == (300, 260, 3)
    assert back.reversed.source == "light"
    assert Style(there, device="cpu").reversed is None


def test_targets_are_sent_through_a_network_of_their_own_where_there_is_one():
    there, plain = generator(), generator(3)
    image = picture()
    as_it_is = Style(there, device="cpu").shown(image)
    np.testing.assert_array_equal(as_it_is.image, to_bytes(look_at(image)))
    left = Style(there, device="cpu", plain=plain).shown(image)
    np.testing.assert_array_equal(left.image, Style(plain, device="cpu")(image).image)


def test_what_does_not_fit_is_refused_in_one_line():
    style = Style(generator(source_channels=3), "light", "electrons", name="mine", device="cpu")
    for image, words in (
        (picture(), "leads from light of 3 channels"),
        (picture((40, 300), channels=3), f"sees {style.form.least_px} px at once"),
        (np.zeros((2, 3, 4, 5)), "an image is"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            style(image)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="was the other image meant"):
        style(picture())
    with pytest.raises(InputError, match="a mask has"):
        style(picture(channels=3), np.ones((3, 3), bool))
    with pytest.raises(InputError, match="multiple"):
        Style(generator(), device="cpu", tile_px=100)
    with pytest.raises(InputError, match="widths"):
        Form(widths=(8,))


def test_weights_come_back_as_they_were_and_others_are_refused(tmp_path):
    there, back = generator(source_channels=3), generator(1, source_channels=1, target_channels=3)
    path = tmp_path / "mine.safetensors"
    plain = generator(2, source_channels=1)
    save_style(path, there, "light", "electrons", {"step": 3}, back=back, plain=plain)
    loaded = load_style(str(path))
    assert (loaded.source, loaded.target, loaded.card) == ("light", "electrons", {"step": 3})
    assert loaded.forward.form == there.form
    image = picture(channels=3)
    before, after = (Style(n, device="cpu")(image).image.astype(int) for n in (there, loaded.forward))
    assert np.abs(before - after).max() <= 2  # weights are kept as 16-bit numbers
    assert loaded.back.form == back.form
    assert loaded.plain.form == plain.form == there.form.plain
    broken = bytearray(path.read_bytes())
    broken[-50] ^= 255
    path.write_bytes(bytes(broken))
    for name, words in ((str(path), "damaged"), (str(tmp_path / "none"), "no style"), ("steal", "no style")):
        with pytest.raises(WeightsError, match=words):
            load_style(name)
    with pytest.raises(WeightsError, match="another network"):
        style_of(str(shipped("two_headed")))


def test_a_device_that_there_is_not_is_refused_in_one_line():
    with pytest.raises(InputError, match="device 'gpu' was asked for"):
        style_of("tissue", device="gpu")


def test_a_critic_gives_a_number_a_patch():
    critic = Critic(4)
    assert critic(torch.zeros(2, 4, 64, 64)).shape[:2] == (2, 1)


def test_planes_keep_channels_that_differ():
    assert planes_of(picture(channels=3)).shape[2] == 3
    assert planes_of(np.repeat(picture()[..., None], 3, -1)).shape[2] == 1
    unknown = np.repeat(picture()[..., None].astype(np.float32), 3, -1)
    unknown[:9] = np.nan
    assert planes_of(unknown).shape[2] == 1


@pytest.mark.parametrize("grey", [0, 255])
def test_a_border_is_what_all_channels_agree_on(grey):
    colour = np.clip(picture(channels=3), 1, 254)
    saturated = colour.copy()
    saturated[:, :50, 0] = grey
    assert within_borders(saturated).all()
    bordered = colour.copy()
    bordered[..., 0] = grey
    bordered[:, :50] = grey
    mask = within_borders(bordered)
    assert not mask[:, :50].any()
    assert mask[:, 52:].all()
    bordered[:, :140] = grey
    assert within_borders(bordered) is None
