"""The other end of a process pool: a process that does one task after another until its pipe is closed."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from multiprocessing.connection import Connection, wait
from typing import Any

from demis_ij.errors import DemisError
from demis_ij.pools.cores import take_share


def serve(pipe: Connection, threads: int) -> None:
    """Do tasks from a pipe. Runs in a spawned process; Ctrl-C is its parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    take_share(threads)
    pipe.send("ready")
    while True:
        try:
            ticket, payload = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send_bytes(_answer(ticket, payload))


def _end_with_parent() -> None:
    """End this process when its parent is gone, so that nobody writes into a folder that is gone on with already."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _answer(ticket: int, payload: bytes) -> bytes:
    """Return a pickle of (ticket, value, exception)."""
    try:
        function, task = pickle.loads(payload)
        return pickle.dumps((ticket, function(task), None), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - it is raised again in the caller
        return pickle.dumps((ticket, None, portable(error)), pickle.HIGHEST_PROTOCOL)


def portable(error: Exception) -> Exception:
    """Return an exception that survives pickling, with the traceback of here as its note."""
    note = "In the worker:\n" + "".join(traceback.format_exception(error))
    try:
        known: Any = pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever a foreign exception's own pickling raises
        known = None
    if type(known) is not type(error) or str(known) != str(error):
        known = DemisError(f"{type(error).__name__}: {error}")
    known.add_note(note)
    return known  # type: ignore[no-any-return]
