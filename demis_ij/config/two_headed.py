"""Settings of ``train two-headed``."""

from __future__ import annotations

from dataclasses import dataclass

from demis_ij.config.checks import check_types, in_range, one_of


@dataclass(frozen=True, kw_only=True)
class TwoHeadedConfig:
    """How the two-headed network is trained (after Luo et al., correlative X-ray and electron microscopy).

    Attributes
    ----------
    generated, materials : int
        Made-up specimens to add: of tissue in three dimensions, and of grains, particles, fibres and phases.
    one_in : int
        Take one image in this many of a folder with more than 50.
    held_out_frac : float
        Share of the images that is validated on and never trained on.
    angle_deg, scale, shift_frac : float
        The range that is learned: to both sides, as a factor, as a part of the field.
    small_share : float
        Share of pairs from a range of a sixth of that, as a second pass meets them.
    side : int
        Px of the square that the network looks at, a multiple of 8.
    separate : bool
        Whether each head has weights of its own; else they share them.
    steps, batch : int
        Of AdamW, and pairs a step.
    learning_rate, weight_decay, clip_norm, ema_decay : float
        The rate falls as a cosine; the running average of the weights is what is kept.
    warmup_steps : int
    finish_pairs, finish_steps : int
        Pairs, and steps of Adam, for the regressor on top of the finished features.
    validation_pairs, validate_every : int
        Held-out pairs of each kind, and steps between validations; a checkpoint is written at each.
    precision : str
        Of the heads while they are trained: float32 or bfloat16 (faster where the processor has it).
    seed : int
        Of everything random.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    threads : int
        Of the CPU; 0 leaves it to torch.
    licence : str
        What the images may be used for; goes to the card of the weights.
    """

    generated: int = 24
    materials: int = 24
    one_in: int = 1
    held_out_frac: float = 0.15
    angle_deg: float = 30.0
    scale: float = 1.3
    shift_frac: float = 0.12
    small_share: float = 0.2
    side: int = 128
    separate: bool = False
    steps: int = 2000
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    warmup_steps: int = 50
    finish_pairs: int = 1500
    finish_steps: int = 800
    validation_pairs: int = 16
    validate_every: int = 100
    precision: str = "bfloat16"
    seed: int = 1
    device: str = "auto"
    threads: int = 0
    licence: str = ""

    def __post_init__(self) -> None:
        check_types(self)
        one_of("device", self.device, ("auto", "cpu", "cuda"))
        one_of("precision", self.precision, ("float32", "bfloat16"))
        for name in ("generated", "materials"):
            in_range(name, getattr(self, name), 0, 10_000)
        in_range("one_in", self.one_in, 1, 1_000_000)
        in_range("held_out_frac", self.held_out_frac, 0.01, 0.9)
        in_range("angle_deg", self.angle_deg, 1, 60)
        in_range("scale", self.scale, 1.01, 2)
        in_range("shift_frac", self.shift_frac, 0.01, 0.3)
        in_range("side", self.side, 32, 512)
        if self.side % 8:
            in_range("side (a multiple of 8)", float("nan"), 32, 512)
        for name in ("small_share", "weight_decay", "ema_decay"):
            in_range(name, getattr(self, name), 0, 1)
        in_range("learning_rate", self.learning_rate, 1e-7, 1)
        in_range("clip_norm", self.clip_norm, 1e-6, 1e6)
        in_range("batch", self.batch, 2, 4096)
        for name in ("steps", "finish_pairs", "finish_steps", "validation_pairs", "validate_every"):
            in_range(name, getattr(self, name), 1, 100_000_000)
        for name in ("warmup_steps", "seed", "threads"):
            in_range(name, getattr(self, name), 0, 2**31)


__all__ = ["TwoHeadedConfig"]
