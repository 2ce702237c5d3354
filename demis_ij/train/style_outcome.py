"""What a training of style networks leaves: weights, their card, and pictures for the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import demis_ij
from demis_ij.config.reading import to_dict
from demis_ij.nets.style_weights import save_style
from demis_ij.nets.weights import write_whole
from demis_ij.train.style import StyleTraining
from demis_ij.train.style_validation import Shown, shown_crops

WEIGHTS, CARD = "style.safetensors", "style.md"
_PICTURES = 8
_METHODS = {
    "unet": "U-Net, trained by grey values, gradients and local correlation of aligned pairs",
    "gan": "U-Net with a critic (pix2pix), trained on aligned pairs",
    "cycle": "two U-Nets with a critic each (CycleGAN), trained on images without partners",
}


@dataclass(frozen=True, eq=False)
class TrainedStyle:
    """What came out.

    Attributes
    ----------
    weights, card : Path
    facts : dict
        What is known of it, as plain values; the card.
    history : tuple of dict
        The loss curve and the validations.
    shown : tuple of Shown
        Held-out crops before and after.
    """

    weights: Path
    card: Path
    facts: dict[str, Any]
    history: tuple[dict[str, Any], ...]
    shown: tuple[Shown, ...]


def finish_style(
    training: StyleTraining,
    out: Path,
    *,
    command: str = "",
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> TrainedStyle:
    """Judge the averaged generators as they stand, and write weights and card.

    Parameters
    ----------
    training : StyleTraining
        Finished, or anywhere on its way.
    out : Path
        Folder for ``style.safetensors`` and ``style.md``.
    command : str
        What was typed, for the card.
    progress : callable
    """
    if not training.history or training.history[-1]["step"] != training.step:
        training.validate()
    nets = training.generators
    config = training.config
    facts = _facts(training, command)
    save_style(
        out / WEIGHTS,
        nets["there"],
        config.source,
        config.target,
        facts,
        back=nets.get("back"),
        plain=nets.get("plain"),
        compare="greys" if training.examples.paired else "edges",
    )
    write_whole(out / CARD, card_page(facts).encode(errors="replace"))
    progress("pictures", 0, 1)
    count = min(_PICTURES, config.validation_crops)
    shown = shown_crops(nets, training.examples, count, training.polarities.get("there"))
    progress("pictures", 1, 1)
    return TrainedStyle(out / WEIGHTS, out / CARD, facts, tuple(training.history), tuple(shown))


def _facts(training: StyleTraining, command: str) -> dict[str, Any]:
    examples, config = training.examples, training.config
    scores = {k: v for k, v in training.history[-1].items() if k in _SCORES}
    held = [one.name for one in examples.source.validation] if config.held_out_frac else []
    return {
        "method": config.method,
        "source": config.source,
        "target": config.target,
        "back": "back" in training.average,
        "plain": "plain" in training.average,
        "channels": [examples.form.source_channels, examples.form.target_channels],
        "parameters": sum(p.numel() for p in training.generators["there"].parameters()),
        "least_px": examples.form.least_px,
        "step": training.step,
        "steps": config.steps,
        "seed": config.seed,
        "seconds": round(training.seconds),
        "version": demis_ij.__version__,
        "licence": config.licence,
        "command": command,
        "images": [len(examples.source.train), len(examples.target.train)],
        "held_out": len(held),
        "crop_px": examples.crop_px,
        "config": to_dict(config),
        "scores": scores,
        "polarity": list(training.polarities.get("there", ())),
    }


_SCORES = {"difference": "mean difference of grey values (the range is 2)",
           "likeness": "local correlation with the partner", "alike": "the same with what is left of the partner",
           "cycle": "mean difference after the way there and back", "invented": "structure without a cause",
           "lost": "structure lost", "moved_px": "displacement of edges, 90 % of windows, px at most"}  # fmt: skip


def card_page(facts: dict[str, Any]) -> str:
    """Return the card as Markdown."""
    ways = f"{facts['source']} to {facts['target']}" + (" and back" if facts["back"] else "")
    first, second = facts["images"]
    rows = [
        f"| {what} | {facts['scores'][name]:.3g} |"
        for name, what in _SCORES.items()
        if facts["scores"].get(name) == facts["scores"].get(name)
    ]
    held = f"{facts['held_out']} images held out" if facts["held_out"] else "no image held out: judged by what it knows"
    lines = [
        f"# Style {ways}",
        "",
        f"{_METHODS[facts['method']]}: {facts['parameters']} parameters each way, step {facts['step']} of "
        f"{facts['steps']}, seed {facts['seed']}, {facts['seconds']} s, demis_ij {facts['version']}. Images of "
        f"{facts['channels'][0]} channels go in, of {facts['channels'][1]} come out; the shortest side is "
        f"{facts['least_px']} px. Form and this card are in the file's own metadata.",
        "",
        f"**Trained on** {first} and {second} images, crops of {facts['crop_px']} px; {held}.",
        "",
        f"**Licence of the images:** {facts['licence'] or 'not given'}",
        "",
        f"| Of {'held-out images' if facts['held_out'] else 'images that it was trained on'} | |",
        "|---|---|",
        *rows,
        "",
        "**Command**",
        "",
        f"    {facts['command'] or '(from Python)'}",
        "",
    ]
    return "\n".join(lines)


__all__ = ["CARD", "WEIGHTS", "TrainedStyle", "card_page", "finish_style"]
