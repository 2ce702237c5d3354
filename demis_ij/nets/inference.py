"""A LoFTR's forward pass, made lean: what `kornia.feature.LoFTR` computes, with less work.

Three things are done otherwise, none of which changes the function (a test compares with kornia's): both images go
through the self-attention layers as one batch with one product for queries, keys and values; the dual softmax (Sun et
al. 2021, arXiv:2104.00680, eq. 3) is evaluated only where it can exceed the threshold, from one exponential and two
sums; and the fine stage, which is the costlier half of the backbone and of the matching, is left out where the caller
makes the points exact in another way.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from kornia.feature.loftr.loftr import LoFTR
from torch import Tensor
from torch.nn import functional

from demis_ij.nets.loftr import fold_batch_norm

_FLATTENED = 0.2  # power of the confidence that weighs a centroid: it is trained to be all or nothing
_LEAST_SUM = 1e-20  # a softmax' sum below this has lost digits to the common maximum


@dataclass(frozen=True, eq=False)
class Matches:
    """Matches of a batch of pairs, px of the images as the network saw them.

    Attributes
    ----------
    item : Tensor of shape (M,), int64
        Which pair of the batch.
    fixed_xy, moving_xy : Tensor of shape (M, 2), float32
    confidence : Tensor of shape (M,), float32
        Dual-softmax confidence.
    """

    item: Tensor
    fixed_xy: Tensor
    moving_xy: Tensor
    confidence: Tensor


class LeanLoftr:
    """A LoFTR for inference on one device.

    Parameters
    ----------
    net : LoFTR
        In evaluation mode; its batch norms are folded in place.
    device : torch.device
    half : torch.dtype, optional
        Runs the backbone in half precision, and the coarse layers where that is bfloat16; what positions come from
        stays float32.
    """

    def __init__(self, net: LoFTR, device: torch.device, half: torch.dtype | None = None) -> None:
        self.net: Any = fold_batch_norm(net).to(device)
        self.net.backbone.to(memory_format=torch.channels_last)
        self.device = device
        self.half = half
        self.stride, self.fine_stride = (int(s) for s in net.config["resolution"])
        self._layers = [
            _Layer(layer, name)
            for layer, name in zip(net.loftr_coarse.layers, net.loftr_coarse.layer_names, strict=True)
        ]
        self._temperature = float(net.coarse_matching.temperature)

    @torch.inference_mode()
    def __call__(self, images: Tensor, masks: Tensor | None, threshold: float, *, fine: bool = True) -> Matches:
        """Return the matches of N pairs.

        Parameters
        ----------
        images : Tensor of shape (2, N, 1, H, W), float32
            Fixed and moving images in [0, 1]; H and W multiples of the coarse stride.
        masks : Tensor of shape (2, N, H / stride, W / stride), bool, or None
            Coarse cells that hold data.
        threshold : float
            Least confidence.
        fine : bool
            Whether the fine stage places the moving points; without it they are the centroids of the confidence
            around the best cell, good to about a third of a cell.
        """
        n = images.shape[1]
        flat = images.flatten(0, 1).to(self.device).to(memory_format=torch.channels_last)
        seen = None if masks is None else masks.flatten(0, 1).flatten(1).to(self.device)
        faster = nullcontext() if self.half is None else torch.autocast(self.device.type, self.half)
        with faster:
            coarse, stages = self._coarse_features(flat)
        coarse = self.net.pos_encoding(coarse.float())
        tokens = coarse.flatten(2).transpose(1, 2).contiguous()
        # bfloat16 has float32's range, so that the attention's sums cannot overflow; float16 has not
        with faster if self.half is torch.bfloat16 else nullcontext():
            for layer in self._layers:
                tokens = layer(tokens, seen)
        tokens = tokens.float()
        fixed, moving = tokens[:n], tokens[n:]
        columns = coarse.shape[3]
        found = _dual_softmax(fixed, moving, seen, threshold, self._temperature, None if fine else columns)
        item, i, j, confidence, offset = found
        at = [torch.stack([k % columns, k // columns], 1) * float(self.stride) for k in (i, j)]
        if not fine:
            return Matches(item, at[0], at[1] + offset * self.stride, confidence)
        with faster:
            fine_map = self._fine_features(stages).float()
        moved = self._fine_offsets(fine_map, tokens, (item, i, j), n)
        return Matches(item, at[0], at[1] + moved, confidence)

    def _coarse_features(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the coarse map and what the fine map is made from (ResNet-FPN, strides 8 / 2 or 16 / 4)."""
        net = self.net.backbone
        x = net.relu(net.bn1(net.conv1(images)))
        stages = []
        for k in range(1, self._depth + 1):
            x = getattr(net, f"layer{k}")(x)
            stages.append(x)
        top = getattr(net, f"layer{self._depth}_outconv")(x)
        return top, [*stages[:-1], top]

    @property
    def _depth(self) -> int:
        return 4 if hasattr(self.net.backbone, "layer4") else 3

    def _fine_features(self, stages: list[Tensor]) -> Tensor:
        """Return the fine map: the feature pyramid from the top down to two levels below it."""
        net, out = self.net.backbone, stages[-1]
        for k in (self._depth - 1, self._depth - 2):
            lateral = getattr(net, f"layer{k}_outconv")(stages[k - 1])
            up = functional.interpolate(out, scale_factor=2.0, mode="bilinear", align_corners=True)
            out = getattr(net, f"layer{k}_outconv2")(lateral + up[..., : lateral.shape[2], : lateral.shape[3]])
        return out

    def _fine_offsets(self, fine: Tensor, tokens: Tensor, cells: tuple[Tensor, Tensor, Tensor], n: int) -> Tensor:
        """Return (M, 2) px: where in the moving window each match lies, from the window's middle."""
        item, i, j = cells
        if not len(item):
            return torch.empty(0, 2, device=self.device)
        data: dict[str, Any] = {
            "b_ids": item, "i_ids": i, "j_ids": j, "stride_c": self.stride, "stride_f": self.fine_stride,
        }  # fmt: skip
        zero = torch.zeros(len(item), 2, device=self.device)
        data |= {"mkpts0_c": zero, "mkpts1_c": zero, "mconf": zero[:, 0]}
        w0, w1 = self.net.fine_preprocess(fine[:n], fine[n:], tokens[:n], tokens[n:], data)
        w0, w1 = self.net.loftr_fine(w0, w1)
        self.net.fine_matching(w0, w1, data)
        offset: Tensor = data["mkpts1_f"]
        return offset


class _Layer:
    """One coarse layer: linear attention (Katharopoulos et al. 2020, arXiv:2006.16236) and its feed-forward net.

    Both images' tokens are one batch, (2 N, L, C): fixed first.
    """

    def __init__(self, layer: Any, name: str) -> None:
        self.layer = layer
        self.cross = name == "cross"
        self.linear = type(layer.attention).__name__ == "LinearAttention"
        self.heads, self.dim = int(layer.nhead), int(layer.dim)
        width = self.heads * self.dim
        self.eps = float(getattr(layer.attention, "eps", 1e-6))
        with torch.no_grad():
            self.qkv = torch.cat([layer.q_proj.weight, layer.k_proj.weight, layer.v_proj.weight]).t().contiguous()
            first = layer.mlp[0].weight.t()
            self.own, self.told = first[:width].contiguous(), first[width:].contiguous()
        head = torch.arange(width, device=self.qkv.device) // self.dim
        self.block = (head[:, None] == head[None, :]).float()

    def __call__(self, tokens: Tensor, seen: Tensor | None) -> Tensor:
        if not self.linear:
            return self._plain(tokens, seen)
        n = tokens.shape[0] // 2
        if not self.cross:
            return self._update(tokens, tokens, seen, seen)
        halves = (None, None) if seen is None else (seen[:n], seen[n:])
        fixed = self._update(tokens[:n], tokens[n:], *halves)
        moving = self._update(tokens[n:], fixed, halves[1], halves[0])
        return torch.cat([fixed, moving])

    def _update(self, x: Tensor, source: Tensor, x_seen: Tensor | None, source_seen: Tensor | None) -> Tensor:
        width = x.shape[2]
        if x is source:
            q, k, v = torch.split(x @ self.qkv, width, 2)
        else:
            q = x @ self.qkv[:, :width]
            k, v = torch.split(source @ self.qkv[:, width:], width, 2)
        q, k = functional.elu(q) + 1, functional.elu(k) + 1
        if source_seen is not None:
            k, v = k * source_seen[..., None], v * source_seen[..., None]
        # per head: sum over the source of k v', and of k; heads lie on the block diagonal of one product
        held = (k.transpose(1, 2) @ (v / v.shape[1])) * self.block
        norm = q * k.sum(1, keepdim=True)
        norm = norm.view(*norm.shape[:2], self.heads, self.dim).sum(3) + self.eps
        message = (q @ held).view(*norm.shape, self.dim) * (v.shape[1] / norm)[..., None]
        message = message.flatten(2)
        if x_seen is not None:
            message = message * x_seen[..., None]
        message = self.layer.norm1(self.layer.merge(message))
        told = torch.relu_(x @ self.own + message @ self.told)
        out: Tensor = x + self.layer.norm2(self.layer.mlp[2](told))
        return out

    def _plain(self, tokens: Tensor, seen: Tensor | None) -> Tensor:
        """Return kornia's own layer's answer (softmax attention)."""
        n = tokens.shape[0] // 2
        if not self.cross:
            out: Tensor = self.layer(tokens, tokens, seen, seen)
            return out
        halves = (None, None) if seen is None else (seen[:n], seen[n:])
        fixed = self.layer(tokens[:n], tokens[n:], *halves)
        moving = self.layer(tokens[n:], fixed, halves[1], halves[0])
        return torch.cat([fixed, moving])


def _dual_softmax(
    fixed: Tensor, moving: Tensor, seen: Tensor | None, threshold: float, temperature: float, columns: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return pair, fixed cell, moving cell and confidence of the mutual best matches above a threshold.

    Dual softmax is row share times column share, each at most 1: it exceeds the threshold only where the row share
    does, which holds for few cells.

    Parameters
    ----------
    fixed, moving : Tensor of shape (N, L, C)
    seen : Tensor of shape (2 N, L), bool, or None
    threshold, temperature : float
    columns : int or None
        Coarse columns, for the centroid around each best cell; None leaves the offsets at nil.

    Returns
    -------
    item, i, j : Tensor of shape (M,), int64
    confidence : Tensor of shape (M,)
    offset : Tensor of shape (M, 2)
        (x, y) from cell j, in cells.
    """
    n = len(fixed)
    pair = None if seen is None else seen[:n, :, None] & seen[n:, None, :]
    confidence_at, item, i, j = _candidates(fixed, moving, pair, threshold, temperature)
    confidence = confidence_at(item, i, j)
    keep = confidence > threshold
    for cell, cells in ((i, fixed.shape[1]), (j, moving.shape[1])):
        best = torch.zeros(n * cells, dtype=confidence.dtype, device=confidence.device)
        at = item * cells + cell
        best.scatter_reduce_(0, at, confidence, "amax")
        keep &= confidence == best[at]
    item, i, j, confidence = item[keep], i[keep], j[keep], confidence[keep]
    offset = torch.zeros(len(item), 2, device=fixed.device)
    if columns is not None and len(item):
        offset = _centroid(confidence_at, (item, i, j), columns, moving.shape[1] // columns)
    return item, i, j, confidence, offset


def _candidates(
    fixed: Tensor, moving: Tensor, pair: Tensor | None, threshold: float, temperature: float
) -> tuple[Callable[[Tensor, Tensor, Tensor], Tensor], Tensor, Tensor, Tensor]:
    """Return the confidence of any cells, and the cells (item, i, j) where it can exceed the threshold."""
    shares = _shares(fixed, moving, pair, temperature)
    row, column = shares.sum(2), shares.sum(1)
    if _lost_digits(row, pair, 2) or _lost_digits(column, pair, 1):
        # too wide a range for one common maximum: both softmaxes in full, which happens to no trained network we know
        likeness = (fixed * (1.0 / (fixed.shape[2] * temperature))) @ moving.transpose(1, 2)
        if pair is not None:
            likeness.masked_fill_(~pair, torch.finfo(likeness.dtype).min)
        dense = likeness.softmax(2) * likeness.softmax(1)
        if pair is not None:
            dense.masked_fill_(~pair, 0)
        item, i, j = torch.nonzero(dense > threshold, as_tuple=True)
        return (lambda item, i, j: dense[item, i, j]), item, i, j

    def confidence(item: Tensor, i: Tensor, j: Tensor) -> Tensor:
        e = shares[item, i, j]
        return e * e / (row[item, i] * column[item, j]).clamp(min=1e-30)

    item, i, j = torch.nonzero(shares > threshold * row[:, :, None], as_tuple=True)
    return confidence, item, i, j


def _shares(fixed: Tensor, moving: Tensor, pair: Tensor | None, temperature: float) -> Tensor:
    """Return exp(similarity - largest), (N, L, S), 0 where a cell holds no data."""
    likeness = (fixed * (1.0 / (fixed.shape[2] * temperature))) @ moving.transpose(1, 2)
    if pair is not None:
        likeness.masked_fill_(~pair, -torch.inf)
    return likeness.sub_(likeness.amax((1, 2), keepdim=True)).exp_()


def _lost_digits(sums: Tensor, pair: Tensor | None, dim: int) -> bool:
    """Return whether the sum of a cell that holds data is too small beside the common maximum to be exact."""
    small = sums < _LEAST_SUM
    if pair is not None:
        small &= pair.any(dim)
    return bool(small.any())


def _centroid(
    confidence_at: Callable[[Tensor, Tensor, Tensor], Tensor],
    cells: tuple[Tensor, Tensor, Tensor],
    columns: int,
    rows: int,
) -> Tensor:
    """Return (M, 2), (x, y) in cells: the centroid of the confidence in the 3 x 3 cells around each best one."""
    item, i, j = cells
    at_y, at_x = j // columns, j % columns
    weights, steps = [], []
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            y, x = at_y + dy, at_x + dx
            inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
            confidence = confidence_at(item, i, y.clamp(0, rows - 1) * columns + x.clamp(0, columns - 1))
            weights.append(torch.where(inside, confidence, 0.0) ** _FLATTENED)
            steps.append((float(dx), float(dy)))
    weight = torch.stack(weights, 1)
    return (weight @ torch.tensor(steps, dtype=weight.dtype, device=weight.device)) / weight.sum(1, keepdim=True)
