"""A client that talks to a worker as Fiji does, and verbs that were made up for tests."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
HOSTILE = "Präparat #1 & more"
GUARD_S = 120.0
"""No test waits longer for an answer. No figure: what the worker promises is measured in benchmarks/."""
FINAL = ("COMPLETION", "CANCELATION", "FAILURE")


class Client:
    """Starts a worker and talks to it. Every answer is kept, with the time at which it came.

    Parameters
    ----------
    made_up : bool
        Whether the worker knows the verbs of ``made_up_verbs``, too.
    words : sequence of str
        More words of its command line.
    """

    def __init__(self, *, made_up: bool = False, words: Sequence[str] = ()) -> None:
        start = [str(HERE / "made_up_verbs.py")] if made_up else ["-m", "demis_ij.worker"]
        self.process = subprocess.Popen(
            [sys.executable, "-u", *start, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.answers: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.invalid: list[bytes] = []
        self.errors: list[str] = []
        self._arrived: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._threads = [threading.Thread(target=call, daemon=True) for call in (self._listen, self._drain)]
        self._number = 0
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            try:
                answer = json.loads(line)
            except ValueError:
                self.invalid.append(line)
                continue
            self.times.append(time.monotonic())
            self.answers.append(answer)
            self._arrived.put(answer)
        self._arrived.put(None)

    def _drain(self) -> None:
        for line in self.process.stderr or ():
            self.errors.append(line.decode("utf-8", "replace").rstrip())

    def write(self, line: bytes) -> None:
        """Send a line as it is."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def start(self, verb: str, inputs: Mapping[str, Any] | None = None, *, task: str = "") -> str:
        """Ask for a task; return its name."""
        self._number += 1
        task = task or f"task {self._number}"
        self.write(
            json.dumps({"task": task, "requestType": "EXECUTE", "script": verb, "inputs": inputs}, default=str).encode()
        )
        return task

    def cancel(self, task: str) -> None:
        """Take a task back."""
        self.write(json.dumps({"task": task, "requestType": "CANCEL"}).encode())

    def next(self) -> dict[str, Any]:
        """Return the next answer; ``{}`` when there will be none any more."""
        return self._arrived.get(timeout=GUARD_S) or {}

    def until(self, task: str, *kinds: str) -> dict[str, Any]:
        """Return the next answer of a task that is one of some kinds. Fails when the worker ends before."""
        while answer := self.next():
            if answer["task"] == task and answer["responseType"] in kinds:
                return answer
        raise AssertionError(f"the worker ended; it said {self.errors[-20:]}")

    def final(self, task: str) -> dict[str, Any]:
        """Return a task's final answer."""
        return self.until(task, *FINAL)

    def ask(self, verb: str, inputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask for a task and return its final answer."""
        return self.final(self.start(verb, inputs))

    def done(self, verb: str, inputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask for a task that must succeed; return its outputs."""
        answer = self.ask(verb, inputs)
        assert answer["responseType"] == "COMPLETION", answer.get("error")
        return answer["outputs"]

    def refused(self, verb: str, inputs: Mapping[str, Any] | None = None) -> str:
        """Ask for a task that must fail; return the sentence that says why."""
        answer = self.ask(verb, inputs)
        assert answer["responseType"] == "FAILURE", answer
        sentence, empty, trace = answer["error"].split("\n", 2)
        assert sentence
        assert empty == ""
        assert trace.startswith("Traceback ")
        return sentence

    def of(self, task: str, kind: str) -> list[dict[str, Any]]:
        """Return a task's answers of a kind so far."""
        return [a for a in self.answers if a["task"] == task and a["responseType"] == kind]

    def leave(self) -> int:
        """Close the pipe as a client that is done; return the worker's exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.ended()

    def ended(self) -> int:
        """Return the worker's exit code once it has ended and all it said has come."""
        code = self.process.wait(GUARD_S)
        for thread in self._threads:
            thread.join(GUARD_S)
        return code

    def kill(self) -> None:
        """End the worker if it is still there."""
        self.process.kill()
        self.ended()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
