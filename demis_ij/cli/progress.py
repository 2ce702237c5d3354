"""Progress for people: bars with rate and time left, on standard error, only where somebody looks."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Bars:
    """Shows one bar for each thing being done; quiet when ``shown`` is False.

    On a terminal the bars live; elsewhere (a log file) one line is written when a stage ends.
    """

    def __init__(self, shown: bool = True) -> None:
        self._console = Console(stderr=True)
        self._live = shown and self._console.is_terminal
        self._plain = shown and not self._live
        self._bars = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>10}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
            transient=False,
        )
        self._tasks: dict[str, tuple[TaskID, float, int]] = {}
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
        if not self._tasks:
            self._bars.start()  # not before: a command that is refused draws nothing
        now = time.perf_counter()
        if name not in self._tasks:
            self._tasks[name] = (self._bars.add_task(name, total=total, rate=""), now, done)
        elif name in self._said and not done:  # the same once more: another round of the search
            self._said.discard(name)
            self._bars.reset(self._tasks[name][0], total=total)
            self._tasks[name] = (self._tasks[name][0], now, 0)
        task, began, before = self._tasks[name]  # what an earlier run has done says nothing of this one's rate
        rate = f"{(done - before) / (now - began):.1f}/s" if done > before and now > began + 0.2 else ""
        self._bars.update(task, completed=done, total=total, rate=rate)
        if done >= total and name not in self._said:
            self._said.add(name)
            if self._plain:
                line = f"{name}: {done} of {total}, {now - began:.1f} s"
                self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        if self._live or self._plain:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
