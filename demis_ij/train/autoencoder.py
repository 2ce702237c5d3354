"""Train the autoencoder of ssEMnet on sections: eq. 3 by Adam on crops, in minutes, without labels.

Yoo et al. 2017, arXiv:1707.07833, section 2.1. An interrupted run goes on from its checkpoint to the same weights:
everything random follows from the seed and the step. Where the minutes end it and not the steps, the weights depend on
how fast the machine is.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import demis_ij
from demis_ij.config.autoencoder import AutoencoderConfig
from demis_ij.config.reading import to_dict
from demis_ij.errors import InputError
from demis_ij.images.opening import opened_section
from demis_ij.nets.ssemnet import FORMS, Autoencoder, autoencoder_loss, frozen, save_autoencoder, standardised
from demis_ij.nets.weights import UNREADABLE, write_whole
from demis_ij.records import Stack, Tile
from demis_ij.synth.series import series
from demis_ij.train.loftr import stop_flag

WEIGHTS, CARD, SETTINGS, LOG, CHECKPOINT = (
    "autoencoder.safetensors", "autoencoder.md", "autoencoder.json", "log.jsonl", "checkpoint.pt",
)  # fmt: skip
_FREE = ("device", "threads", "minutes")
_HELD_OUT = 0.125  # share of the sections that is validated on
_VALIDATION_CROPS = 16
_WHOLE_PX = 1 << 23  # pixels of a section up to which its borders are looked for in every one
_SHOWN = 512  # px, side of the largest part that the features' variance is measured on

Part = tuple[NDArray[np.float32], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Trained:
    """What came out.

    Attributes
    ----------
    net : Autoencoder
        The best one by validation, its parameters fixed.
    weights, card : Path
        Its file, and what is known about it.
    step, best_step : int
        Steps done, and at which the best one was found.
    history : tuple of dict
        The loss curve: ``step``, ``loss`` (mean since the last point, a pixel), ``validation`` (mean squared error a
        pixel), ``rate``, ``seconds``.
    grey_variance : float
        Of the held-out crops: what a validation of the mean grey would be.
    stopped : str
        Why it ended: ``steps``, ``minutes`` or ``no better``.
    """

    net: Autoencoder
    weights: Path
    card: Path
    step: int
    best_step: int
    history: tuple[dict[str, Any], ...]
    grey_variance: float
    stopped: str


def parts_of_stack(stack: Stack, config: AutoencoderConfig) -> list[Part]:
    """Return what is learned from of a stack: normalised middles of sections spread evenly, with their masks.

    Sections that are empty are left out. Raises `InputError` when all are.
    """
    count = len(stack.sections)
    chosen = sorted({round(k) for k in np.linspace(0, count - 1, min(config.sections, count))})
    found = parts_of_images((_middle(stack.sections[k], config.section_px) for k in chosen), config)
    if not found:
        msg = f"{stack.source or 'the stack'} holds no section to learn from: none has {config.crop_px} px of data"
        raise InputError(msg)
    return found


def _middle(tile: Tile, side: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the middle of a section, which may be larger than memory, and where it is data."""
    image, mask = opened_section(tile, whole_px=_WHOLE_PX)
    rows, cols = (slice(max(0, (n - side) // 2), max(0, (n - side) // 2) + side) for n in image.shape)
    return image[rows, cols], np.asarray(mask[rows, cols], bool)


def parts_of_images(images: Iterable[tuple[NDArray[Any], NDArray[np.bool_]]], config: AutoencoderConfig) -> list[Part]:
    """Return the normalised middles of images with masks; those with too little data, or one grey, are left out."""
    out = []
    for image, mask in images:
        known = np.asarray(mask, bool) & np.isfinite(image)
        top, left = (max(0, (s - config.section_px) // 2) for s in image.shape)
        at = slice(top, top + config.section_px), slice(left, left + config.section_px)
        grey, known = standardised(image[at], known[at], config.window_px), known[at]
        if min(grey.shape) >= config.crop_px and known.sum() >= config.crop_px**2 and grey[known].std() > 1e-3:
            out.append((grey, known))
    return out


def generated_parts(config: AutoencoderConfig) -> list[Part]:
    """Return made-up sections to learn from, five to a series; none resembles another series."""
    style = "sem" if config.form == "sem" else "tem"
    rng = np.random.default_rng((config.seed, 77))
    images = []
    for k in range(config.generated):
        made = series((512, 512), 100, config.seed * 1009 + k // 5, style=style)[20 * (k % 5)].image
        images.append((made + rng.normal(0, rng.uniform(0, 6), made.shape), np.ones(made.shape, bool)))
    return parts_of_images(images, config)


class AutoencoderTraining:
    """One training: where it stands, and how it takes a step.

    Parameters
    ----------
    parts : sequence of (image, mask)
        Of `parts_of_stack` or `generated_parts`; an eighth is held out (of one alone, its right quarter).
    config : AutoencoderConfig

    Raises
    ------
    InputError
        When there is nothing to learn from, or a GPU is asked for and there is none.
    """

    def __init__(self, parts: Sequence[Part], config: AutoencoderConfig) -> None:
        if config.device == "cuda" and not torch.cuda.is_available():
            msg = "device: there is no GPU that torch can use; choose cpu or auto"
            raise InputError(msg)
        self.config = config
        self.device = torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
        self.parts, held = _divided(parts, config.crop_px)
        self.digest = hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p, _ in parts)).hexdigest()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.net = Autoencoder(FORMS[config.form]).to(self.device)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=config.learning_rate)
        rng = np.random.default_rng((config.seed, 0, 1))
        self.validation = self._crops(held, rng, _VALIDATION_CROPS)
        self.step, self.seconds, self.sums = 0, 0.0, [0.0, 0.0]
        self.best: dict[str, Tensor] = {}
        self.best_step, self.best_score, self.stale = 0, float("inf"), 0
        self.history: list[dict[str, Any]] = []

    def _crops(self, parts: Sequence[Part], rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Return crops with their masks, (count, 1, side, side): any place, any of the eight ways to lay them."""
        side, cut = self.config.crop_px, []
        share = np.array([p.size for p, _ in parts], float)
        for _ in range(count):
            grey, mask = parts[rng.choice(len(parts), p=share / share.sum())]
            top, left = (int(rng.integers(s - side + 1)) for s in grey.shape)
            turn, flip = int(rng.integers(4)), bool(rng.integers(2))
            both = np.stack([grey, mask])[:, top : top + side, left : left + side]
            both = np.rot90(both, turn, axes=(1, 2))
            cut.append(both[:, :, ::-1] if flip else both)
        out = torch.from_numpy(np.ascontiguousarray(np.stack(cut), np.float32)).to(self.device)
        return out[:, :1], out[:, 1:]

    def take_step(self) -> None:
        """Take one step of Adam on eq. 3, divided by the number of pixels."""
        config = self.config
        rng = np.random.default_rng((config.seed, self.step, 2))
        images, masks = self._crops(self.parts, rng, config.batch)
        done = max(self.step / config.steps, self.seconds / (60 * config.minutes))
        for group in self.adam.param_groups:
            group["lr"] = config.learning_rate * max(0.01, 1 - 0.99 * done)
        given = images
        if config.noise:
            noise = rng.normal(0, config.noise, images.shape).astype(np.float32)
            given = (images + torch.from_numpy(noise).to(self.device)).clamp(0, 1)
        pixels = images.numel()
        loss = autoencoder_loss(self.net, given, config.weight_loss * pixels, masks, images) / pixels
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        self.step += 1
        self.sums = [self.sums[0] + float(loss.detach()), self.sums[1] + 1]

    @torch.no_grad()
    def validate(self) -> float:
        """Return the mean squared error a pixel on held-out crops, and keep the network when it is the best so far."""
        images, masks = self.validation
        score = float((masks * (images - self.net(images)) ** 2).sum() / masks.sum().clamp(min=1))
        self.stale = 0 if score < 0.99 * self.best_score else self.stale + 1
        if score < self.best_score:
            self.best = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
            self.best_step, self.best_score = self.step, score
        rate = self.adam.param_groups[0]["lr"]
        loss = self.sums[0] / max(self.sums[1], 1)
        point = {"step": self.step, "loss": loss, "validation": score, "rate": rate, "seconds": self.seconds}
        self.history.append({k: v if k == "step" else float(f"{v:.6g}") for k, v in point.items()})
        self.sums = [0.0, 0.0]
        return score

    @property
    def over(self) -> str:
        """Why it is over: ``steps``, ``minutes`` or ``no better``; empty when it is not."""
        if self.step >= self.config.steps:
            return "steps"
        if self.seconds >= 60 * self.config.minutes:
            return "minutes"
        return "no better" if 0 < self.config.patience <= self.stale else ""

    @torch.no_grad()
    def finished(self) -> Autoencoder:
        """Return the best network, with the variance of its features on what it was trained on."""
        net = Autoencoder(FORMS[self.config.form]).to(self.device)
        net.load_state_dict(self.best or self.net.state_dict())
        some = [torch.from_numpy(p[:_SHOWN, :_SHOWN]).to(self.device) for p, _ in self.parts[:4]]
        variances = [net.encode(p[None, None])[0].var(dim=(1, 2)).mean() for p in some]
        net.feature_var.copy_(torch.stack(variances).mean().clamp(min=1e-8))
        return frozen(net)

    # --- what is kept -----------------------------------------------------------------------------------------------

    _PLAIN = ("step", "seconds", "sums", "best", "best_step", "best_score", "stale", "history")

    def facts(self) -> dict[str, Any]:
        """Return what says which run this is."""
        config = {k: v for k, v in to_dict(self.config).items() if k not in _FREE}
        return {"config": config, "data": self.digest}

    def save(self, path: Path) -> None:
        """Write a checkpoint, all or nothing."""
        content: dict[str, Any] = {name: getattr(self, name) for name in self._PLAIN}
        content |= {"net": self.net.state_dict(), "adam": self.adam.state_dict(), "facts": self.facts()}
        kept = io.BytesIO()
        torch.save(content, kept)
        write_whole(path, kept.getbuffer())

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint. Raises `InputError` when it is damaged or of another run."""
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
            other = "" if content["facts"] == self.facts() else "the settings or the images are not the same"
        except (*UNREADABLE, pickle.UnpicklingError) as error:
            msg = f"{path} cannot be read as a checkpoint; delete it to begin anew"
            raise InputError(msg) from error
        if other:
            msg = f"{path.parent} holds another training: {other}. Choose another --out, or those settings"
            raise InputError(msg)
        self.net.load_state_dict(content["net"])
        self.adam.load_state_dict(content["adam"])
        for name in self._PLAIN:
            setattr(self, name, content[name])


def _divided(parts: Sequence[Part], side: int) -> tuple[list[Part], list[Part]]:
    """Return what is trained on and what is held out."""
    if not parts:
        msg = "nothing to train on: give a stack, or --generated 20"
        raise InputError(msg)
    if len(parts) > 1:
        count = max(1, round(_HELD_OUT * len(parts)))
        held = {round(k) for k in np.linspace(0, len(parts) - 1, count + 2)[1:-1]}
        return [p for k, p in enumerate(parts) if k not in held], [p for k, p in enumerate(parts) if k in held]
    grey, mask = parts[0]
    cut = max(side, grey.shape[1] - max(side, grey.shape[1] // 4))
    if grey.shape[1] - cut < side:
        return [parts[0]], [parts[0]]  # too small to be divided: validation says only that it learns
    return [(grey[:, :cut], mask[:, :cut])], [(grey[:, cut:], mask[:, cut:])]


def train_autoencoder(
    out: Path,
    parts: Sequence[Part],
    config: AutoencoderConfig,
    *,
    command: str = "",
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Trained:
    """Train and save an autoencoder; run again with the same arguments to go on where it stopped.

    Parameters
    ----------
    out : Path
        Folder for what the run leaves: ``autoencoder.safetensors`` (the best), its card ``autoencoder.md``,
        ``autoencoder.json`` (settings), ``log.jsonl`` (the loss curve) and ``checkpoint.pt``.
    parts : sequence of (image, mask)
        Of `parts_of_stack`, `parts_of_images` or `generated_parts`.
    config : AutoencoderConfig
    command : str
        What was typed, for the card.
    progress : callable
        What is being done, how much of it is, and how much there is.

    Raises
    ------
    InputError
        When there is nothing to learn from, or the folder holds something else.
    KeyboardInterrupt
        After Ctrl-C, once the step is finished and the checkpoint is written.
    """
    training = AutoencoderTraining(parts, config)
    _prepared(out)
    if (out / CHECKPOINT).is_file():
        training.resume(out / CHECKPOINT)
    write_whole(out / SETTINGS, (json.dumps(to_dict(config), indent=1) + "\n").encode())
    if config.threads:
        torch.set_num_threads(config.threads)
    with stop_flag() as stopped:
        began = time.perf_counter() - training.seconds
        while not training.over and not stopped():
            training.take_step()
            training.seconds = time.perf_counter() - began
            progress("steps", training.step, config.steps)
            if training.step % config.validate_every == 0 or training.over:
                training.validate()
                _checkpoint(out, training)
        if not training.over:
            _checkpoint(out, training)
            raise KeyboardInterrupt
    return _kept(out, training, command)


def _prepared(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / SETTINGS).is_file()):
        msg = f"--out {out} is a file, or a folder that holds something else: choose another"
        raise InputError(msg)
    out.mkdir(parents=True, exist_ok=True)


def _checkpoint(out: Path, training: AutoencoderTraining) -> None:
    """Write the loss curve so far, and what is needed to go on."""
    write_whole(out / LOG, "".join(json.dumps(p) + "\n" for p in training.history).encode())
    training.save(out / CHECKPOINT)


def _kept(out: Path, training: AutoencoderTraining, command: str) -> Trained:
    """Write the weights, their card and the loss curve, and return what came out."""
    net, images = training.finished(), training.validation[0]
    variance = float(images.var())
    card = {
        "version": demis_ij.__version__, "command": command, "settings": to_dict(training.config),
        "parts": len(training.parts), "step": training.best_step, "validation": training.best_score,
        "grey_variance": variance, "stopped": training.over, "seconds": round(training.seconds, 1),
        "parameters": sum(p.numel() for p in net.parameters()), "layers": net.layers,
    }  # fmt: skip
    save_autoencoder(out / WEIGHTS, net, card)
    write_whole(out / CARD, card_page(card).encode())
    return Trained(
        net, out / WEIGHTS, out / CARD, training.step, training.best_step, tuple(training.history), variance,
        training.over,
    )  # fmt: skip


@torch.no_grad()
def reconstruction(net: Autoencoder, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what comes out of a network for a normalised image (H, W)."""
    given = torch.from_numpy(np.ascontiguousarray(image))[None, None].to(net.feature_var.device)
    return np.asarray(net(given)[0, 0].cpu().numpy(), np.float32)


def card_page(card: dict[str, Any]) -> str:
    """Return the card of an autoencoder as Markdown."""
    layers = ", ".join(f"{c} of {k} x {k}" + (f" by {s}" if s > 1 else "") for c, k, s in card["layers"])
    settings = card["settings"]
    explained = 1 - card["validation"] / max(card["grey_variance"], 1e-12)
    lines = [
        "# Weights of an autoencoder for ssEMnet",
        "",
        f"Yoo et al. 2017, arXiv:1707.07833, section 2.1; form {settings['form']}, encoder {layers}; "
        f"{card['parameters']} parameters; demis_ij {card['version']}.",
        "",
        f"Trained on {card['parts']} sections, step {card['step']} of {settings['steps']} "
        f"(ended by {card['stopped']}), {card['seconds']} s, seed {settings['seed']}.",
        "",
        f"On held-out crops: mean squared error {card['validation']:.5f} of grey from 0 to 1; {explained:.1%} of the "
        "variance is told.",
        "",
        f"**Licence of the images:** {settings['licence'] or 'not given'}",
        "",
        f"    {card['command'] or '(from Python)'}",
        "",
    ]
    return "\n".join(lines)


__all__ = [
    "CARD", "LOG", "WEIGHTS", "AutoencoderTraining", "Trained", "generated_parts", "parts_of_images", "parts_of_stack",
    "reconstruction", "train_autoencoder",
]  # fmt: skip
