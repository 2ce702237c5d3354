"""Progress for people: bars with rate and time left, on standard error, only where somebody looks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from demis_ij.cli.memory_in_use import memory_in_use, said_bytes
from demis_ij.display.pace import Pace

EVERY_S = 30.0
"""Between two lines of a stage where no bar is drawn (a log file)."""
MEMORY_EVERY_S = 2.0
"""Between two looks at the memory in use."""


@dataclass
class _Stage:
    """One bar: what it shows, and when a line was last written of it."""

    task: TaskID
    pace: Pace
    last_line: float


class Bars:
    """Shows one bar for each thing being done; quiet when ``shown`` is False.

    On a terminal the bars live; elsewhere (a log file) a line is written every half a minute, and when a stage ends.

    Parameters
    ----------
    shown : bool
        Whether anything is shown at all.
    memory_bytes : int, optional
        A limit beside which the memory in use (with that of processes started) is shown.
    """

    def __init__(self, shown: bool = True, *, memory_bytes: int | None = None) -> None:
        self._console = Console(stderr=True)
        self._live = shown and self._console.is_terminal
        self._plain = shown and not self._live
        self._memory = _Memory(memory_bytes) if shown and memory_bytes is not None else None
        self._bars = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            _PaceColumn(self._memory),
            console=self._console,
            disable=not self._live,
            transient=False,
        )
        self._stages: dict[str, _Stage] = {}
        self._said: set[str] = set()
        self.prefix = ""

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        name = f"{self.prefix}{what}"
        if not self._stages:
            self._bars.start()  # not before: a command that is refused draws nothing
        now = time.perf_counter()
        stage = self._stages.get(name)
        if stage is None:
            pace = Pace(now, done, total)
            stage = self._stages[name] = _Stage(self._bars.add_task(name, total=total, pace=pace), pace, now)
        elif name in self._said and not done:  # the same once more: another round of the search
            self._said.discard(name)
            stage.pace, stage.last_line = Pace(now, 0, total), now
            self._bars.reset(stage.task, total=total, pace=stage.pace)
        stage.pace.tell(now, done, total)
        self._bars.update(stage.task, completed=done, total=total)
        if done >= total and name not in self._said:
            self._said.add(name)
            if self._plain:
                self.say(f"{name}: {done} of {total}, {now - stage.pace.began:.1f} s{self._memory_said(now)}")
        elif self._plain and done < total and now - stage.last_line >= EVERY_S:
            stage.last_line = now
            how_fast = stage.pace.said(now).replace("/s ", "/s, ").replace("/min ", "/min, ").replace("/h ", "/h, ")
            self.say(f"{name}: {done} of {total}{', ' if how_fast else ''}{how_fast}{self._memory_said(now)}")

    def _memory_said(self, now: float) -> str:
        return f", {self._memory.said(now)}" if self._memory else ""

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        if self._live or self._plain:
            self.say_always(line)

    def say_always(self, line: str) -> None:
        """Print a line above the bars, or where they would be if they were shown."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class _PaceColumn(ProgressColumn):
    """Rate and time left, counted down while nothing new is told; the memory in use where there is a limit."""

    def __init__(self, memory: _Memory | None) -> None:
        super().__init__()
        self._memory = memory

    def render(self, task: Task) -> Text:
        now = time.perf_counter()
        said = task.fields["pace"].said(now)
        if self._memory and not task.finished:
            said += f"  {self._memory.said(now)}"
        return Text(said)


class _Memory:
    """The memory in use, looked at now and then."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._found: int | None = None
        self._looked = -MEMORY_EVERY_S

    def said(self, now: float) -> str:
        """Return what is in use and the limit."""
        if now - self._looked >= MEMORY_EVERY_S:
            self._looked, self._found = now, memory_in_use()
        found = "?" if self._found is None else said_bytes(self._found)
        return f"{found} of {said_bytes(self._limit)}"
