"""The convolutional autoencoder of ssEMnet: features learned from the sections themselves.

Yoo et al. 2017, arXiv:1707.07833, section 2.1::

    h = f(x)                                                                         (1)  encoder
    y = g(h)                                                                         (2)  decoder
    L = sum_i ||x_i - y_i||^2 + lambda (sum_k ||theta_k||^2 + sum_k ||phi_k||^2)     (3)

Convolutions with ReLU in the encoder, transposed convolutions with ReLU in the decoder, which is its mirror image; no
dense layer, so that images of any size go through. The paper names two: a deep one with 3 x 3 filters for TEM, and one
of six layers with 7 x 7 filters for SEM. It does not print channels and strides; those here are ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from demis_ij.config.ssemnet import OWN_WEIGHTS
from demis_ij.errors import InputError, WeightsError
from demis_ij.nets.weights import UNREADABLE, first_line, load_state, save_weights, shipped, state_digest

FORMS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "tem": ((16, 3, 2), (24, 3, 1), (32, 3, 2), (32, 3, 1), (32, 3, 1), (8, 3, 1)),
    "sem": ((16, 7, 2), (24, 7, 2), (8, 7, 1)),
}
"""(channels, side of the filters, stride) of each layer of the encoder; the decoder has as many."""
KIND = "ssemnet-autoencoder"
_SPREAD = 6.0  # standard deviations of grey that fill the range 0 to 1


class Autoencoder(nn.Module):
    """A convolutional autoencoder without dense layers.

    Parameters
    ----------
    layers : sequence of (int, int, int)
        (channels, side of the filters, stride) of each layer of the encoder.

    Attributes
    ----------
    stride : int
        Px from one feature to the next: feature (r, c) is centred on pixel ``stride * (r, c)``.
    feature_var : Tensor
        Variance of the features on the training images: the unit of feature errors. 1 when not trained.
    """

    feature_var: Tensor

    def __init__(self, layers: tuple[tuple[int, int, int], ...]) -> None:
        super().__init__()
        _check_layers(layers)
        self.layers = tuple((int(c), int(k), int(s)) for c, k, s in layers)
        sizes = [1, *(c for c, _, _ in self.layers)]
        encoder = [nn.Conv2d(sizes[i], c, k, stride=s, padding=k // 2) for i, (c, k, s) in enumerate(self.layers)]
        decoder = [
            nn.ConvTranspose2d(c, sizes[i], k, stride=s, padding=k // 2, output_padding=s - 1)
            for i, (c, k, s) in reversed(list(enumerate(self.layers)))
        ]
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        self.stride = int(np.prod([s for _, _, s in self.layers]))
        self.register_buffer("feature_var", torch.ones(()))
        for layer in (*encoder, *decoder):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.constant_(decoder[-1].bias, 0.5)  # type: ignore[arg-type]  # mid grey, so that the last ReLU lives

    def encode(self, images: Tensor) -> Tensor:
        """Return h = f(x), eq. 1: features (N, C, ceil(H / stride), ceil(W / stride)) of images (N, 1, H, W)."""
        h = images
        for layer in self.encoder:
            h = torch.relu(layer(h))
        return h

    def decode(self, features: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return y = g(h), eq. 2: images (N, 1, rows, cols) of ``shape``."""
        y = features
        for layer in self.decoder:
            y = torch.relu(layer(y))
        return y[..., : shape[0], : shape[1]]

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstruction of images (N, 1, H, W)."""
        rows, cols = images.shape[-2:]
        return self.decode(self.encode(images), (rows, cols))


def _check_layers(layers: Any) -> None:
    fits = bool(layers) and all(len(one) == 3 and min(one) >= 1 and one[1] % 2 and one[2] <= one[1] for one in layers)
    if not fits:
        msg = f"layers of an autoencoder are (channels, odd side, stride up to the side), found {layers!r}"
        raise InputError(msg)


def autoencoder_loss(
    net: Autoencoder, images: Tensor, weight: float, masks: Tensor | None = None, wanted: Tensor | None = None
) -> Tensor:
    """Return L of eq. 3: squared errors of reconstruction, plus ``weight`` times the squared weights of both halves.

    Parameters
    ----------
    net : Autoencoder
    images : Tensor of shape (N, 1, H, W)
        Grey values from 0 to 1.
    weight : float
        Lambda. Biases count as weights, as theta and phi hold all parameters.
    masks : Tensor of shape (N, 1, H, W), optional
        1 where there is data; the error elsewhere does not count (ours).
    wanted : Tensor of shape (N, 1, H, W), optional
        What should come out, when it is not what goes in (ours: without the noise that was added).
    """
    missed: Tensor = ((images if wanted is None else wanted) - net(images)) ** 2
    if masks is not None:
        missed = missed * masks
    size = torch.stack([(p**2).sum() for p in net.parameters()]).sum()
    return missed.sum() + weight * size


def standardised(image: ArrayLike, mask: ArrayLike | None, window_px: float) -> NDArray[np.float32]:
    """Return an image as the autoencoder takes it: 0 to 1, mean 0.5, three standard deviations to either end.

    Parameters
    ----------
    image : array_like of shape (H, W)
        Any grey values; NaN counts as no data.
    mask : array_like of shape (H, W), bool, or None
        True where there is data; the rest comes out as 0.5.
    window_px : float
        Standard deviation of the Gaussian window in which mean and spread are taken; 0 takes the whole image.
    """
    grey = np.asarray(image, np.float32)
    known = np.isfinite(grey) if mask is None else np.asarray(mask, bool) & np.isfinite(grey)
    if not known.any():
        return np.full(grey.shape, 0.5, np.float32)
    middle = grey[known].mean(dtype=np.float64)
    whole = float(grey[known].std(dtype=np.float64))
    x = np.where(known, grey - np.float32(middle), 0).astype(np.float32)
    if window_px:
        share = cv2.GaussianBlur(known.astype(np.float32), (0, 0), window_px) + 1e-4
        mean = cv2.GaussianBlur(x, (0, 0), window_px) / share
        x = np.where(known, x - mean, 0).astype(np.float32)
        local = np.sqrt(cv2.GaussianBlur(x**2, (0, 0), window_px) / share)
        spread = np.maximum(local, max(0.2 * whole, 1e-6))  # flat resin is not blown up to texture
    else:
        spread = np.full_like(x, max(whole, 1e-6))
    return np.where(known, np.clip(0.5 + x / (_SPREAD * spread), 0, 1), 0.5).astype(np.float32)


@dataclass(frozen=True, eq=False)
class LoadedAutoencoder:
    """An autoencoder ready to make features.

    Attributes
    ----------
    net : Autoencoder
        In evaluation mode, its parameters fixed.
    name : str
        What it is, for reports.
    card : dict
        What is known of its training.
    """

    net: Autoencoder
    name: str
    card: dict[str, Any]


def save_autoencoder(path: Path, net: Autoencoder, card: dict[str, Any]) -> None:
    """Write an autoencoder as safetensors with its layers, a card and a checksum, all or nothing."""
    save_weights(path, net.state_dict(), {"kind": KIND, "layers": net.layers}, half_pixel=0.0, card=card)


def load_autoencoder(name: str = "tem") -> LoadedAutoencoder:
    """Return an autoencoder by the name of its weights.

    Parameters
    ----------
    name : str
        ``tem`` or ``sem`` (those that ship), or a path.

    Raises
    ------
    WeightsError
        When they are missing, damaged, or those of another network.
    """
    if name in OWN_WEIGHTS:
        msg = f"weights {name!r} are trained by demis-ij align; here, give the file that train_autoencoder has made"
        raise WeightsError(msg)
    path = shipped(f"ssemnet_{name}") if name in FORMS else Path(name)
    if not path.is_file():
        msg = f"no weights {name!r}: neither a file nor one of {', '.join(FORMS)}"
        raise WeightsError(msg)
    state, meta = load_state(path), _metadata(path)
    what = json.loads(meta.get("architecture", "{}"))
    if what.get("kind") != KIND:
        msg = f"{path} holds weights of another network, needed an autoencoder of demis-ij train autoencoder"
        raise WeightsError(msg)
    if state_digest(state) != meta.get("sha256"):
        msg = f"{path} is damaged: its tensors do not have the checksum that was written with them"
        raise WeightsError(msg)
    try:
        net = Autoencoder(tuple(tuple(one) for one in what["layers"]))
        net.load_state_dict(state)
    except UNREADABLE as error:
        msg = f"{path} does not fit the layers that it names: {first_line(error)}"
        raise WeightsError(msg) from error
    return LoadedAutoencoder(frozen(net), name if name in FORMS else path.name, json.loads(meta.get("card", "{}")))


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, "pt") as source:
        return dict(source.metadata() or {})


def frozen(net: Autoencoder) -> Autoencoder:
    """Return the network in evaluation mode, its parameters out of reach of any optimiser."""
    return net.eval().requires_grad_(False)


@torch.no_grad()
def features(
    image: ArrayLike, mask: ArrayLike | None = None, *, weights: str | Autoencoder = "tem", window_px: float = 24.0
) -> NDArray[np.float32]:
    """Return the learned features of an image, to be compared by their squared difference.

    Parameters
    ----------
    image : array_like of shape (H, W)
    mask : array_like of shape (H, W), bool, optional
        True where there is data.
    weights : str or Autoencoder
        As in `load_autoencoder`, or a network at hand.
    window_px : float
        As in `standardised`.

    Returns
    -------
    ndarray of shape (C, ceil(H / stride), ceil(W / stride)), float32
        In standard deviations; feature (r, c) is centred on pixel ``stride * (r, c)``.
    """
    net = load_autoencoder(weights).net if isinstance(weights, str) else weights
    grey = torch.from_numpy(standardised(image, mask, window_px))[None, None]
    device = net.feature_var.device
    found = net.encode(grey.to(device))[0] / net.feature_var.sqrt()
    return np.asarray(found.cpu().numpy(), np.float32)


__all__ = [
    "FORMS", "KIND", "Autoencoder", "LoadedAutoencoder", "autoencoder_loss", "features", "frozen", "load_autoencoder",
    "save_autoencoder", "standardised",
]  # fmt: skip
