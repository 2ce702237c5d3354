"""Tasks that the tests of pools give to workers; a module, so that workers can import them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from demis_ij.errors import FormatError
from demis_ij.pools import Kept, cores

_KEPT: Kept[list[int]] = Kept(most=2)


def squared(task: int) -> int:
    return task * task


def where(task: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def dies_once(task: tuple[int, str]) -> int:
    """Die the first time that task 3 is done; a file says that it was tried."""
    number, folder = task
    mark = Path(folder) / "tried"
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def notes_itself(task: tuple[int, str]) -> int:
    number, folder = task
    with (Path(folder) / "order").open("a") as file:
        file.write(f"{number}\n")
    return number


def dies_on_two(task: int) -> int:
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def refuses_two(task: int) -> int:
    if task == 2:
        raise FormatError("layout.txt", "holds no tile", "line 7")
    return task


class Odd(Exception):
    """Cannot be pickled as it is."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def is_odd(task: int) -> int:
    raise Odd("quite", "odd")


def slow_zero(task: int) -> int:
    time.sleep(1.5 if task == 0 else 0.01)
    return task


def threads(task: int) -> tuple[str, int, int]:
    import cv2

    return os.environ["OMP_NUM_THREADS"], cv2.getNumThreads(), cores()


def keeps(task: int) -> tuple[int, int]:
    made = _KEPT.get("list", list)
    made.append(task)
    return os.getpid(), len(made)


def sleeps(task: str) -> None:
    Path(task).write_text(str(os.getpid()))
    time.sleep(60)


def dies_on_start(pipe, threads) -> None:
    os._exit(7)


def device(task: int) -> tuple[int, str, bool]:
    """Return who does a task, which GPU it was given, and whether anything had looked for one before."""
    time.sleep(0.05)
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", ""), "torch" in sys.modules


def begun(task: tuple[str, int]) -> int:
    """Say that a task has begun, and take a while."""
    folder, number = task
    Path(folder, str(number)).touch()
    time.sleep(0.3)
    return number
