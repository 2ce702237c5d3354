"""demis_ij: put electron microscope images together, beside Fiji/ImageJ."""

from demis_ij.errors import (
    DemisError,
    FormatError,
    InputError,
    MissingPart,
    SolveError,
    WeightsError,
)
from demis_ij.records import (
    Affine,
    Correspondences,
    Layout,
    PairMatch,
    Rejected,
    Solution,
    Tile,
)

__all__ = [
    "Affine",
    "Correspondences",
    "DemisError",
    "FormatError",
    "InputError",
    "Layout",
    "MissingPart",
    "PairMatch",
    "Rejected",
    "Solution",
    "SolveError",
    "Tile",
    "WeightsError",
    "__version__",
]

__version__ = "0.1.0"
