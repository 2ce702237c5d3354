"""What a pool of workers promises, and its simplest form: no worker but this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

Task = TypeVar("Task")
Value = TypeVar("Value")

MOST_DEATHS = 3
"""A task is given up when so many workers have died on it."""


@dataclass(frozen=True, slots=True)
class Done(Generic[Task, Value]):
    """A task that is done, or given up.

    Attributes
    ----------
    task : object
        As it was given.
    value : object
        What the function returned; None where there is a problem.
    problem : str or None
        One line: why the task could not be done, though several workers tried.
    """

    task: Task
    value: Value
    problem: str | None = None


class Pool(ABC):
    """Workers that do tasks. A context manager; leaving it ends them.

    Attributes
    ----------
    workers : int
        How many tasks are done at a time.
    memory_bytes : int or None
        What all workers of one machine may keep together, None when nobody said.
    """

    workers: int
    memory_bytes: int | None

    @property
    def bytes_each(self) -> int | None:
        """What one worker may keep, None when nobody said."""
        return None if self.memory_bytes is None else self.memory_bytes // self.workers

    @abstractmethod
    def unordered(self, function: Callable[[Task], Value], tasks: Iterable[Task]) -> Iterator[Done[Task, Value]]:
        """Yield tasks as they are done, in any order.

        A pool runs one such loop at a time. When the loop is left early, what is still running is forgotten.

        Parameters
        ----------
        function : callable
            Of one task. A function of a module, so that workers can import it; the task and what it returns can be
            pickled. What it returns must depend on the task alone.
        tasks : iterable
            Drawn as workers become free: a few are waiting at any time, never all.

        Raises
        ------
        Exception
            What the function raised.
        DemisError
            When no worker can be started, or all are lost.
        """

    @abstractmethod
    def close(self) -> None:
        """End the workers; what they are doing is lost."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SerialPool(Pool):
    """No worker but this process: nothing is pickled, tasks are done in their order, a death is the program's."""

    def __init__(self, memory_bytes: int | None = None) -> None:
        self.workers = 1
        self.memory_bytes = memory_bytes

    def unordered(self, function: Callable[[Task], Value], tasks: Iterable[Task]) -> Iterator[Done[Task, Value]]:
        """Yield tasks in their order."""
        for task in tasks:
            yield Done(task, function(task))

    def close(self) -> None:
        """Do nothing."""


def given_up(task: Task, last: str, deaths: int = MOST_DEATHS) -> Done[Task, Any]:
    """Return a task that no worker survived."""
    return Done(task, None, f"given up: {deaths} workers died on it (the last one {last})")
