"""A worker with verbs that misbehave: run it instead of ``-m demis_ij.worker``."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from demis_ij.errors import InputError
from demis_ij.worker import __main__ as worker_main
from demis_ij.worker import inputs, tasks, verbs
from demis_ij.worker.tasks import Tell
from demis_ij.worker.verbs import Verb

LOADED: list[str] = []


def updates(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Say how far it is, very often; at last also write a file, so that a client that does not read sees the end."""
    number = given["number"]
    for n in range(1, number + 1):
        tell("counting", n, number)
        time.sleep(given.get("pause_s", 0))
    if "file" in given:
        given["file"].write_text("done")
    return {"number": number}


def prints(_given: Mapping[str, Any], _tell: Tell) -> dict[str, Any]:
    """Print in every way there is."""
    print("from Python")  # noqa: T201 - what libraries do
    print('{"task": "?", "responseType": "COMPLETION"}', flush=True)  # noqa: T201
    sys.stdout.write("half a line")
    os.write(1, b"from os.write\n")
    if sys.platform != "win32":
        libc = ctypes.CDLL(None)
        libc.puts(b"from C")
        libc.fflush(None)
        os.system("echo from a child")
    return {"input": sys.stdin.read() if sys.stdin else ""}


def spins(_given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Work in Python without ever saying how far it is."""
    tell("spinning", 0, 1)
    while True:
        pass


def sleeps(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Wait in a call of the system; tidy up when interrupted."""
    tell("sleeping", 0, 1)
    try:
        time.sleep(given.get("seconds", 600))
    finally:
        if "file" in given:
            time.sleep(0.1)
            given["file"].write_text("tidy")
    return {}


def deaf(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Work in one call of C for at least about so many seconds, where no interruption comes in."""
    rounds, took = 100_000, []
    for _ in range(3):
        began = time.monotonic()
        hashlib.pbkdf2_hmac("sha512", b"x", b"y", rounds)
        took.append(time.monotonic() - began)
    rounds = round(rounds * given["seconds"] / min(took))  # a machine that was busy just now may be idle later
    tell("deaf", 0, 1)
    try:
        hashlib.pbkdf2_hmac("sha512", b"x", b"y", rounds)
    except KeyboardInterrupt:
        given["file"].write_text("interrupted")
        raise
    time.sleep(600)
    return {}


def swallows(_given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Lose one interruption, as a callback of a library does; only telling ends it."""
    tell("swallowing", 0, 1)
    with suppress(KeyboardInterrupt):
        time.sleep(600)
    for n in range(100_000):
        time.sleep(0.01)
        tell("after it", n, 100_000)
    return {}


CONDITION = threading.Condition()


def waits(_given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Wait for the answer of another thread, which never comes."""
    tell("waiting", 0, 1)
    future: Future[None] = Future()
    try:
        future.result()
    finally:
        thread = threading.Thread(target=future.set_result, args=(None,))  # needs the lock that the wait had
        thread.start()
        thread.join()
    return {}


def locks(_given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Close and open a lock all the time."""
    tell("locking", 0, 1)
    while True:
        with CONDITION:
            pass


def lock_state(_given: Mapping[str, Any], _tell: Tell) -> dict[str, Any]:
    """Say whether the lock can be closed by another thread."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(CONDITION.acquire(timeout=5)))
    thread.start()
    thread.join()
    return {"open": found[0]}


def imports(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Import a package that takes long and that could not be imported again if it were cut off."""
    sys.path.insert(0, str(given["file"].parent))
    tell("importing", 0, 1)
    import_module(given["file"].stem)
    while True:
        tell("imported", 1, 1)


def crashes(_given: Mapping[str, Any], _tell: Tell) -> dict[str, Any]:
    """End the process as a broken C library does."""
    os.abort()


def fails(given: Mapping[str, Any], _tell: Tell) -> dict[str, Any]:
    """Raise."""
    kinds: dict[str, BaseException] = {
        "input": InputError("two\nlines with --images-only and 5 -- 6"),
        "value": ValueError("what\nis this"),
        "silent": ZeroDivisionError(),
        "memory": MemoryError(),
        "disk": OSError(28, "No space left on device", "/full/file"),
        "denied": PermissionError(13, "Permission denied", "/secret"),
        "exit": SystemExit(7),
    }
    raise kinds[given["kind"]]


def numbers(_given: Mapping[str, Any], _tell: Tell) -> dict[str, Any]:
    """Answer with what JSON does not have."""
    import numpy as np

    there = Path("/a") / "b"
    return {"nan": float("nan"), "np": np.float32(0.5), "list": (1, np.array([1.0, np.inf])), "path": there, 3: True}


def no_json(_given: Mapping[str, Any], _tell: Tell) -> dict[str, Any]:
    """Answer with what cannot be written."""
    return {"it": object()}


def large(given: Mapping[str, Any], _tell: Tell) -> dict[str, Any]:
    """Answer with more than a pipe holds."""
    given["file"].write_text("done")
    return {"text": "x" * 1_000_000}


def loads(_given: Mapping[str, Any], _tell: Tell) -> dict[str, Any]:
    """Say how often weights were loaded."""
    return {"loaded": LOADED}


def count_loading() -> None:
    """Take note of every time that weights are read."""
    from demis_ij.nets import weights

    real = weights.load_loftr

    def load(name: str = "shipped") -> Any:
        LOADED.append(name)
        return real(name)

    weights.load_loftr = load


def hold_after_first_batch() -> None:
    """Stand still after the first batch of pairs until somebody interrupts, once."""
    from demis_ij.stitch import asking

    real = asking.matched
    done: list[str] = []

    def matched(batch: Any, *rest: Any) -> Any:
        if len(done) == 1:
            done.append("held")
            time.sleep(600)
        found = real(batch, *rest)
        done.append("matched")
        return found

    asking.matched = matched


TABLE = {
    "updates": Verb(updates, {"number": inputs.whole(0, 10**6), "pause_s": inputs.number(0, 1), "file": inputs.path}),
    "prints": Verb(prints),
    "spins": Verb(spins),
    "sleeps": Verb(sleeps, {"seconds": inputs.number(0, 600), "file": inputs.path}),
    "deaf": Verb(deaf, {"seconds": inputs.number(0, 600), "file": inputs.path}),
    "swallows": Verb(swallows),
    "waits": Verb(waits),
    "locks": Verb(locks),
    "lock state": Verb(lock_state),
    "imports": Verb(imports, {"file": inputs.path}),
    "crashes": Verb(crashes),
    "fails": Verb(fails, {"kind": inputs.text}),
    "numbers": Verb(numbers),
    "no json": Verb(no_json),
    "large": Verb(large, {"file": inputs.path}),
    "loads": Verb(loads),
}

if __name__ == "__main__":
    if "--count-loading" in sys.argv:
        count_loading()
    if "--hold-after-first-batch" in sys.argv:
        hold_after_first_batch()
    if "--one-signal" in sys.argv:
        worker_main.INTERRUPT = tasks.INTERRUPT = signal.SIGINT
    for name, verb in TABLE.items():
        module = f"made_up_{name}"
        sys.modules[module] = type(sys)(module)
        sys.modules[module].VERB = verb
        verbs.VERBS[name] = module
    try:
        sys.exit(worker_main.main())
    except KeyboardInterrupt:
        sys.exit(130)
