"""Adam for a few small tensors, without the seconds that `torch.optim` takes to load PyTorch's compiler at first."""

from __future__ import annotations

import torch
from torch import Tensor

_MEMORY = (0.9, 0.999)  # of the mean and of the mean square, from step to step
_NOTHING = 1e-8


class Adam:
    """The steps of Adam for tensors along axis 0, each of which may rest from some step on.

    Parameters
    ----------
    like : Tensor of shape (N, ...)
        What is optimised.

    Notes
    -----
    Kingma & Ba 2015, arXiv:1412.6980, algorithm 1, with its own constants.
    """

    def __init__(self, like: Tensor) -> None:
        self._mean, self._square = torch.zeros_like(like), torch.zeros_like(like)
        self._steps = 0

    def step(self, gradient: Tensor, rate: float) -> Tensor:
        """Return what is to be added to the tensors, for their gradient (N, ...)."""
        self._steps += 1
        self._mean.lerp_(gradient, 1 - _MEMORY[0])
        self._square.lerp_(gradient**2, 1 - _MEMORY[1])
        mean, square = (a / (1 - m**self._steps) for a, m in zip((self._mean, self._square), _MEMORY, strict=True))
        return -rate * mean / (square.sqrt() + _NOTHING)

    def keep_only(self, kept: list[int]) -> None:
        """Forget all tensors but some."""
        self._mean, self._square = self._mean[kept], self._square[kept]
