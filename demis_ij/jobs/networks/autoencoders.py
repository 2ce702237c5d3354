"""Training an autoencoder as a job: stacks in, a folder with weights, their card, the loss curve and a page out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import demis_ij
from demis_ij.config.autoencoder import AutoencoderConfig
from demis_ij.display.markup import Html, el, join
from demis_ij.formats.stacks import read_stack
from demis_ij.report.pictures import data_uri
from demis_ij.report.style import CSS
from demis_ij.report.training_figures import CHART_CSS, Curve, chart

if TYPE_CHECKING:
    from demis_ij.train.autoencoder import Trained

PAGE = "report.html"
_PICTURES, _BYTES = 4, 60_000


def run_train_autoencoder(
    out: Path,
    stacks: Sequence[Path],
    config: AutoencoderConfig,
    *,
    command: str = "",
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, Any]:
    """Train the autoencoder of ssEMnet on the sections of stacks and on made-up ones.

    Parameters
    ----------
    out : Path
        Run folder; one that holds a training of the same settings goes on.
    stacks : sequence of Path
        Whatever `demis_ij.formats.stacks.read_stack` reads.
    config : AutoencoderConfig
    command : str
        What was typed, for the card.
    progress : callable
        What is being done, how much of it is, and how much there is.

    Returns
    -------
    dict
        What came out, for programs.
    """
    from demis_ij.train import autoencoder  # torch, only when it is needed

    parts = [p for path in stacks for p in autoencoder.parts_of_stack(read_stack(path), config)]
    parts += autoencoder.generated_parts(config)
    trained = autoencoder.train_autoencoder(out, parts, config, command=command, progress=progress)
    (out / PAGE).write_text(_page(trained, [image for image, _ in parts], config), encoding="utf-8")
    return {
        "step": trained.step,
        "steps": config.steps,
        "best_step": trained.best_step,
        "ended_by": trained.stopped,
        "seconds": trained.history[-1]["seconds"],
        "error": min(p["validation"] for p in trained.history),
        "grey_variance": trained.grey_variance,
        "files": {"weights": str(trained.weights), "card": str(trained.card), "report": str(out / PAGE)},
    }


def _page(trained: Trained, images: Sequence[NDArray[np.float32]], config: AutoencoderConfig) -> Html:
    """Return the page: the loss curve, and crops beside what comes out of the network."""
    steps = [p["step"] for p in trained.history]
    curves = [
        Curve("loss (eq. 3, a pixel)", steps, [p["loss"] for p in trained.history]),
        Curve("held-out squared error", steps, [p["validation"] for p in trained.history]),
    ]
    heading = f"Autoencoder of ssEMnet, form {config.form}"
    said = (
        f"Step {trained.best_step} of {config.steps} is the best; ended by {trained.stopped} after "
        f"{trained.history[-1]['seconds']:.0f} s. The grey values themselves vary by {trained.grey_variance:.4g}."
    )
    chosen = [images[round(k)] for k in np.linspace(0, len(images) - 1, min(_PICTURES, len(images)))]
    head = el("head", el("meta", charset="utf-8"), el("title", heading), el("style", Html(CSS + CHART_CSS)))
    body = [
        el("h1", heading),
        el("p", said),
        chart("Loss", curves, log=True, best_step=trained.best_step),
        el("h2", "Sections, and what comes out of the network"),
        *(_beside(trained, image) for image in chosen),
        el("footer", el("p", f"Made by demis_ij {demis_ij.__version__}.", class_="note")),
    ]
    return join(Html("<!doctype html>\n"), el("html", head, el("body", *body), lang="en"), Html("\n"))


def _beside(trained: Trained, image: NDArray[np.float32]) -> Html:
    from demis_ij.train.autoencoder import reconstruction

    crop = image[:256, :256]
    both = np.hstack([crop, np.ones((crop.shape[0], 4), np.float32), reconstruction(trained.net, crop)])
    shown = np.clip(both * 255, 0, 255).astype(np.uint8)
    said = "a section and its reconstruction"
    return el("p", el("img", src=data_uri(shown, _BYTES), alt=said, style="max-width:100%"))


__all__ = ["PAGE", "run_train_autoencoder"]
