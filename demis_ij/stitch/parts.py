"""Matchers and solvers, set up as the config says."""

from __future__ import annotations

from demis_ij.config import StitchConfig
from demis_ij.protocols import MATCHERS, SOLVERS, Matcher, Solver

AUTO: tuple[str, ...] = ("loftr", "sift", "correlation")
"""The order in which ``auto`` asks; then the stage."""


def make_matcher(name: str, config: StitchConfig) -> Matcher:
    """Return a matcher by name, set up as the config says."""
    kind = MATCHERS[name]
    if name == "loftr":
        return kind(  # type: ignore[no-any-return]
            resolution=config.resolution, weights=config.weights, device=config.device, fine=not config.fast
        )
    if name == "sift":
        return kind(resolution=config.resolution)  # type: ignore[no-any-return]
    return kind()  # type: ignore[no-any-return]


def make_solver(config: StitchConfig, stage_sigma_px: float = 30.0) -> Solver:
    """Return the solver of the config; the paper's graph knows no prior and takes none.

    Raises
    ------
    InputError
        When the solver does not know the model, or a package is missing.
    """
    kind = SOLVERS[config.solver]
    if config.solver == "slam":
        return kind(model=config.model)  # type: ignore[no-any-return]
    return kind(model=config.model, stage_sigma_px=stage_sigma_px)  # type: ignore[no-any-return]
