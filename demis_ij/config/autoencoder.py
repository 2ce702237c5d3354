"""Settings of ``train autoencoder``."""

from __future__ import annotations

from dataclasses import dataclass

from demis_ij.config.checks import check_types, in_range, one_of

AUTOENCODER_FORMS = ("tem", "sem")


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """How the autoencoder of ssEMnet is trained (Yoo et al. 2017, arXiv:1707.07833, section 2.1).

    Attributes
    ----------
    form : str
        ``tem``: deep, 3 x 3 filters. ``sem``: six layers of 7 x 7.
    sections : int
        Most sections that are used, evenly spread over the stack.
    section_px : int
        Side of what is cut from each: the middle, not more.
    generated : int
        Made-up TEM sections to add.
    steps : int
        Of Adam.
    minutes : float
        It is over after this long, too; the rate falls in time for either end.
    batch, crop_px : int
        Crops a step, and their side.
    learning_rate : float
        Of Adam at the beginning; it falls in a straight line to a hundredth.
    weight_loss : float
        Lambda of eq. 3, for each pixel of a batch.
    window_px : float
        Standard deviation of the window in which grey values are normalised; that of aligning should be the same.
    noise : float
        Standard deviation of noise that is added to what goes in, and not to what should come out, in parts of the
        grey range 0 to 1 (ours: such features align better); 0 is eq. 3.
    validate_every, patience : int
        Steps between validations, and how many without a gain of a hundredth end the training; 0 never ends it.
    seed : int
        Of everything random.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    threads : int
        Of the CPU; 0 leaves it to torch.
    licence : str
        What the images may be used for; goes to the card of the weights.
    """

    form: str = "tem"
    sections: int = 24
    section_px: int = 1024
    generated: int = 0
    steps: int = 1200
    minutes: float = 2.5
    batch: int = 8
    crop_px: int = 96
    learning_rate: float = 1e-3
    weight_loss: float = 1e-5
    window_px: float = 24.0
    noise: float = 0.08
    validate_every: int = 100
    patience: int = 4
    seed: int = 1
    device: str = "auto"
    threads: int = 0
    licence: str = ""

    def __post_init__(self) -> None:
        check_types(self)
        one_of("form", self.form, AUTOENCODER_FORMS)
        one_of("device", self.device, ("auto", "cpu", "cuda"))
        in_range("sections", self.sections, 1, 100_000)
        in_range("section_px", self.section_px, 32, 16384)
        in_range("generated", self.generated, 0, 10_000)
        in_range("steps", self.steps, 1, 10_000_000)
        in_range("minutes", self.minutes, 0.001, 100_000)
        in_range("batch", self.batch, 1, 4096)
        in_range("crop_px", self.crop_px, 32, 4096)
        in_range("learning_rate", self.learning_rate, 1e-7, 1)
        in_range("weight_loss", self.weight_loss, 0, 1)
        in_range("window_px", self.window_px, 0, 4096)
        in_range("noise", self.noise, 0, 1)
        in_range("validate_every", self.validate_every, 1, 1_000_000)
        in_range("patience", self.patience, 0, 100_000)
        in_range("threads", self.threads, 0, 1024)
