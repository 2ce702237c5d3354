"""``python -u -m demis_ij.worker``: requests on standard input, answers on standard output, all else on standard error.

It ends when standard input does: whoever started it is gone then, and what was under way is given up as if cancelled.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import warnings

from demis_ij import __version__
from demis_ij.worker import API
from demis_ij.worker.tasks import INTERRUPT, Tasks
from demis_ij.worker.wire import Answers, lines, note, reserve

END_WITHIN_S = 2.0
"""How long what is under way may take to tidy up when the client is gone."""


def main() -> int:
    """Serve one client until it is gone; return the exit code."""
    try:
        requests, replies = reserve()
    except OSError as error:
        note(f"no standard input and output to talk over: {error}")
        return 2
    if os.isatty(requests):
        note(f"version {__version__}, api {API}: one JSON request a line; docs/howto/worker.md says how they look")
    if sys.stderr is not None:
        faulthandler.enable()  # a crash in a C library says where
    warnings.simplefilter("ignore")  # those of other packages; ours are lines of the result
    logging.basicConfig(handlers=[logging.NullHandler()])
    leaving = threading.Event()
    answers = Answers(replies, leaving.set)
    tasks = Tasks(answers)
    signal.signal(INTERRUPT, tasks.on_interrupt)
    signal.signal(signal.SIGTERM, lambda _number, _frame: leaving.set())

    def read() -> None:
        for line in lines(requests):
            tasks.take(line)
        leaving.set()

    def leave() -> None:
        leaving.wait()
        tasks.close()
        time.sleep(END_WITHIN_S)
        os._exit(0)  # it hangs in something that cannot be interrupted, or nobody reads its answers

    for call in (read, leave):
        threading.Thread(target=call, name=call.__name__, daemon=True).start()
    tasks.run()
    answers.close(timeout_s=1.0)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
