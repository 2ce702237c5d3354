"""What a generator made some steps ago: a critic that is shown it, too, does not chase the last step alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

KEPT = 50
"""Images, as CycleGAN keeps them."""


class Earlier(nn.Module):
    """Images that a generator made earlier; a module, so that a checkpoint holds them.

    Half of what is new is shown as it is, the other half is kept and something earlier is shown in its place
    (Shrivastava et al. 2017, arXiv:1612.07828; CycleGAN, arXiv:1703.10593, section 4).

    Parameters
    ----------
    channels, side : int
        Of the images.
    count : int
        How many are kept.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, channels: int, side: int, count: int = KEPT) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(count, channels, side, side, dtype=torch.bfloat16))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    def exchanged(self, made: Tensor, rng: np.random.Generator) -> Tensor:
        """Return images (N, C, side, side) of which about half are earlier ones, once enough are kept."""
        shown = made.clone()
        for k in range(len(made)):
            if self.filled < len(self.images):
                self.images[self.filled] = made[k].to(self.images.dtype)
                self.filled += 1
            elif rng.random() < 0.5:
                at = int(rng.integers(len(self.images)))
                shown[k] = self.images[at].to(made.dtype)
                self.images[at] = made[k].to(self.images.dtype)
        return shown


__all__ = ["KEPT", "Earlier"]
