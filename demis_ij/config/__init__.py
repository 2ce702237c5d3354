"""One frozen dataclass a verb: every default of the project, checked on construction; TOML; unknown keys refused."""

from demis_ij.config.grids import GRID_PRESETS, GridsConfig
from demis_ij.config.reading import from_dict, read_toml, to_dict
from demis_ij.config.stitching import MATCHER_CHOICES, MOSAIC_FORMATS, SOLVER_CHOICES, RenderConfig, StitchConfig
from demis_ij.config.training import PRECISIONS, ArchitectureConfig, TrainConfig, TrainDataConfig, ValidationConfig

__all__ = [
    "GRID_PRESETS", "MATCHER_CHOICES", "MOSAIC_FORMATS", "PRECISIONS", "SOLVER_CHOICES", "ArchitectureConfig",
    "GridsConfig", "RenderConfig", "StitchConfig", "TrainConfig", "TrainDataConfig", "ValidationConfig", "from_dict",
    "read_toml", "to_dict",
]  # fmt: skip
