"""What a training of the two-headed network leaves: weights, their card, and a table of what it predicts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import demis_ij
from demis_ij.config.reading import to_dict
from demis_ij.nets.two_headed import PARAMETERS, TwoHeaded
from demis_ij.nets.two_headed_weights import save_two_headed
from demis_ij.nets.weights import write_whole
from demis_ij.synth.correlative_pairs import KINDS
from demis_ij.train.two_headed import TwoHeadedTraining
from demis_ij.train.two_headed_finish import fit_regressor, gather_table
from demis_ij.train.two_headed_validation import Scores, explained, validate, validation_pairs

WEIGHTS, CARD, PREDICTIONS = "two_headed.safetensors", "two_headed.md", "predictions.csv"
_TYPICAL = 0.9  # median of error over sigma when sigma is right: corners move in two dimensions


@dataclass(frozen=True, eq=False)
class TrainedTwoHeaded:
    """What came out.

    Attributes
    ----------
    net : TwoHeaded
        In evaluation mode, its parameters fixed.
    weights, card, predictions : Path
    facts : dict
        What is known of it, as plain values; the card.
    train, test : Scores
        What two passes do on pairs of specimens that it was trained on, and of held-out ones.
    history : tuple of dict
        The loss curve and the validations.
    """

    net: TwoHeaded
    weights: Path
    card: Path
    predictions: Path
    facts: dict[str, Any]
    train: Scores
    test: Scores
    history: tuple[dict[str, Any], ...]


def finish_training(
    training: TwoHeadedTraining,
    out: Path,
    *,
    command: str = "",
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> TrainedTwoHeaded:
    """Fit the regressor on the averaged features as they stand, judge the network, and write weights and card.

    Parameters
    ----------
    training : TwoHeadedTraining
        Finished, or anywhere on its way.
    out : Path
        Folder for ``two_headed.safetensors``, ``two_headed.md`` and ``predictions.csv``.
    command : str
        What was typed, for the card.
    progress : callable
    """
    config = training.config
    net = copy.deepcopy(training.average).eval().requires_grad_(False)
    table = gather_table(
        net, training.specimens.train, config.finish_pairs, config.seed, training.range, progress=progress
    )
    losses = fit_regressor(net, table, config)
    learned = validation_pairs(training.specimens.train, config.validation_pairs, config.side, training.range)
    _calibrate(net, validate(net, training.validation, passes=2))
    train, test = validate(net, learned, passes=2), validate(net, training.validation, passes=2)
    once = validate(net, training.validation, passes=1)
    facts = _facts(training, net, losses, once, test, command)
    save_two_headed(out / WEIGHTS, net, facts)
    write_whole(out / CARD, card_page(facts).encode())
    write_whole(out / PREDICTIONS, _predictions(train, test).encode())
    return TrainedTwoHeaded(
        net, out / WEIGHTS, out / CARD, out / PREDICTIONS, facts, train, test, tuple(training.history)
    )


def _calibrate(net: TwoHeaded, test: Scores) -> None:
    """Scale the predicted deviations so that they are right for held-out pairs, in the median."""
    ratio = float(np.median(test.error_px / np.maximum(test.sigma_px, 1e-6))) / _TYPICAL
    if ratio > 0:
        last = [p for n, p in net.regressor.named_parameters() if n.endswith("bias")][-1]
        last.data[4:8] += 2 * float(np.log(ratio))


def _facts(
    training: TwoHeadedTraining,
    net: TwoHeaded,
    losses: dict[str, float],
    once: Scores,
    test: Scores,
    command: str,
) -> dict[str, Any]:
    r2 = explained(test.truth, test.found)
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "step": training.step,
        "steps": training.config.steps,
        "seed": training.config.seed,
        "seconds": round(training.seconds),
        "version": demis_ij.__version__,
        "licence": training.config.licence,
        "command": command,
        "data": training.specimens.counts,
        "held_out": list(training.specimens.held_out),
        "config": to_dict(training.config),
        "once": {"median_px": _rounded(once.median_px), "lost": once.lost},
        "twice": {"median_px": _rounded(test.median_px), "lost": test.lost},
        "r2": {name: round(float(v), 5) for name, v in zip(PARAMETERS, r2, strict=True)},
        "regressor": _rounded(losses),
        "error_over_sigma": round(float(np.median(test.error_px / np.maximum(test.sigma_px, 1e-6))), 3),
    }


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {k: float(f"{v:.4g}") for k, v in values.items()}


def _predictions(train: Scores, test: Scores) -> str:
    """Return a line for every pair: which set, its kind, truth and prediction of each parameter, error and sigma."""
    names = [f"{what}_{p}" for p in PARAMETERS for what in ("true", "predicted")]
    lines = [",".join(["set", "kind", *names, "corner_error_px", "sigma_px", "match_logit"])]
    for name, scores in (("train", train), ("test", test)):
        for k, kind in enumerate(scores.kinds):
            both = np.stack([scores.truth[k], scores.found[k]], 1).ravel()
            said = (*both, scores.error_px[k], scores.sigma_px[k], scores.match[k])
            lines.append(",".join([name, kind, *(f"{v:.6g}" for v in said)]))
    return "\n".join(lines) + "\n"


def card_page(facts: dict[str, Any]) -> str:
    """Return the card as Markdown."""
    data = ", ".join(f"{name} ({count})" for name, count in facts["data"].items())
    rows = [
        f"| {kind} | {facts['once']['median_px'].get(kind, float('nan')):.3g} | "
        f"{facts['twice']['median_px'].get(kind, float('nan')):.3g} |"
        for kind in KINDS
    ]
    r2 = ", ".join(f"{name} {value:.4f}" for name, value in facts["r2"].items())
    lines = [
        "# Two-headed network",
        "",
        "Two pictures of different instruments in, angle, scale and shifts out (after Luo et al., correlative X-ray "
        f"and electron microscopy): {facts['parameters']} parameters, step {facts['step']} of {facts['steps']}, seed "
        f"{facts['seed']}, {facts['seconds']} s, demis_ij {facts['version']}. Form, targets and this card are in the "
        "file's own metadata.",
        "",
        f"**Trained on** {data}. Held out: {', '.join(facts['held_out']) or 'made-up specimens'}.",
        "",
        f"**Licence of the images:** {facts['licence'] or 'not given'}",
        "",
        "**Held-out pairs**, whole range, median of the mean corner error, px of a 512 px picture:",
        "",
        "| Kind | one pass | two passes |",
        "|---|---|---|",
        *rows,
        "",
        f"Further off than a finish can catch (38 px): {facts['once']['lost']:.1%} and {facts['twice']['lost']:.1%}. "
        f"R^2 of two passes: {r2}. Median of error over predicted sigma: {facts['error_over_sigma']:.2f}. Matches and "
        f"strangers told wrongly: {facts['regressor']['wrong']:.1%}.",
        "",
        "**Command**",
        "",
        f"    {facts['command'] or '(from Python)'}",
        "",
    ]
    return "\n".join(lines)


__all__ = ["CARD", "PREDICTIONS", "WEIGHTS", "TrainedTwoHeaded", "card_page", "finish_training"]
