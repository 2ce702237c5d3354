"""Weights that are trained on the stack itself, as the ssEMnet paper does, before it is aligned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from demis_ij.config.autoencoder import AutoencoderConfig
from demis_ij.config.ssemnet import OWN_WEIGHTS, SsemnetConfig
from demis_ij.records import Stack

FOLDER = "autoencoder"
"""Of a run: the weights, their card, the loss curve, and what an interrupted training goes on from."""


def with_own_weights(
    stack: Stack, folder: Path, config: SsemnetConfig, progress: Callable[[str, int, int], None]
) -> SsemnetConfig:
    """Return settings that name a file of weights: trained on the stack where they ask for that, else unchanged.

    Parameters
    ----------
    stack : Stack
        The sections.
    folder : Path
        Run folder; a training that it holds is gone on with, and one that is finished is not done again.
    config : SsemnetConfig
    progress : callable
        What is being done, how much of it is, and how much there is.

    Raises
    ------
    InputError
        When no section holds enough to learn from.
    """
    if config.weights not in OWN_WEIGHTS:
        return config
    from demis_ij.train import autoencoder  # torch, only when it is needed

    device = config.device
    training = AutoencoderConfig(form=OWN_WEIGHTS[config.weights], window_px=config.window_px, device=device)
    trained = autoencoder.train_autoencoder(
        folder / FOLDER, autoencoder.parts_of_stack(stack, training), training,
        command=f"demis-ij align --method ssemnet --set ssemnet.weights={config.weights}",
        progress=lambda _what, done, total: progress("training steps", done, total),
    )  # fmt: skip
    return replace(config, weights=str(trained.weights))
