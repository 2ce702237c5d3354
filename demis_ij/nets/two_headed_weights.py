"""Weights of the two-headed network: write them with what they are, read them back, refuse others."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from demis_ij.errors import InputError, WeightsError
from demis_ij.nets.two_headed import KIND, PARAMETERS, Form, TwoHeaded
from demis_ij.nets.weights import UNREADABLE, first_line, load_state, save_weights, shipped, state_digest

SHIPPED = "two_headed"


@dataclass(frozen=True, eq=False)
class LoadedTwoHeaded:
    """A network ready to register.

    Attributes
    ----------
    net : TwoHeaded
        In evaluation mode, its parameters fixed.
    name : str
        What it is, for reports.
    card : dict
        What is known of its training.
    """

    net: TwoHeaded
    name: str
    card: dict[str, Any]


def save_two_headed(path: Path, net: TwoHeaded, card: dict[str, Any]) -> None:
    """Write a network as safetensors: form, mean and deviation of its targets, card and checksum; all or nothing."""
    targets = {n: (float(m), float(d)) for n, m, d in zip(PARAMETERS, net.mean, net.deviation, strict=True)}
    what = {"kind": KIND, "form": asdict(net.form), "targets": targets}
    save_weights(path, _own(net.state_dict(), net.form), what, half_pixel=0.0, card=card)


def _own(state: dict[str, Any], form: Form) -> dict[str, Any]:
    """Return a state without the second name of heads that share their weights."""
    return state if form.separate else {k: v for k, v in state.items() if not k.startswith("moving_head.")}


def load_two_headed(name: str = "shipped") -> LoadedTwoHeaded:
    """Return a two-headed network.

    Parameters
    ----------
    name : str
        ``shipped``, or a path.

    Raises
    ------
    WeightsError
        When the weights are missing, damaged, or those of another network.
    """
    path = shipped(SHIPPED) if name == "shipped" else Path(name)
    if not path.is_file():
        msg = f"no weights {name!r}: neither a file nor 'shipped'"
        raise WeightsError(msg)
    state, meta = load_state(path), _metadata(path)
    what = json.loads(meta.get("architecture", "{}"))
    if what.get("kind") != KIND:
        msg = f"{path} holds weights of another network, needed those of demis-ij train two-headed"
        raise WeightsError(msg)
    if state_digest(state) != meta.get("sha256"):
        msg = f"{path} is damaged: its tensors do not have the checksum that was written with them"
        raise WeightsError(msg)
    try:
        form = Form(**what["form"])
        net = TwoHeaded(form)
        if not form.separate:
            state |= {k.replace("fixed_", "moving_", 1): v for k, v in state.items() if k.startswith("fixed_head.")}
        counted = {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
        net.load_state_dict(state | counted)
    except (*UNREADABLE, InputError) as error:
        msg = f"{path} does not fit the form that it names: {first_line(error)}"
        raise WeightsError(msg) from error
    net.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # a third faster on a CPU
    return LoadedTwoHeaded(net, name if name == "shipped" else path.name, json.loads(meta.get("card", "{}")))


def widened(net: TwoHeaded, *, angle_deg: float = 50.0, scale: float = 1.7, shift_frac: float = 0.12) -> TwoHeaded:
    """Return the same network with a coarse volume over a wider range; nothing has to be learned for it.

    Features bear more of a turn than they were trained with: all specimens that were tried to 50 degrees, some to 70.
    For the rest of the circle turn the moving picture by 90, 180 and 270 degrees, and believe the best match.

    Parameters
    ----------
    net : TwoHeaded
    angle_deg, scale, shift_frac : float
        Half the range of angles, the largest factor, and the shift as a part of the field.
    """
    form = net.form
    angles = min(math.ceil(math.radians(angle_deg) / form.angle_step - 0.05) + 1, math.ceil(math.pi / form.angle_step))
    scales = math.ceil(math.log(scale) / form.scale_step - 0.05) + 1
    reach = math.ceil(shift_frac * form.side / 4) + 1
    wide = TwoHeaded(replace(form, angles=2 * angles + 1, scales=2 * scales + 1, reach=reach))
    wide.load_state_dict(net.state_dict())
    return wide.to(net.mean.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _metadata(path: Path) -> dict[str, str]:
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, "pt") as source:
        return dict(source.metadata() or {})


__all__ = ["SHIPPED", "LoadedTwoHeaded", "load_two_headed", "save_two_headed", "widened"]
