"""Scores of registrations to rows of a table: one a scene and method, one a kind of instrument, one of everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from demis_ij.evaluate.scores import FAIL_PX, RegisterScore
from demis_ij.evaluate.summary import ALL, Row

PARAMETERS = ("angle", "scale", "shift_x", "shift_y")


def register_rows(scores: Sequence[RegisterScore]) -> list[Row]:
    """Return a row for each scene and method, in the order of the scores."""
    keys = list(dict.fromkeys((s.scene, s.configuration) for s in scores))
    rows = [Row(*key, _values([s for s in scores if (s.scene, s.configuration) == key])) for key in keys]
    return _beside_sift(rows)


def pooled_rows(scores: Sequence[RegisterScore]) -> list[Row]:
    """Return a row for each method over all pairs that match, and one for each kind of instrument, all ranges."""
    matching = [s for s in scores if not s.stranger]
    kinds = list(dict.fromkeys(kind_of(s) for s in matching))
    everything = [replace(s, scene=ALL) for s in matching]
    each = [replace(s, scene=kind) for kind in kinds for s in matching if kind_of(s) == kind]
    return register_rows([*everything, *(each if len(kinds) > 1 else ())])


def kind_of(score: RegisterScore) -> str:
    """Return the kind of instrument of a scene's name, which is ``KIND/RANGE``."""
    return score.scene.partition("/")[0]


def _beside_sift(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with their processor time over SIFT's, where SIFT was measured on the same scene."""
    own = {r.scene: r.values["cpu_ms"] for r in rows if r.configuration == "sift"}
    return [
        replace(r, values={**r.values, "of_sift": r.values["cpu_ms"] / own[r.scene]}) if own.get(r.scene) else r
        for r in rows
    ]


def _values(scores: Sequence[RegisterScore]) -> dict[str, float]:
    """Return the figures of one scene and method; NaN where they say nothing."""
    nan = float("nan")
    out = {"pairs": float(len(scores)), "wall_ms": 1000 * float(np.median([s.wall_s for s in scores]))}
    out["cpu_ms"] = 1000 * float(np.median([s.cpu_s for s in scores]))
    if all(s.stranger for s in scores):
        return out | {"recognised": float(np.mean([not s.matched for s in scores]))}
    errors = np.sort([np.inf if s.error_px is None else s.error_px for s in scores])
    ratios = list(_ratios(scores))
    return out | {
        "failed": float((errors > FAIL_PX).mean()),
        "refused": float(np.mean([not s.matched for s in scores])),
        "wrong": float(np.mean([s.matched and (s.error_px or 0.0) > FAIL_PX for s in scores])),
        "error_px": _quantile(errors, 0.5),
        "error_95_px": _quantile(errors, 0.95),
        "error_per_sigma": float(np.median(ratios)) if ratios else nan,
        **_explained(scores),
        "by_network": float(np.mean([s.route == "network" for s in scores])),
    }


def true_and_found(scores: Sequence[RegisterScore]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the true and the found parameters, (N, 4) each, of the pairs that were not refused."""
    held = [(s.true, s.found) for s in scores if s.true and s.found]
    return np.array([t for t, _ in held]).reshape(-1, 4), np.array([f for _, f in held]).reshape(-1, 4)


def _explained(scores: Sequence[RegisterScore]) -> dict[str, float]:
    """Return R^2 of each of the four numbers over the pairs that were not refused."""
    true, found = true_and_found(scores)
    if len(true) < 2:
        return {}
    for numbers in (true, found):
        numbers[:, 1] = np.exp(numbers[:, 1])
    left, spread = ((true - found) ** 2).sum(axis=0), ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    return {f"r2_{n}": float(1 - a / b) for n, a, b in zip(PARAMETERS, left, spread, strict=True) if b > 0}


def _quantile(ordered: NDArray[np.float64], share: float) -> float:
    """Return a quantile without mixing numbers with infinity."""
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


def _ratios(scores: Sequence[RegisterScore]) -> Iterator[float]:
    for s in scores:
        if s.error_px is not None and s.sigma_px:
            yield s.error_px / s.sigma_px


__all__ = ["PARAMETERS", "kind_of", "pooled_rows", "register_rows", "true_and_found"]
