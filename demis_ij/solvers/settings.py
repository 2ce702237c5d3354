"""What a solve can be told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demis_ij.errors import InputError
from demis_ij.geometry import MODELS


@dataclass(frozen=True, kw_only=True)
class SolveSettings:
    """Robust least squares on the matched points: translation, rigid, similarity or affine tiles.

    Attributes
    ----------
    model : str
        What a tile may do. ``homography`` is a model of pairs; its tiles are affine.
    stage_sigma_px : float
        What the stage is expected to be wrong by between neighbours, world px. Only decides for tiles and pairs that
        nothing else decides for; corrected by what the pairs show.
    robust : bool
        Whether pairs may lose weight. False gives plain least squares.
    deformation_frac : float
        What a similarity or affine tile is expected to be stretched or sheared by; holds the shape of tiles that the
        matches hold weakly.
    uncertainty : bool
        Whether the spread of tiles and seams are computed (about a third of the time); left empty otherwise.

    Raises
    ------
    InputError
        When the model is unknown or a sigma is not positive.
    """

    model: str = "rigid"
    stage_sigma_px: float = 30.0
    robust: bool = True
    deformation_frac: float = 0.01
    uncertainty: bool = True

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            msg = f"sparse solves {', '.join(MODELS)}; there is no model {self.model!r}"
            raise InputError(msg)
        for name in ("stage_sigma_px", "deformation_frac"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                msg = f"{name} must be positive, found {value!r}"
                raise InputError(msg)

    @property
    def tile_model(self) -> str:
        """What a tile may do."""
        return "affine" if self.model == "homography" else self.model

    @property
    def strain_weight(self) -> float:
        """How stiff a similarity or affine tile is."""
        return 1 / self.deformation_frac**2
