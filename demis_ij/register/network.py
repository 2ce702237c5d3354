"""The network's start: the two-headed network on two looks. torch is loaded when a network is asked for, not before."""

from __future__ import annotations

from collections.abc import Callable

from demis_ij.config.registering import RegisterConfig
from demis_ij.errors import InputError, MissingPart, WeightsError
from demis_ij.records import Affine
from demis_ij.register.looks import Look
from demis_ij.register.registering import Guess


def network_guess(config: RegisterConfig, *, tell: Callable[[str], None] | None = None) -> Guess | None:
    """Return the network's start for a `Registrar`, None where the settings ask for none.

    Parameters
    ----------
    config : RegisterConfig
        Its ``method``, ``weights``, ``device`` and ``threads``.
    tell : callable, optional
        Told in one line when there is no network to be had, and method ``auto`` begins with the search instead.
        Without it that raises: nothing is left out silently.

    Raises
    ------
    WeightsError
        When the weights that are named are missing, damaged or those of another network, or when those that ship are
        missing and nobody can be told, or the method is ``network``.
    InputError
        When the method is ``network`` and the weights ``none``.
    """
    if config.method not in {"auto", "network"}:
        return None
    if config.weights == "none":
        if config.method == "network":
            msg = "method 'network' needs weights, found weights 'none': give 'shipped' or a path, or another method"
            raise InputError(msg)
        return None
    try:
        return _loaded(config)
    except (WeightsError, MissingPart) as error:
        lacking = isinstance(error, MissingPart) or _none_ship()
        if config.method == "network" or config.weights != "shipped" or tell is None or not lacking:
            raise
        tell(f"no network, so the search begins: {error}")
        return None


def _none_ship() -> bool:
    from demis_ij.nets.two_headed_weights import SHIPPED
    from demis_ij.nets.weights import shipped

    try:
        shipped(SHIPPED)
    except WeightsError:
        return True
    return False


def _loaded(config: RegisterConfig) -> Guess:
    """Return what asks the network of the settings."""
    try:
        import torch
    except ImportError as error:
        raise MissingPart("torch") from error
    from demis_ij.nets.two_headed_frames import predict
    from demis_ij.nets.two_headed_weights import load_two_headed

    if config.threads:
        torch.set_num_threads(config.threads)
    net = load_two_headed(config.weights).net.to(_device(config.device))

    def guess(fixed: Look, moving: Look) -> Affine | None:
        try:
            said = predict(fixed.image, moving.image, net=net, fixed_mask=fixed.mask, moving_mask=moving.mask)
        except InputError:  # nothing of a look is left in the network's frame: it has no opinion, the search may
            return None
        return said.to_moving

    return guess


def _device(name: str) -> str:
    """Return where the network runs. Raises `InputError` when that is not there."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if not there[name]:
        msg = f"device {name!r} was asked for, torch finds none here: choose 'auto' or 'cpu'"
        raise InputError(msg)
    return name
