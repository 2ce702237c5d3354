"""The network that a training starts with: from nothing, or from weights that exist."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

import torch
from kornia.feature.loftr.loftr import LoFTR

from demis_ij.config import ArchitectureConfig
from demis_ij.errors import InputError
from demis_ij.nets.loftr import COMPACT, build
from demis_ij.nets.weights import load_loftr


@dataclass(frozen=True, eq=False)
class Start:
    """What a training begins with.

    Attributes
    ----------
    net : LoFTR
        In evaluation mode, on the CPU.
    config : dict
        Its architecture, as kornia writes it.
    half_pixel : float
        What to subtract from its points to reach pixel centres at integers: the frame it was trained in, and stays in.
    """

    net: LoFTR
    config: dict[str, Any]
    half_pixel: float

    @property
    def stride(self) -> int:
        """Pixels a coarse cell."""
        return int(self.config["resolution"][0])


def loftr_config(architecture: ArchitectureConfig) -> dict[str, Any]:
    """Return an architecture as kornia writes it."""
    config: dict[str, Any] = copy.deepcopy(COMPACT)
    stride, widths = architecture.stride, list(architecture.widths)
    config["backbone_type"] = "ResNetFPN"
    config["resolution"] = (stride, stride // 4)
    config["fine_window_size"] = architecture.fine_window
    config["resnetfpn"] = {"initial_dim": widths[0], "block_dims": widths}
    parts = (
        ("coarse", widths[-1], architecture.coarse_layers),
        ("fine", _fine_width(widths, stride), architecture.fine_layers),
    )
    for name, width, layers in parts:
        config[name] |= {"d_model": width, "d_ffn": width, "nhead": architecture.heads}
        config[name]["layer_names"] = ["self", "cross"] * layers
    return config


def _fine_width(widths: list[int], stride: int) -> int:
    """Return the channels of the backbone's fine map: its first level at stride 8, its second at 16."""
    return widths[0] if stride == 8 else widths[1]


def plain_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return a kornia configuration as JSON holds it, to compare and to keep."""
    plain: dict[str, Any] = json.loads(json.dumps(config))
    return plain


def start(init: str, architecture: ArchitectureConfig | None, seed: int) -> Start:
    """Return the network to begin with.

    Parameters
    ----------
    init : str
        Empty, ``shipped``, a path, ``outdoor`` or ``indoor_new``.
    architecture : ArchitectureConfig or None
        None: that of ``init``, or the default.
    seed : int
        Of random weights.

    Raises
    ------
    InputError
        When ``init`` is of another architecture.
    WeightsError
        When it cannot be loaded.
    """
    if not init:
        config = loftr_config(architecture or ArchitectureConfig())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Start(build(config), plain_config(config), 0.0)
    loaded = load_loftr(init)
    config = plain_config(loaded.net.config)
    if architecture is not None:
        _refuse_other(init, config, plain_config(loftr_config(architecture)))
    return Start(loaded.net, config, loaded.half_pixel)


def _refuse_other(init: str, found: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise `InputError` when weights are not of the architecture that [architecture] asks for."""
    for name in ("resolution", "fine_window_size", "resnetfpn", "coarse", "fine"):
        for key in asked[name] if isinstance(asked[name], dict) else [None]:
            have, want = (c[name].get(key) if key else c[name] for c in (found, asked))
            if have != want and key != "temp_bug_fix":
                what = f"{name}.{key}" if key else name
                msg = (
                    f"{init} is of another architecture than [architecture] asks for: its {what} is {have}, asked for "
                    f"{want}. Leave [architecture] out to train what {init} is, or init out to start from scratch"
                )
                raise InputError(msg)


def teacher(name: str, student: Start) -> LoFTR:
    """Return a network to imitate, in evaluation mode. Raises `InputError` when its coarse cells are others."""
    loaded = load_loftr(name)
    stride = int(loaded.net.config["resolution"][0])
    if stride != student.stride:
        msg = f"teacher {name}: its coarse cells have {stride} px, those of the network to train {student.stride} px"
        raise InputError(msg)
    return loaded.net.requires_grad_(False).eval()
