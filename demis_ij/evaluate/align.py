"""Stacks of sections: every stack aligned by every method, against the warps and labels that are known.

**Score**: Dice gained over Dice gainable, (after - before) / (true - before), mean Dice of the 50 largest objects of
the undeformed volume between neighbouring sections, on tissue that both show. A method can gain more than the true
warps: they give back the volume as it was, whose neighbours differ by what the tissue really does.

**Drift**: mean Dice of whole objects against the undeformed volume, after the one rigid motion that suits all sections
best: where the volume lies as a whole says nothing.

**Residual**: how far apart, in the undeformed volume, the points lie that two neighbours show at one place, px. A warp
that all sections share costs nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij import __version__
from demis_ij.align.aligning import align
from demis_ij.align.chains import chosen_aligner
from demis_ij.config import from_dict, to_dict
from demis_ij.config.aligning import AlignConfig
from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.errors import DemisError, FormatError, InputError
from demis_ij.evaluate.kept import Kept
from demis_ij.evaluate.scores import StackScore, number
from demis_ij.evaluate.summary import Row
from demis_ij.fields import at_nodes, folded_frac, grid_of, nodes
from demis_ij.geometry import fit_rigid
from demis_ij.images import warped
from demis_ij.metrics import volumes
from demis_ij.protocols import FIJI_ALIGNERS
from demis_ij.records import Affine, Offsets, Warp
from demis_ij.synth.stack import TrueStack, is_true_stack, read_true_stack
from demis_ij.synth.stack.deforming import SIDE
from demis_ij.synth.stack.files import TRUTH

LEAST_PX = 400.0
"""Objects of less area in a pair of sections of 512 x 512 px are not counted; it grows with the area."""
METHODS = ("joint", "ssemnet", "chain:flow", "chain:affine")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Method:
    """A way to align, with settings.

    Attributes
    ----------
    name : str
        As it was asked for: ``joint``, ``chain:flow``, ``joint,anchor=2``.
    config : AlignConfig
    ssemnet : SsemnetConfig
        Of the paper's method only.
    """

    name: str
    config: AlignConfig
    ssemnet: SsemnetConfig


@dataclass(frozen=True)
class StackSource:
    """A stack with truth, read or made when its turn comes.

    Attributes
    ----------
    name : str
        As it is called in tables.
    fingerprint : str
        Changes when the stack does.
    load : callable
        Returns the stack.
    """

    name: str
    fingerprint: str
    load: Callable[[], TrueStack]


def read_method(text: str, *, threads: int = 1, fiji: str = "") -> Method:
    """Return a method from ``NAME[,SETTING=VALUE...]``; of ``ssemnet`` a setting may be one of `SsemnetConfig`.

    Parameters
    ----------
    text : str
        Name and settings.
    threads : int
        Unless it is one of the settings.
    fiji : str
        Folder of a Fiji for the methods that run its plugins, unless it is one of the settings.

    Raises
    ------
    InputError
        When there is no such method, aligner or setting, or a value is out of range.

    Examples
    --------
    >>> read_method("joint,anchor=2").config.anchor
    2
    """
    name, *settings = (part.strip() for part in text.split(","))
    values: dict[str, Any] = {"method": name, "threads": threads}
    if name.removeprefix("chain:") in FIJI_ALIGNERS:
        values["fiji"] = fiji
    paper: dict[str, Any] = {}
    for item in settings:
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            msg = f"method {text!r}: {item!r} is not SETTING=VALUE"
            raise InputError(msg)
        own = name == "ssemnet" and key not in to_dict(AlignConfig()) and key in to_dict(SsemnetConfig())
        (paper if own else values)[key] = _value(value)
    try:
        config = from_dict(AlignConfig, values)
        if config.aligner:
            chosen_aligner(config)  # one that cannot be had is refused now, not after the first stack
        return Method(text, config, from_dict(SsemnetConfig, paper))
    except InputError as error:
        msg = f"method {text!r}: {error}"
        raise InputError(msg) from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def stack_sources(folders: Sequence[Path]) -> list[StackSource]:
    """Return the stacks with truth in folders, or in the folders right below them, named by their folders.

    Raises
    ------
    InputError
        When a folder holds none.
    """
    out: list[Path] = []
    for folder in folders:
        below = sorted(p for p in folder.iterdir() if is_true_stack(p)) if folder.is_dir() else []
        found = [folder] if is_true_stack(folder) else below
        if not found:
            raise FormatError(folder, f"holds no stack with truth ({TRUTH}): make one with 'demis-ij synth stack'")
        out += found
    names = [p.name for p in out]
    return [
        StackSource(
            p.name if names.count(p.name) == 1 else f"{p.parent.name}/{p.name}",
            (p / TRUTH).read_text(encoding="utf-8"),
            lambda p=p: read_true_stack(p),  # type: ignore[misc]
        )
        for p in out
    ]


def evaluate_stacks(
    sources: Sequence[StackSource], methods: Sequence[Method], *, kept: Kept | None = None,
    progress: Progress = lambda _what, _done, _all: None,
) -> list[StackScore]:  # fmt: skip
    """Return a score for every stack and method, stack by stack.

    Parameters
    ----------
    sources : sequence of StackSource
    methods : sequence of Method
    kept : Kept, optional
        What was measured earlier, and is not measured again.
    progress : callable
        Called with (what, done, all).
    """
    memory, total = kept or Kept(None), len(sources) * len(methods)
    out: list[StackScore] = []
    for source in sources:
        ends: tuple[dict[str, float], dict[str, float]] | None = None
        stack: TrueStack | None = None
        for method in methods:
            progress(f"{source.name}: {method.name}", len(out), total)
            key = ("align", __version__, source.name, source.fingerprint, method.name, repr(method))
            found = memory.get(StackScore, *key)
            if found is None:
                stack = stack or source.load()
                ends = ends or _ends(stack)
                found = [_score(source.name, stack, method, ends)]
                memory.put(found, *key)
            out += found
    progress("done", total, total)
    return out


def _ends(stack: TrueStack) -> tuple[dict[str, float], dict[str, float]]:
    """Return what is measured when nothing is done, and by the true warps."""
    still = [Warp.identity(stack.shape)] * len(stack)
    before = measured(stack, still)
    whole = [np.ones(stack.shape, bool)] * len(stack)
    objects = volumes.largest_objects(stack.original, whole)
    before["dice_undeformed"] = volumes.neighbour_dice(stack.original, whole, objects, _least_px(stack))
    return before, measured(stack, stack.true.warps)


def _score(name: str, stack: TrueStack, method: Method, ends: tuple[dict[str, float], dict[str, float]]) -> StackScore:
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        result = align(stack.images, method.config, masks=stack.masks, ssemnet=method.ssemnet)
    except DemisError as error:
        return StackScore(scene=name, configuration=method.name, sections=len(stack), problem=str(error))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return StackScore(
        scene=name,
        configuration=method.name,
        sections=len(stack),
        no_better=sum(s.no_better for s in result.sections),
        bridged=sum(not s.usable for s in result.sections),
        cpu_s=cpu,
        wall_s=wall,
        measures={k: number(v) for k, v in compared(measured(stack, result.warps), *ends).items()},
    )


def compared(after: dict[str, float], before: dict[str, float], true: dict[str, float]) -> dict[str, float]:
    """Return what a method reached beside doing nothing and the true warps, and its score."""
    out = dict(after)
    for name in ("dice", "drift_dice", "ncc", "residual_px", "residual_95_px"):
        out[f"{name}_before"], out[f"{name}_true"] = before[name], true[name]
    out["dice_undeformed"] = before["dice_undeformed"]
    out["dice_score"] = volumes.gained(before["dice"], after["dice"], true["dice"])
    return out


def measured(stack: TrueStack, warps: Sequence[Warp]) -> dict[str, float]:
    """Return how well warps align a stack.

    Parameters
    ----------
    stack : TrueStack
        n sections.
    warps : sequence of Warp
        One a section, all onto the same canvas.

    Returns
    -------
    dict of str to float
        ``dice``, ``drift_dice``, ``ncc``, ``residual_px``, ``residual_95_px``, ``folded_frac``, ``shown_frac``.
    """
    objects = volumes.largest_objects(stack.original, [np.ones(stack.shape, bool)] * len(stack))
    labels, masks = _shown(stack, warps)
    leads = _leads(stack, warps)
    apart = np.concatenate(volumes.neighbour_residual_px(leads))
    common = _common_motion(leads, _stride(stack))
    back = [Warp((common.inverse, *w.parts), stack.shape) for w in warps]
    grey = [
        warped(np.asarray(image, np.float32), mask, warp)
        for image, mask, warp in zip(stack.images, stack.tissue, warps, strict=True)
    ]
    ncc = volumes.neighbour_ncc([g for g, _ in grey], [m for _, m in grey], 1.5 * _scale(stack))
    folded = [folded_frac(at_nodes(w, w.shape, _stride(stack))) for w in warps]
    return {
        "dice": volumes.neighbour_dice(labels, masks, objects, _least_px(stack)),
        "drift_dice": volumes.truth_dice(*_shown(stack, back), stack.original, objects),
        "ncc": float(np.mean([v for v in ncc if not np.isnan(v)] or [np.nan])),
        "residual_px": float(np.median(apart)) if apart.size else float("nan"),
        "residual_95_px": float(np.quantile(apart, 0.95)) if apart.size else float("nan"),
        "folded_frac": float(np.mean(folded)),
        "shown_frac": sum(m.sum() for m in masks) / max(1, sum(m.sum() for m in stack.tissue)),
    }


def _least_px(stack: TrueStack) -> float:
    return LEAST_PX * stack.shape[0] * stack.shape[1] / SIDE**2


def _scale(stack: TrueStack) -> float:
    return max(1.0, min(stack.shape) / SIDE)


def _stride(stack: TrueStack) -> float:
    return max(1.0, round(4 * min(stack.shape) / SIDE))


def _shown(stack: TrueStack, warps: Sequence[Warp]) -> tuple[list[NDArray[np.int32]], list[NDArray[np.bool_]]]:
    """Return the labels as warps show them, and where that is tissue."""
    found = [
        warped(label, tissue, warp, interpolation="nearest")
        for label, tissue, warp in zip(stack.labels, stack.tissue, warps, strict=True)
    ]
    return [label for label, _ in found], [mask for _, mask in found]


def _leads(stack: TrueStack, warps: Sequence[Warp]) -> list[Offsets]:
    """Return for each section (dx, dy) from nodes of the canvas to the undeformed volume; NaN where no tissue is."""
    stride = _stride(stack)
    at = nodes(grid_of(warps[0].shape, stride), stride)
    out = []
    for warp, deformation, tissue in zip(warps, stack.deformation.warps, stack.tissue, strict=True):
        seen = warp(at.reshape(-1, 2)).reshape(at.shape)
        x, y = (np.nan_to_num(seen[..., k], nan=-9.0).astype(np.float32) for k in (0, 1))
        there = cv2.remap(tissue.astype(np.uint8), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT) > 0
        lead = deformation(seen.reshape(-1, 2)).reshape(at.shape) - at
        out.append(np.moveaxis(np.where(there[..., None], lead, np.nan), -1, 0).astype(np.float32))
    return out


def _common_motion(leads: Sequence[Offsets], stride: float) -> Affine:
    """Return the rigid map from the canvas to the undeformed volume that suits all sections best."""
    at = nodes((leads[0].shape[1], leads[0].shape[2]), stride)
    points, targets = [], []
    for lead in leads:
        known = ~np.isnan(lead[0])
        points.append(at[known])
        targets.append(at[known] + np.moveaxis(lead, 0, -1)[known])
    every, targets_ = np.concatenate(points), np.concatenate(targets)
    return Affine.from_matrix(fit_rigid(every, targets_)) if len(every) > 2 else Affine()


def stack_rows(scores: Sequence[StackScore]) -> list[Row]:
    """Return a row for each stack and method, in the order of the scores."""
    out = []
    for s in scores:
        values = {k: float("nan") if v is None else float(v) for k, v in s.measures.items()}
        values |= {
            "sections": s.sections, "no_better": s.no_better, "bridged": s.bridged, "stacks": 1,
            "failed_stacks": float(bool(s.problem)),
        }  # fmt: skip
        if not s.problem:
            values |= {"wall_s_per_section": s.wall_s / s.sections, "cpu_s_per_section": s.cpu_s / s.sections}
        out.append(Row(s.scene, s.configuration, values))
    return out
