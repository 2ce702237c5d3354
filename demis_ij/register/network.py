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
        from demis_ij.nets.two_headed_start import two_headed_start
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingPart("torch") from error
    ask = two_headed_start(config.weights, config.device, config.threads)

    def guess(fixed: Look, moving: Look) -> Affine | None:
        return ask(fixed.image, moving.image, fixed.mask, moving.mask)

    return guess
