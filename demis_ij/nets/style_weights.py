"""Weights of style networks: write them with what they are, read them back, refuse others."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from demis_ij.errors import InputError, WeightsError
from demis_ij.nets.style import KIND, Form, Generator
from demis_ij.nets.weights import UNREADABLE, first_line, load_state, save_weights, shipped, state_digest

SHIPPED = ("tissue", "steel", "fluorescence")
"""Styles that ship, as files ``style_<name>.safetensors``."""
COMPARED = ("greys", "edges")
"""What of restyled images means the same as in targets: grey values, or, where nothing told which grey means what
(trained without partners), local contrast alone (`demis_ij.nets.style_contrast`)."""
_FORWARD, _BACK, _PLAIN = "there.", "back.", "plain."


@dataclass(frozen=True, eq=False)
class LoadedStyle:
    """Style networks as they are kept.

    Attributes
    ----------
    forward : Generator
        From source to target, in evaluation mode, its parameters fixed.
    back : Generator or None
        From target to source, where that was trained too.
    plain : Generator or None
        From target to what restyled images show of it, where that was trained too.
    source, target : str
        What they lead from and to ("lom", "sem").
    name : str
        Of the weights, for reports.
    card : dict
        What is known of their training.
    compare : str
        Of `COMPARED`.
    """

    forward: Generator
    back: Generator | None
    plain: Generator | None
    source: str
    target: str
    name: str
    card: dict[str, Any]
    compare: str = COMPARED[0]

    @property
    def polarity(self) -> tuple[float, float] | None:
        """Between what most targets lie (`demis_ij.nets.style_contrast.polarity_of`); None where that is not known."""
        span = self.card.get("polarity")
        return (float(span[0]), float(span[1])) if span else None


def save_style(
    path: Path,
    forward: Generator,
    source: str,
    target: str,
    card: dict[str, Any],
    *,
    back: Generator | None = None,
    plain: Generator | None = None,
    compare: str = COMPARED[0],
) -> None:
    """Write style networks as safetensors of 16-bit numbers: form, directions, card and checksum; all or nothing."""
    state = _named(forward, _FORWARD)
    for net, prefix in ((back, _BACK), (plain, _PLAIN)):
        state |= {} if net is None else _named(net, prefix)
    ways = {"back": back is not None, "plain": plain is not None}
    what: dict[str, Any] = {"kind": KIND, "form": asdict(forward.form), "source": source, "target": target} | ways
    what["compare"] = compare
    save_weights(path, state, what, half_pixel=0.0, card=card)


def _named(net: Generator, prefix: str) -> dict[str, Tensor]:
    """Return the tensors of a network; variances keep their 32 bits, half of which cannot hold small ones."""
    state = net.state_dict().items()
    return {prefix + k: v if not v.is_floating_point() or "running" in k else v.half() for k, v in state}


def style_path(name: str) -> Path:
    """Return the file of a style: one of `SHIPPED`, or a path. Raises `WeightsError` when there is none."""
    path = shipped(f"style_{name}") if name in SHIPPED else Path(name)
    if not path.is_file():
        msg = f"no style {name!r}: neither a file nor one of {', '.join(SHIPPED)}"
        raise WeightsError(msg)
    return path


def load_style(name: str) -> LoadedStyle:
    """Return style networks.

    Parameters
    ----------
    name : str
        One of `SHIPPED`, or a path.

    Raises
    ------
    WeightsError
        When the weights are missing, damaged, or those of another network.
    """
    path = style_path(name)
    state, meta = load_state(path), _metadata(path)
    what = json.loads(meta.get("architecture", "{}"))
    if not isinstance(what, dict) or what.get("kind") != KIND:
        msg = f"{path} holds weights of another network, needed those of demis-ij train style"
        raise WeightsError(msg)
    if state_digest(state) != meta.get("sha256"):
        msg = f"{path} is damaged: its tensors do not have the checksum that was written with them"
        raise WeightsError(msg)
    try:
        form = Form(**what["form"])
        forward = _generator(form, state, _FORWARD)
        back = _generator(form.reversed, state, _BACK) if what["back"] else None
        plain = _generator(form.plain, state, _PLAIN) if what["plain"] else None
        compare = str(what.get("compare", COMPARED[0]))
        if compare not in COMPARED:
            msg = f"{path} is compared by {compare!r}, which this version does not know: {', '.join(COMPARED)}"
            raise WeightsError(msg)
        return LoadedStyle(
            forward, back, plain, str(what["source"]), str(what["target"]), name if name in SHIPPED else path.name,
            json.loads(meta.get("card", "{}")), compare,
        )  # fmt: skip
    except (*UNREADABLE, InputError) as error:
        msg = f"{path} does not fit the form that it names: {first_line(error)}"
        raise WeightsError(msg) from error


def _generator(form: Form, state: dict[str, Tensor], prefix: str) -> Generator:
    net = Generator(form)
    own = {k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)}
    counted = {k: torch.zeros_like(v) for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
    net.load_state_dict(own | counted)
    return net.eval().requires_grad_(False)


def _metadata(path: Path) -> dict[str, str]:
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, "pt") as source:
        return dict(source.metadata() or {})


__all__ = ["COMPARED", "SHIPPED", "LoadedStyle", "load_style", "save_style"]
