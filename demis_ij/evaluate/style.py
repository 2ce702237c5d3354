"""Made-up steel and tissue by light and by electrons: every pair by every method, against the warp that is known.

The paper's table (Čermák et al., style transfer for elastic registration), with numbers in place of the eye: see
`demis_ij.metrics.tiers` for how a registration is judged. Each is judged without the truth, too
(`demis_ij.metrics.overlap`), on the pictures as they were, so that one can see how far that is to be trusted.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from demis_ij import __version__
from demis_ij.config.correlative import CorrelativeConfig
from demis_ij.errors import DemisError, InputError
from demis_ij.evaluate.kept import Kept
from demis_ij.evaluate.scores import StyleScore, number
from demis_ij.evaluate.style_methods import Register, StyleMethod, Styles, engine_of, grey, looked_at
from demis_ij.fields import dense
from demis_ij.geometry import Box
from demis_ij.metrics.overlap import overlap_tier
from demis_ij.metrics.tiers import residual_tier
from demis_ij.records import Offsets
from demis_ij.synth.correlative_dataset import pairs_of
from demis_ij.synth.correlative_views import KINDS, CorrelativeViews, views

Progress = Callable[[str, int, int], None]
DEFAULT = ("raw+elastic", "styled+elastic", "raw+dis", "gradient+dis", "styled+dis")


def read_styles(texts: Sequence[str]) -> dict[str, str]:
    """Return the weights of each kind of specimen from ``WEIGHTS`` (for all kinds) or ``KIND=WEIGHTS``.

    Raises
    ------
    InputError
        When a kind is unknown.

    Examples
    --------
    >>> read_styles(["a.safetensors", "tissue=b.safetensors"])
    {'steel': 'a.safetensors', 'tissue': 'b.safetensors'}
    """
    out: dict[str, str] = {}
    for text in texts:
        kind, equals, weights = text.partition("=")
        if not equals or Path(text).is_file():
            out |= dict.fromkeys(KINDS, text)
        elif kind in KINDS:
            out[kind] = weights
        else:
            msg = f"--style {text}: no kind {kind!r} of specimen; known: {', '.join(KINDS)}"
            raise InputError(msg)
    return out


def load_styles(weights: Mapping[str, str], *, threads: int = 0) -> Styles:
    """Return the style of each kind, each file loaded once. Raises `WeightsError`."""
    if not weights:
        return {}
    from demis_ij.nets.style_transfer import style_of  # torch: only when asked for

    loaded = {name: style_of(name, threads=threads) for name in dict.fromkeys(weights.values())}
    return {kind: loaded[name] for kind, name in weights.items()}


def digests_of(weights: Mapping[str, str]) -> dict[str, str]:
    """Return what tells the weights of each kind apart, the checksum of their file. Raises `WeightsError`."""
    from demis_ij.nets.style_weights import style_path  # torch: only when asked for

    return {kind: hashlib.sha256(style_path(name).read_bytes()).hexdigest() for kind, name in weights.items()}


def evaluate_styles(
    config: CorrelativeConfig, methods: Sequence[StyleMethod], *, styles: Styles | None = None,
    weights: Mapping[str, str] | None = None, kept: Kept | None = None,
    progress: Progress = lambda _what, _done, _all: None,
) -> list[StyleScore]:  # fmt: skip
    """Return a score for every pair and method.

    Parameters
    ----------
    config : CorrelativeConfig
        Which pairs.
    methods : sequence of StyleMethod
    styles : mapping of str to Style, optional
        Of each kind of specimen, for ``styled``.
    weights : mapping of str to str, optional
        What tells styles apart: a checksum or name for each kind. What was measured with another is measured again.
    kept : Kept, optional
        What was measured earlier, and is not measured again.
    progress : callable
        Called with (what, done, all).

    Raises
    ------
    InputError
        When a style is asked for and none is given for a kind.
    """
    memory, held, told = kept or Kept(None), styles or {}, weights or {}
    _check(config, methods, held)
    engines = {m.name: engine_of(m) for m in methods}
    chosen = pairs_of(config)
    total, done, out = len(chosen) * len(methods), 0, []
    for kind, seed in chosen:
        pair: CorrelativeViews | None = None
        for method in methods:
            progress(f"{kind}: {method.name}", done, total)
            done += 1
            style = told.get(kind, "") if method.look == "styled" else ""
            key = ("style", __version__, kind, seed, config.size_px, config.deformed, repr(method), style)
            found = memory.get(StyleScore, *key)
            if found is None:
                pair = pair or views(kind, seed, config.size_px, deformed=config.deformed)
                found = [scored(pair, method, engines[method.name], held)]
                memory.put(found, *key)
            out += found
    progress("done", total, total)
    return out


def _check(config: CorrelativeConfig, methods: Sequence[StyleMethod], styles: Styles) -> None:
    asked = [m.name for m in methods if m.look == "styled"]
    missing = [k for k in config.kinds if k not in styles]
    if asked and missing:
        msg = f"{asked[0]} needs a style for {' and '.join(missing)}: name its weights by --style {missing[0]}=WEIGHTS"
        raise InputError(msg)


def scored(pair: CorrelativeViews, method: StyleMethod, engine: Register, styles: Styles) -> StyleScore:
    """Return how a method does on a pair; its time is that of look and registration, the pictures in memory."""
    blank = StyleScore(scene=pair.kind, configuration=method.name, pair=pair.seed)
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        offsets = registered(pair, method, engine, styles)
    except DemisError as error:
        return replace(blank, problem=str(error))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    residual = residual_tier(offsets, dense(pair.truth, Box.of_shape(pair.sem.shape)))
    overlap = overlap_tier(pair.sem, grey(pair.lom), offsets)
    return replace(
        blank, tier=residual.tier, mean_px=number(residual.mean_px), p95_px=number(residual.p95_px),
        before_px=number(residual.before_px), folded_frac=number(residual.folded_frac),
        known_frac=number(residual.known_frac), overlap_tier=overlap.tier, shift_px=number(overlap.shift_px),
        strain=number(overlap.strain), edges_gained=number(overlap.edges_after - overlap.edges_before),
        information_gained=number(overlap.information_after - overlap.information_before), wall_s=wall, cpu_s=cpu,
    )  # fmt: skip


def registered(pair: CorrelativeViews, method: StyleMethod, engine: Register, styles: Styles) -> Offsets:
    """Return what a method finds: offsets (2, rows, cols) from pixels of the fixed picture to the moving one."""
    return engine(*looked_at(pair, method.look, styles))


__all__ = ["DEFAULT", "digests_of", "evaluate_styles", "load_styles", "read_styles", "registered", "scored"]
