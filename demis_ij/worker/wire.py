"""Lines in and out: the real standard input and output are kept for the protocol, out of reach of everybody's prints.

One JSON object a line. Requests are UTF-8; answers are ASCII, which is UTF-8, too, and survives every client's idea
of an encoding.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from demis_ij import __version__
from demis_ij.errors import InputError
from demis_ij.worker import API

LONGEST_LINE = 1 << 26
"""Bytes. A request is a few hundred; what is longer than this is something else."""

UPDATE_EVERY_S = 0.12
"""Nine updates a second, and the last one of a task at any time: never more than ten."""

Kind = Literal["EXECUTE", "CANCEL"]
Final = Literal["COMPLETION", "CANCELATION", "FAILURE"]


def reserve() -> tuple[int, int]:
    """Return file descriptors of the real standard input and output, which nobody else knows from now on.

    What anyone prints, from Python or from C, goes to standard error. Standard input is empty for everybody else: a
    library that looks at it on Windows, while a thread is reading it, would hang (numpy issue 24290).

    Raises
    ------
    OSError
        When the process was started without them.
    """
    nothing = os.open(os.devnull, os.O_RDWR)  # becomes standard error in a process that was started without one
    if nothing < 2:
        msg = "standard input or output is closed"
        raise OSError(msg)
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    if nothing > 2:
        os.close(nothing)
    if sys.stderr is not None:
        sys.stdout = sys.stderr
    return requests, answers


def lines(descriptor: int, longest: int = LONGEST_LINE) -> Iterator[bytes]:
    """Yield the lines read from a file descriptor, without their ends, until it is closed or breaks.

    A line that is too long is left out, which is said on standard error. What follows the last line's end is no line.
    """
    kept = bytearray()
    skipping = False
    while True:
        try:
            more = os.read(descriptor, 1 << 16)
        except OSError:
            return
        if not more:
            return
        *whole, rest = more.split(b"\n")
        for part in whole:
            if not skipping:
                yield bytes(kept + part)
            kept.clear()
            skipping = False
        kept += rest
        if len(kept) > longest:
            note(f"a line of more than {longest} bytes is no request: left out")
            kept.clear()
            skipping = True


def note(line: str) -> None:
    """Say something to whoever reads standard error; nobody may."""
    try:
        sys.stderr.write(f"demis_ij.worker: {' '.join(line.split())}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return


# --- in ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What a client asks for.

    Attributes
    ----------
    task : str
        The client's name for the task.
    kind : str
        EXECUTE or CANCEL.
    verb : str
        What to do, empty for CANCEL.
    inputs : mapping of str to Any
        As the client sent them, unchecked.
    """

    task: str
    kind: Kind
    verb: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)


class BadRequest(InputError):
    """A line is no request.

    Parameters
    ----------
    problem : str
        What was found and what was needed.
    task : str or None
        The task that it belongs to, when that much can be understood: its client is waiting for an answer.
    """

    def __init__(self, problem: str, task: str | None = None) -> None:
        super().__init__(problem)
        self.task = task


def parse(line: bytes) -> Request:
    """Return the request that a line holds. Raises `BadRequest`."""
    shown = line[:80].decode("utf-8", "replace")
    try:
        message = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        msg = f"a line is not JSON ({first_words(error)}): {shown!r}"
        raise BadRequest(msg) from error
    task = message.get("task") if isinstance(message, dict) else None
    if not isinstance(task, str) or not task:
        msg = f"a request is an object with a text 'task', found {shown!r}"
        raise BadRequest(msg)
    kind = message.get("requestType")
    if kind == "CANCEL":
        return Request(task, "CANCEL")
    if kind != "EXECUTE":
        msg = f"requestType: {kind!r} is not EXECUTE or CANCEL"
        raise BadRequest(msg, task)
    verb, inputs = message.get("script"), message.get("inputs")
    if not isinstance(verb, str) or not verb.strip():
        msg = f'script: {verb!r} is no verb; needed a verb\'s name, for instance "stitch"'
        raise BadRequest(msg, task)
    if inputs is not None and not isinstance(inputs, dict):
        msg = f"inputs: {inputs!r} is not an object"
        raise BadRequest(msg, task)
    return Request(task, "EXECUTE", verb.strip(), inputs or {})


def first_words(error: BaseException) -> str:
    """Return what an error says in one line, its kind when it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


# --- out --------------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Return a value as JSON types: paths as text, numpy's numbers as numbers, numbers that JSON lacks as None.

    Raises
    ------
    TypeError
        When it is something else.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    msg = f"{type(value).__name__} cannot be written as JSON"
    raise TypeError(msg)


def _line(task: str, kind: str, told: Mapping[str, Any]) -> bytes:
    return json.dumps({"task": task, "responseType": kind, **told}, allow_nan=False).encode("ascii") + b"\n"


class Answers:
    """Writes answers from a thread of its own, so that a client that does not read never holds up the work.

    Of updates only the latest is kept, and they go out at most every `UPDATE_EVERY_S`; everything else is always sent,
    in order. After a task's final answer nothing of that task is sent any more. All methods may be called from any
    thread and return at once, but for `close`.

    Parameters
    ----------
    descriptor : int
        File descriptor to write to.
    on_broken : callable
        Called once, from the thread, when nobody can read any more.
    """

    def __init__(self, descriptor: int, on_broken: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._update: tuple[str, bytes] | None = None
        self._next_update_s = 0.0
        self._open: set[str] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="answers", daemon=True)
        self._thread.start()

    def expect(self, task: str) -> bool:
        """Take note of a task that will be answered; False when one of that name is not answered yet."""
        with self._changed:
            if task in self._open:
                return False
            self._open.add(task)
            return True

    def launch(self, task: str) -> None:
        """Say that the work on a task begins."""
        with self._changed:
            if task in self._open:
                self._lines.append(_line(task, "LAUNCH", {"info": {"version": __version__, "api": API}}))
                self._changed.notify()

    def update(self, task: str, message: str, current: int, maximum: int) -> None:
        """Say how far the work is; an earlier update that has not gone out is forgotten."""
        line = _line(task, "UPDATE", {"message": message, "current": int(current), "maximum": int(maximum)})
        with self._changed:
            if task in self._open:
                self._update = (task, line)
                self._changed.notify()

    def finish(self, task: str, kind: Final, **told: Any) -> bool:
        """Give a task's final answer, after its last update; False when it has had one."""
        line = _line(task, kind, told)
        with self._changed:
            if task not in self._open:
                return False
            self._open.discard(task)
            if self._update is not None and self._update[0] == task:
                if kind != "CANCELATION":
                    self._lines.append(self._taken_update())
                self._update = None
            self._lines.append(line)
            self._changed.notify()
            return True

    def close(self, timeout_s: float) -> None:
        """Wait until everything is written, but no longer than ``timeout_s``; nothing more can be said."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _taken_update(self) -> bytes:
        """Return the update that is to go out now; the caller holds the lock and knows that there is one."""
        update = self._update
        self._update = None
        self._next_update_s = time.monotonic() + UPDATE_EVERY_S
        return update[1] if update else b""

    def _write(self) -> None:
        while data := self._next():
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                self._on_broken()
                return

    def _next(self) -> bytes:
        """Return what is to be written next, when there is something; nothing when all is said."""
        with self._changed:
            while True:
                if self._lines:
                    data = b"".join(self._lines)
                    self._lines.clear()
                    return data
                if self._update is not None:
                    wait_s = self._next_update_s - time.monotonic()
                    if wait_s <= 0:
                        return self._taken_update()
                    self._changed.wait(wait_s)
                elif self._closed:
                    return b""
                else:
                    self._changed.wait()
