"""Several processes that train one network: each its share of the pairs, all the same weights.

Gradients are added up by torch's own collectives after each step (gloo on CPUs, NCCL on GPUs), counts that losses are
divided by and the statistics of batch norms within it. Several processes so compute what one computes, up to the order
of the sums.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from demis_ij.errors import DemisError, InputError


class Team:
    """The processes of a training; by default one that is alone.

    Attributes
    ----------
    rank, size : int
        Number of this process and how many there are. Number 0 writes and speaks.
    device : torch.device
        Where this process computes.
    """

    def __init__(self, device: torch.device, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size, self.device = rank, size, device

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return which of ``count`` pairs of a batch are this process's; ``count`` is a multiple of the size."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Return a tensor added up over all processes, without a gradient."""
        out = value.detach().clone()
        if self.size > 1:
            distributed.all_reduce(out)
        return out

    def any(self, flag: bool) -> bool:
        """Return whether the flag is raised in any process."""
        return flag if self.size == 1 else bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Add the gradients up over all processes, in place; a parameter without one counts as zero."""
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        if self.size == 1:
            return
        flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        distributed.all_reduce(flat)
        at = 0
        for p in parameters:
            p.grad = flat[at : at + p.numel()].view_as(p).clone()
            at += p.numel()


class _Sum(torch.autograd.Function):
    """Sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        out = value.clone()
        distributed.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        out = gradients[0].contiguous().clone()
        distributed.all_reduce(out)
        return out


class SharedBatchNorm(torch.nn.BatchNorm2d):
    """Batch norm over the batches of all processes, which are of one size (torch's own has none for CPUs)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, H, W); in evaluation as any batch norm does."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(x)
        values = x.float()
        count = values.numel() // values.shape[1] * distributed.get_world_size()
        mean: torch.Tensor = _Sum.apply(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance: torch.Tensor = _Sum.apply((centred * centred).sum((0, 2, 3))) / count
        with torch.no_grad():
            keep = 1 - (0.1 if self.momentum is None else self.momentum)
            self.running_mean.mul_(keep).add_(mean * (1 - keep))
            self.running_var.mul_(keep).add_(variance * (count / max(1, count - 1)) * (1 - keep))
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def share_batch_norms(net: torch.nn.Module) -> None:
    """Make every batch norm of a network, in place, one over all processes; the weights keep their names."""
    for module in net.modules():
        if type(module) is torch.nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm


def choose_device(name: str, rank: int = 0) -> torch.device:
    """Return CUDA (the GPU of this process) or the CPU; ``auto`` takes CUDA where it is. Raises `InputError`."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not gpus):
        return torch.device("cpu")
    if rank >= gpus:
        msg = f"device cuda: process {rank + 1} needs a GPU of its own, found {gpus}: fewer gpus, or device cpu"
        raise InputError(msg)
    return torch.device("cuda", rank)


def _join(device: torch.device, rank: int, size: int, meeting: str) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=meeting, rank=rank, world_size=size)


def _member(rank: int, size: int, meeting: str, device: str, work: Callable[[Team], None]) -> None:
    """Run a process that was started to share the work; the first process is told of a Ctrl-C, and tells."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        where = choose_device(device, rank)
        _join(where, rank, size, meeting)
        work(Team(where, rank, size))
        distributed.destroy_process_group()
    except KeyboardInterrupt:
        sys.exit(130)
    except InputError:  # the first process finds the same, and says it
        sys.exit(2)
    except (DemisError, RuntimeError) as error:
        sys.stderr.write(f"process {rank + 1} of {size}: {error}\n")
        sys.exit(1)


@contextmanager
def assembled(size: int, device: str, work: Callable[[Team], None]) -> Iterator[Team]:
    """Give this process its team: alone, started by torchrun, or with processes that it starts itself.

    Parameters
    ----------
    size : int
        Processes on this machine.
    device : str
        auto, cpu or cuda.
    work : callable
        What the other processes do; can be pickled.

    Raises
    ------
    InputError
        When there are fewer GPUs than processes.
    """
    if "WORLD_SIZE" in os.environ and "RANK" in os.environ:
        with _by_torchrun(size, device) as team:
            yield team
        return
    where = choose_device(device)
    if size == 1:
        yield Team(where)
        return
    choose_device(device, size - 1)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="demis-ij-") as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        members = [
            context.Process(target=_member, args=(rank, size, meeting, device, work), daemon=True)
            for rank in range(1, size)
        ]
        try:
            for member in members:
                member.start()
            _join(where, 0, size, meeting)
            yield Team(where, 0, size)
            for member in members:
                member.join(60)
        except RuntimeError as error:  # what torch's collectives raise when the other side is gone
            if all(member.exitcode in {None, 0} for member in members):
                raise
            msg = f"one of the {size} processes ended: what it said is above; the same command goes on"
            raise DemisError(msg) from error
        finally:
            for member in members:
                if member.is_alive():
                    member.terminate()
            if distributed.is_initialized():
                distributed.destroy_process_group()


@contextmanager
def _by_torchrun(size: int, device: str) -> Iterator[Team]:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if size != 1:
        msg = f"gpus: {size}, but torchrun has started {world} processes already: leave gpus at 1"
        raise InputError(msg)
    where = choose_device(device, int(os.environ.get("LOCAL_RANK", rank)))
    _join(where, rank, world, "env://")
    try:
        yield Team(where, rank, world)
    finally:
        distributed.destroy_process_group()
