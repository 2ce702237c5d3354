"""The autoencoder: its form, eq. 3 by hand, normalising, and weights that are checked."""

import json

import numpy as np
import pytest
import torch

from demis_ij.errors import InputError, WeightsError
from demis_ij.nets.ssemnet import (
    FORMS,
    Autoencoder,
    autoencoder_loss,
    features,
    load_autoencoder,
    save_autoencoder,
    standardised,
)
from demis_ij.nets.weights import save_weights, shipped


@pytest.mark.parametrize("form", FORMS)
def test_there_are_only_convolutions_and_the_decoder_mirrors_the_encoder(form):
    net = Autoencoder(FORMS[form])
    kinds = {type(m).__name__ for m in net.modules() if not list(m.children())}
    assert kinds == {"Conv2d", "ConvTranspose2d"}
    there = [(c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in net.encoder]
    back = [(c.out_channels, c.in_channels, c.kernel_size, c.stride) for c in reversed(net.decoder)]
    assert there == back


def test_the_two_forms_are_those_of_the_paper():
    assert {k for _, k, _ in FORMS["tem"]} == {3}
    assert [k for _, k, _ in FORMS["sem"]] == [7, 7, 7]
    assert len(Autoencoder(FORMS["sem"]).encoder) + len(Autoencoder(FORMS["sem"]).decoder) == 6
    assert len(FORMS["tem"]) > len(FORMS["sem"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(64, 64), (33, 50), (7, 91), (1, 1)])
def test_images_of_any_size_come_back_in_that_size(form, shape):
    net = Autoencoder(FORMS[form])
    images = torch.rand(2, 1, *shape)
    assert net(images).shape == images.shape
    assert net.encode(images).shape[2:] == tuple(-(-s // net.stride) for s in shape)


def test_eqs_1_to_3_by_hand():
    """One filter of one weight: h = relu(2 x - 1), y = relu(3 h + 0.5)."""
    net = Autoencoder(((1, 1, 1),)).requires_grad_(False)
    for layer, weight, bias in ((net.encoder[0], 2.0, -1.0), (net.decoder[0], 3.0, 0.5)):
        layer.weight.fill_(weight)
        layer.bias.fill_(bias)
    images = torch.tensor([[[[0.25, 1.0]]]])
    torch.testing.assert_close(net.encode(images), torch.tensor([[[[0.0, 1.0]]]]))
    torch.testing.assert_close(net(images), torch.tensor([[[[0.5, 3.5]]]]))
    missed = 0.25**2 + 2.5**2
    loss = autoencoder_loss(net, images, 0.1)
    assert float(loss) == pytest.approx(missed + 0.1 * ((4 + 1) + (9 + 0.25)))
    only_first = autoencoder_loss(net, images, 0.0, torch.tensor([[[[1.0, 0.0]]]]))
    assert float(only_first) == pytest.approx(0.25**2)


def test_layers_that_cannot_be_are_refused():
    for layers in ((), ((4, 2, 1),), ((4, 3, 5),)):
        with pytest.raises(InputError, match="layers of an autoencoder"):
            Autoencoder(layers)


def test_a_feature_is_centred_on_its_pixel():
    net = Autoencoder(FORMS["tem"])
    image = torch.full((1, 1, 65, 65), 0.5)
    dot = image.clone()
    dot[0, 0, 32, 40] = 1
    with torch.no_grad():
        told = (net.encode(dot) - net.encode(image))[0].abs().sum(0)
    seen = told.nonzero()
    middle = (seen.min(0).values + seen.max(0).values) / 2
    assert middle.tolist() == [32 / net.stride, 40 / net.stride]


def test_brightness_and_contrast_make_no_difference():
    image = np.random.default_rng(0).uniform(0, 255, (60, 70))
    for window in (0.0, 12.0):
        np.testing.assert_allclose(
            standardised(image, None, window), standardised(0.5 * image + 40, None, window), atol=1e-3
        )


def test_what_is_no_data_does_not_count_and_comes_out_grey():
    image = np.random.default_rng(0).uniform(80, 120, (64, 64)).astype(np.float32)
    mask = np.ones(image.shape, bool)
    mask[:, 40:] = False
    white, black, unknown = image.copy(), image.copy(), image.copy()
    white[~mask], black[~mask], unknown[~mask] = 255, 0, np.nan
    found = [standardised(a, mask, 12.0) for a in (white, black)] + [standardised(unknown, None, 12.0)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert (found[0][~mask] == 0.5).all()


@pytest.mark.parametrize("window", [0.0, 12.0])
def test_images_without_anything_are_grey(window):
    for image in (np.zeros((40, 40)), np.full((40, 40), np.nan), np.full((40, 40), 200)):
        np.testing.assert_allclose(standardised(image, None, window), 0.5, atol=1e-4)


def test_weights_come_back_as_they_went(tmp_path):
    net = Autoencoder(FORMS["sem"])
    net.feature_var.fill_(0.25)
    save_autoencoder(tmp_path / "mine.safetensors", net, {"note": "x"})
    loaded = load_autoencoder(str(tmp_path / "mine.safetensors"))
    assert (loaded.name, loaded.card) == ("mine.safetensors", {"note": "x"})
    assert not any(p.requires_grad for p in loaded.net.parameters())
    image = np.random.default_rng(0).uniform(0, 255, (50, 50))
    np.testing.assert_array_equal(features(image, weights=loaded.net), features(image, weights=net))


def test_weights_of_another_network_are_refused_in_one_line(tmp_path):
    with pytest.raises(WeightsError, match="weights of another network") as refused:
        load_autoencoder(str(shipped("loftr_em")))
    assert "\n" not in str(refused.value)
    with pytest.raises(WeightsError, match="neither a file nor one of tem, sem"):
        load_autoencoder("fast")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_autoencoder(str(tmp_path / "text.safetensors"))


def test_weights_that_do_not_fit_or_are_damaged_are_refused(tmp_path):
    net, path = Autoencoder(FORMS["sem"]), tmp_path / "mine.safetensors"
    what = {"kind": "ssemnet-autoencoder", "layers": FORMS["tem"]}
    save_weights(path, net.state_dict(), what, half_pixel=0.0, card={})
    with pytest.raises(WeightsError, match="does not fit the layers"):
        load_autoencoder(str(path))
    save_autoencoder(path, net, {})
    data = bytearray(path.read_bytes())
    data[-3] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="is damaged"):
        load_autoencoder(str(path))


@pytest.mark.parametrize("form", FORMS)
def test_the_weights_that_ship_reconstruct_sections(form):
    loaded = load_autoencoder(form)
    from demis_ij.synth.series import series

    image = series((128, 128), 2, 9, style=form)[0].clean
    grey = torch.from_numpy(standardised(image, None, 24.0))[None, None]
    with torch.no_grad():
        missed = float(((loaded.net(grey) - grey) ** 2).mean())
    assert missed < 0.5 * float(grey.var())
    found = features(image, weights=form)
    assert 0.3 < found.var(axis=(1, 2)).mean() < 3  # the unit is the variance on what was learned from
    assert json.dumps(loaded.card)
