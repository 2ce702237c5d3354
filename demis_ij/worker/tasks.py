"""One task after the other in the main thread, and how a task is cancelled.

Cancelling is Ctrl-C by another signal: the main thread is interrupted, wherever it is, and everything below this room
is written so that an interruption leaves nothing that looks whole, and so that the same task asked again goes on from
there. What cannot be interrupted (a long call of a C library) is answered for before it ends; nothing of it is sent any
more, and the next task waits for its remains.
"""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from demis_ij.worker.failures import failure, spelled_for_clients
from demis_ij.worker.inputs import check_client
from demis_ij.worker.verbs import verb_named
from demis_ij.worker.wire import Answers, BadRequest, Final, Request, note, parse, plain

ANSWER_CANCEL_AFTER_S = 0.6
"""A cancelled task that has not stopped by then is answered all the same."""

INTERRUPT: int = getattr(signal, "SIGUSR1", signal.SIGINT)
"""The signal by which the main thread is interrupted: one that nobody else sends, so that Ctrl-C stays Ctrl-C. Windows
has only one signal that wakes a sleeping thread, Ctrl-C's own."""

OURS_WITHIN_S = 1.0
"""Where both are one signal, it is ours for so long after we sent it."""

INTERRUPT_EVERY_S = 0.02
"""How soon an interruption comes back that met the main thread where it must not be interrupted."""


class Cancelled(KeyboardInterrupt):
    """The client does not want the task any more."""


@dataclass(eq=False)
class Task:
    """A task under way.

    Attributes
    ----------
    request : Request
        What was asked.
    cancelled : bool
        Whether its client has taken it back.
    struck : bool
        Whether the work has been interrupted: once is enough, what tidies up is left in peace.
    """

    request: Request
    cancelled: bool = False
    struck: bool = False


ASKED = ("loftr", "sift", "correlation")
"""Steps that a job names after the matcher that is asked."""


class Tell:
    """How a verb says how far it is; it must do so now and then, for a cancelled task ends here at the latest.

    Attributes
    ----------
    prefix : str
        Put before every message ("section 3: ").
    """

    def __init__(self, send: Callable[[str, int, int], None]) -> None:
        self._send = send
        self.prefix = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` are done; as often as one likes."""
        if what.split(",")[0] in ASKED:  # "loftr", "loftr, searching wider"
            what = "pairs" if self.prefix.startswith(f"{what}: ") else f"{what}: pairs"
        self._send(f"{self.prefix}{what}", done, total)


class Tasks:
    """All tasks of this process: one is worked on, the others wait.

    `take` and `close` are called from the thread that reads, `run` from the main thread.

    Parameters
    ----------
    answers : Answers
        Where answers go.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._changed = threading.Condition()
        self._waiting: deque[Task] = deque()
        self._running: Task | None = None
        self._closed = False
        self._stoppable = False  # whether the main thread is inside a verb
        self._sent_s = float("-inf")  # when the last interruption was sent

    # --- the reading thread

    def take(self, line: bytes) -> None:
        """Take a line from the client; one that is no request is said so, and harms nothing."""
        if not line.strip():
            return
        try:
            request = parse(line)
        except BadRequest as error:
            note(str(error))
            if error.task and self._answers.expect(error.task):
                self._answers.finish(error.task, "FAILURE", error=failure(error))
            return
        if request.kind == "CANCEL":
            self._cancel(request.task)
        elif self._answers.expect(request.task):
            with self._changed:
                self._waiting.append(Task(request))
                self._changed.notify()
        else:
            note(f"task {request.task} is under way already: the second one of that name is left out")

    def close(self) -> None:
        """Take no more tasks, and give up those there are: the client is gone."""
        with self._changed:
            waiting = [task.request.task for task in self._waiting]
            self._waiting.clear()
            self._closed = True
            running = self._running
            self._changed.notify()
        for task in waiting:
            self._answers.finish(task, "CANCELATION")
        if running is not None:
            self._stop(running)

    def _cancel(self, task: str) -> None:
        with self._changed:
            there = next((t for t in self._waiting if t.request.task == task), None)
            if there is not None:
                self._waiting.remove(there)
            running = self._running
        if there is not None:
            self._answers.finish(task, "CANCELATION")
        elif running is not None and running.request.task == task:
            self._stop(running)
        else:
            note(f"task {task} is not under way: there is nothing to cancel")

    def _stop(self, task: Task) -> None:
        if task.cancelled:
            return
        task.cancelled = True
        answer = threading.Timer(ANSWER_CANCEL_AFTER_S, self._answers.finish, (task.request.task, "CANCELATION"))
        for thread in (answer, threading.Thread(target=self._insist, args=(task,))):
            thread.daemon = True
            thread.start()

    def _insist(self, task: Task) -> None:
        """Interrupt the main thread until the task has felt it, or is over."""
        while self._running is task and not task.struck:
            self._sent_s = time.monotonic()
            if hasattr(signal, "pthread_kill"):  # wakes it from blocking calls of the system, too
                signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)
            else:
                signal.raise_signal(INTERRUPT)
            time.sleep(INTERRUPT_EVERY_S)

    # --- the main thread

    def on_interrupt(self, _number: int, frame: FrameType | None) -> None:
        """Handle `INTERRUPT`: end the cancelled task, if it is still under way and this is a moment for it.

        Raises
        ------
        Cancelled, KeyboardInterrupt
            Which is the point; the latter for somebody else's Ctrl-C where that is the same signal.
        """
        if INTERRUPT == signal.SIGINT and time.monotonic() - self._sent_s > OURS_WITHIN_S:
            raise KeyboardInterrupt
        task = self._running
        if task is None or not task.cancelled or task.struck or not self._stoppable or is_delicate(frame):
            return  # it is over already, or the next interruption is for it
        task.struck = True
        raise Cancelled

    def run(self) -> None:
        """Work on tasks as they come, until there will be no more."""
        while (task := self._next()) is not None:
            self._answers.launch(task.request.task)
            kind, told = self._outcome(task)
            self._answers.finish(task.request.task, kind, **told)
            with self._changed:
                self._running = None
            if kind != "COMPLETION":
                gc.collect()  # what an error's traceback held: images, mostly

    def _next(self) -> Task | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait(1.0)  # Windows hears no Ctrl-C in a wait without end
            self._running = None if self._closed else self._waiting.popleft()
            return self._running

    def _outcome(self, task: Task) -> tuple[Final, dict[str, Any]]:
        """Return how a task ended. Raises KeyboardInterrupt when it was one from a terminal."""
        try:
            try:
                self._stoppable = True
                outputs = plain(self._done(task))
            finally:
                self._stoppable = False
        except KeyboardInterrupt:
            if not task.cancelled:
                raise
            return "CANCELATION", {}
        except BaseException as error:  # noqa: BLE001 - whatever it is, the client is told and the next task comes
            return ("CANCELATION", {}) if task.cancelled else ("FAILURE", {"error": failure(error)})
        return "COMPLETION", {"outputs": outputs}

    def _done(self, task: Task) -> dict[str, Any]:
        request = task.request
        inputs = check_client(request.inputs)
        verb = verb_named(request.verb)

        def send(message: str, done: int, total: int) -> None:
            if task.cancelled:
                task.struck = True
                raise Cancelled
            self._answers.update(request.task, message, done, total)

        given = verb.checked(request.verb, inputs)
        return spelled_for_clients(verb.run(given, Tell(send)))


DELICATE = ("contextlib.py", "autocast_mode.py", "grad_mode.py", "threading.py")
"""Files between whose lines something is switched on, or locked, before the ``with`` that undoes it has begun."""


def is_delicate(frame: FrameType | None) -> bool:
    """Return whether an exception raised here would damage the process for later tasks.

    A package that is half imported cannot always be imported again (torch cannot), torch's modes are switches of the
    whole process, and a lock that nobody opens again stops whoever comes next.
    """
    if frame is not None and frame.f_code.co_filename.endswith(DELICATE) and not _waits(frame):
        return True
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _waits(frame: FrameType) -> bool:
    """Return whether a frame is Python's own wait for another thread, at the place that expects to be interrupted.

    `threading.Condition.wait` knows there that it has not got what it waits for, and restores its lock whatever comes.
    """
    return frame.f_code.co_name == "wait" and frame.f_locals.get("gotit") is False
