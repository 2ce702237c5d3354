"""The two-headed network, ready to be asked many times: where two pictures of one pixel size lie on each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.nets.two_headed_frames import predict
from demis_ij.nets.two_headed_weights import load_two_headed
from demis_ij.records import Affine

_WARM_PX = 128

Ask = Callable[[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]], Affine | None]
"""Fixed picture, moving picture and their masks: px of the fixed one to px of the moving one, or no opinion."""


def two_headed_start(weights: str, device: str = "auto", threads: int = 0) -> Ask:
    """Return what asks a two-headed network.

    It is asked once for nothing: what torch sets up at a first call, which takes seconds, is no part of the first pair.

    Parameters
    ----------
    weights : str
        ``shipped`` or a path.
    device : str
        auto, cpu, cuda or mps; auto takes cuda where it is.
    threads : int
        For the processor; 0 leaves it to torch.

    Raises
    ------
    WeightsError
        When the weights are missing, damaged or those of another network.
    InputError
        When the device is not there.
    """
    if threads:
        torch.set_num_threads(threads)
    net = load_two_headed(weights).net.to(device_named(device))

    def ask(
        fixed: NDArray[Any], moving: NDArray[Any], fixed_mask: NDArray[Any], moving_mask: NDArray[Any]
    ) -> Affine | None:
        try:
            return predict(fixed, moving, net=net, fixed_mask=fixed_mask, moving_mask=moving_mask).to_moving
        except InputError:  # nothing of a picture is left in the network's frame: it has no opinion
            return None

    noise, mask = np.random.default_rng(0).random((_WARM_PX, _WARM_PX), np.float32), np.ones((_WARM_PX,) * 2, bool)
    ask(noise, noise, mask, mask)
    return ask


def device_named(name: str) -> str:
    """Return where the network runs. Raises `InputError` when that is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if not there.get(name, False):
        msg = f"device {name!r} was asked for, torch finds none here: choose 'auto' or 'cpu'"
        raise InputError(msg)
    return name


__all__ = ["Ask", "device_named", "two_headed_start"]
