"""LoFTR (Sun et al. 2021, arXiv:2104.00680) with a configuration of its own, from kornia's modules.

Two frames occur. Networks trained here put coarse cell (x, y) on pixel (8 x, 8 y), pixel centres at integers, as
kornia's strided convolutions do. Checkpoints of the reference implementation (kornia's ``outdoor`` and
``indoor_new``, DEMIS's own) put pixel centres at x + 0.5: half a pixel is subtracted from their points.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from kornia.feature.loftr.loftr import LoFTR, default_cfg

COMPACT: dict[str, Any] = {
    "backbone_type": "ResNetFPN",
    "resolution": (8, 2),
    "fine_window_size": 5,
    "fine_concat_coarse_feat": True,
    "resnetfpn": {"initial_dim": 16, "block_dims": [16, 32, 64]},
    "coarse": {
        "d_model": 64,
        "d_ffn": 64,
        "nhead": 4,
        "layer_names": ["self", "cross", "self", "cross"],
        "attention": "linear",
        "temp_bug_fix": True,
    },
    "match_coarse": {
        "thr": 0.2,
        "border_rm": 0,
        "match_type": "dual_softmax",
        "dsmax_temperature": 0.1,
        "skh_iters": 3,
        "skh_init_bin_score": 1.0,
        "skh_prefilter": True,
        "train_coarse_percent": 0.4,
        "train_pad_num_gt_min": 200,
    },
    "fine": {"d_model": 16, "d_ffn": 16, "nhead": 4, "layer_names": ["self", "cross"], "attention": "linear"},
}
"""The configuration of the weights that ship: 0.42 M parameters."""


@dataclass(frozen=True)
class Architecture:
    """What is needed to build a LoFTR before its weights are loaded.

    Attributes
    ----------
    config : dict
        kornia's configuration.
    half_pixel : float
        What to subtract from its points to reach pixel centres at integers.
    """

    config: dict[str, Any]
    half_pixel: float


def build(config: Mapping[str, Any] = COMPACT) -> LoFTR:
    """Return a LoFTR with random weights, in evaluation mode."""
    resolution = tuple(config["resolution"])  # a list where it comes from JSON
    return LoFTR(pretrained=None, config={**config, "resolution": resolution}).eval()


def infer_architecture(state: Mapping[str, torch.Tensor]) -> Architecture:
    """Return the architecture that a checkpoint of the reference implementation was made for.

    The widths are read from the tensors' shapes; layers alternate self and cross. ``indoor_new`` and DEMIS train with
    the corrected positional encoding, which leaves no trace in the tensors: the caller says so where it matters.
    """
    config: dict[str, Any] = copy.deepcopy(default_cfg)
    dims = [int(state[f"backbone.layer{i}.0.conv1.weight"].shape[0]) for i in (1, 2, 3)]
    config["resnetfpn"] = {"initial_dim": int(state["backbone.conv1.weight"].shape[0]), "block_dims": dims}
    for name, width in (("coarse", dims[2]), ("fine", dims[0])):
        layers = {int(k.split(".")[2]) for k in state if k.startswith(f"loftr_{name}.layers.")}
        config[name]["d_model"] = config[name]["d_ffn"] = width
        config[name]["layer_names"] = ["self", "cross"] * (len(layers) // 2)
    return Architecture(config, 0.5)


_LEVELS = ("layer1", "layer2", "layer3", "layer4")  # the last at stride 16 only


def fold_batch_norm(net: LoFTR) -> LoFTR:
    """Return the network, in place, with each batch norm of the backbone folded into its convolution.

    The function computed is the same; on a CPU it is faster by the cost of the norms.
    """
    fuse: Any = torch.nn.utils.fusion.fuse_conv_bn_eval
    backbone: Any = net.backbone
    backbone.conv1 = fuse(backbone.conv1, backbone.bn1)
    backbone.bn1 = torch.nn.Identity()
    for layer in (layer for name, layer in backbone.named_children() if name in _LEVELS):
        for block in layer:
            block.conv1, block.bn1 = fuse(block.conv1, block.bn1), torch.nn.Identity()
            block.conv2, block.bn2 = fuse(block.conv2, block.bn2), torch.nn.Identity()
            if block.downsample is not None:
                block.downsample = torch.nn.Sequential(fuse(block.downsample[0], block.downsample[1]))
    for name, old in [(n, m) for n, m in backbone.named_children() if n.endswith("_outconv2")]:
        setattr(backbone, name, torch.nn.Sequential(fuse(old[0], old[1]), *old[2:]))
    return net
