"""Settings of ``synth correlative``."""

from __future__ import annotations

from dataclasses import dataclass

from demis_ij.config.checks import check_types, in_range, one_of
from demis_ij.errors import InputError

CORRELATIVE_KINDS = ("steel", "tissue")
SPLITS = ("test", "train")
EVALUATION_PAIRS = 252
"""As many as the style-transfer paper measured."""


@dataclass(frozen=True, kw_only=True)
class CorrelativeConfig:
    """What ``demis-ij synth correlative`` makes.

    Attributes
    ----------
    split : str
        test: the pairs of the evaluation, always the same. train: others, none of which is in any evaluation.
    kinds : tuple of str
        Of specimens: steel, tissue. They take turns.
    pairs : int
        How many, all kinds together.
    size_px : int
        Side of the pictures.
    deformed : bool
        Whether the specimen was deformed between the two pictures; else they are in register.
    seed : int
        Of a training set; the evaluation's are fixed.
    """

    split: str = "test"
    kinds: tuple[str, ...] = CORRELATIVE_KINDS
    pairs: int = EVALUATION_PAIRS
    size_px: int = 512
    deformed: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        check_types(self)
        one_of("split", self.split, SPLITS)
        if not self.kinds or len(set(self.kinds)) != len(self.kinds):
            msg = f"kinds: needed one or more, each once, of {', '.join(CORRELATIVE_KINDS)}, found {self.kinds}"
            raise InputError(msg)
        for kind in self.kinds:
            one_of("kinds", kind, CORRELATIVE_KINDS)
        in_range("pairs", self.pairs, 1, 100_000)
        in_range("size_px", self.size_px, 64, 4096)
        in_range("seed", self.seed, 0, 9_999)


__all__ = ["CORRELATIVE_KINDS", "EVALUATION_PAIRS", "SPLITS", "CorrelativeConfig"]
