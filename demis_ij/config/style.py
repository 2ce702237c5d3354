"""Settings of ``train style``."""

from __future__ import annotations

from dataclasses import dataclass

from demis_ij.config.checks import check_types, in_range, one_of, whole_numbers
from demis_ij.errors import InputError

STYLE_METHODS = ("unet", "gan", "cycle")
"""``unet``: grey values alone, of aligned pairs. ``gan``: a critic beside them (pix2pix). ``cycle``: images of two
instruments without partners (CycleGAN)."""


@dataclass(frozen=True, kw_only=True)
class StyleConfig:
    """How a style network is trained (Čermák et al., style transfer for elastic registration).

    Attributes
    ----------
    method : str
        unet, gan or cycle.
    both : bool
        Whether the way back is learned too; with ``cycle`` it always is.
    plain : bool
        Whether a network is learned that leaves of targets what restyled images show, too; not with ``cycle``.
    init : str
        Weights to start from: a style that ships, or a path; empty begins anew.
    source, target : str
        What the two instruments are called, for messages and cards.
    widths : tuple of int
        Channels of the generator at a half, a quarter, ... of the image.
    reduce : int
        Px of an image to a px that the network looks at.
    source_window_px, target_window_px : float
        Window in which brightness and contrast are evened out; 0 stretches the whole image.
    target_blur_px : float
        What is finer is not asked for.
    crop_px : int
        Side of the squares that are learned from (the paper: 512), px that the network looks at.
    scale : float
        Half of the crops are turned by any angle and scaled by up to this factor; 1 turns by right angles alone.
    unaligned : bool
        Whether partners are brought into register by their local contrast before they are learned from; not with
        ``cycle``, which has none.
    tolerance_px : int
        How far partners may be out of register: the target is looked for so many px around.
    pixel_weight, gradient_weight, likeness_weight, adversarial_weight : float
        Of the losses: absolute difference, that of gradients, local correlation, and the critic's.
    cycle_weight, identity_weight, edge_weight, polarity_weight : float
        Of ``cycle``: the way there and back, targets that are left as they are, edges that stay where they are, and
        edges that are bright or dark as those of the targets are.
    steps, batch : int
        Of Adam, and crops a step.
    learning_rate, critic_rate, weight_decay, ema_decay : float
        The rates fall as a cosine; the running average of the weights is what is kept.
    held_out_frac : float
        Share of the images that is validated on and never trained on; 0 validates on what was trained on.
    validation_crops, validate_every : int
        Crops, and steps between validations; a checkpoint is written at each.
    borders : bool
        Whether constant borders and data bars are left out.
    precision : str
        float32, or bfloat16 (faster where the processor has it).
    seed : int
        Of everything random.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    threads : int
        Of the CPU; 0 leaves it to torch.
    licence : str
        What the images may be used for; goes to the card of the weights.
    """

    method: str = "unet"
    both: bool = False
    plain: bool = True
    init: str = ""
    source: str = "lom"
    target: str = "sem"
    widths: tuple[int, ...] = (24, 48, 96)
    reduce: int = 1
    source_window_px: float = 32.0
    target_window_px: float = 32.0
    target_blur_px: float = 0.0
    crop_px: int = 512
    scale: float = 1.15
    unaligned: bool = False
    tolerance_px: int = 2
    pixel_weight: float = 1.0
    gradient_weight: float = 1.0
    likeness_weight: float = 0.5
    adversarial_weight: float = 0.01
    cycle_weight: float = 5.0
    identity_weight: float = 0.0
    edge_weight: float = 3.0
    polarity_weight: float = 3.0
    steps: int = 4000
    batch: int = 4
    learning_rate: float = 2e-3
    critic_rate: float = 4e-4
    weight_decay: float = 1e-4
    ema_decay: float = 0.995
    held_out_frac: float = 0.1
    validation_crops: int = 16
    validate_every: int = 200
    borders: bool = True
    precision: str = "bfloat16"
    seed: int = 1
    device: str = "auto"
    threads: int = 0
    licence: str = ""

    def __post_init__(self) -> None:
        check_types(self)
        object.__setattr__(self, "widths", whole_numbers("widths", self.widths))
        one_of("method", self.method, STYLE_METHODS)
        one_of("device", self.device, ("auto", "cpu", "cuda"))
        one_of("precision", self.precision, ("float32", "bfloat16"))
        for name in ("source", "target"):
            if not getattr(self, name).strip():
                msg = f"{name}: what the instrument is called is missing, e.g. lom or sem"
                raise InputError(msg)
        if self.unaligned and self.method == "cycle":
            msg = "unaligned: method cycle learns from images without partners, there is nothing to bring into register"
            raise InputError(msg)
        in_range("reduce", self.reduce, 1, 64)
        for name in ("source_window_px", "target_window_px"):
            in_range(name, getattr(self, name), 0, 10_000)
        in_range("target_blur_px", self.target_blur_px, 0, 100)
        in_range("crop_px", self.crop_px, 16, 8192)
        in_range("scale", self.scale, 1, 2)
        in_range("tolerance_px", self.tolerance_px, 0, 16)
        for name in (
            "pixel_weight", "gradient_weight", "likeness_weight", "adversarial_weight", "cycle_weight",
            "identity_weight", "edge_weight", "polarity_weight",
        ):  # fmt: skip
            in_range(name, getattr(self, name), 0, 1000)
        for name in ("weight_decay", "ema_decay"):
            in_range(name, getattr(self, name), 0, 1)
        for name in ("learning_rate", "critic_rate"):
            in_range(name, getattr(self, name), 1e-7, 1)
        in_range("held_out_frac", self.held_out_frac, 0, 0.9)
        in_range("batch", self.batch, 1, 4096)
        for name in ("steps", "validation_crops", "validate_every"):
            in_range(name, getattr(self, name), 1, 100_000_000)
        in_range("seed", self.seed, 0, 2**31)
        in_range("threads", self.threads, 0, 4096)


__all__ = ["STYLE_METHODS", "StyleConfig"]
